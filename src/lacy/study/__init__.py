"""Studies: methods x seeds x sizes as one plan that can be stopped, with tidy results and a report.

``plan`` spells a recipe out into runs; ``work`` is what one process does; ``runner`` runs jobs
side by side; ``tables`` makes tidy tables with intervals and tests; ``figures`` and ``pages`` draw.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
