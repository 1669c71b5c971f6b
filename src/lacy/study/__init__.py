"""Studies: train methods x seeds x sizes by one resumable plan, and tabulate the results.

``plan`` expands a recipe into runs, ``checks`` finds its mistakes, ``work`` defines the jobs,
``runner`` runs them in parallel, and ``tables`` computes tables with intervals and tests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
