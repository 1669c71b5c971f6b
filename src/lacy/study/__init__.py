"""Studies: methods x seeds x sizes as one plan that can be stopped, with tidy results.

``plan`` expands a recipe into runs and ``checks`` finds its mistakes; ``work`` is what one process
does; ``runner`` runs jobs in parallel; ``tables`` makes tidy tables with intervals and tests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
