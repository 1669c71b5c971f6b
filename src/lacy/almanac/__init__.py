"""Facts that ship with lacy: people, countries and chemical elements, with short articles of them.

They are the texts and the source of ``lacy demo --real``. Everything here may be shipped: the facts
are listed in tables, and all sentences are written by this package. NOTICE names the origins.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
