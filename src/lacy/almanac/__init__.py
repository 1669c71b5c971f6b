"""Facts that ship with lacy: people, countries and chemical elements, and short articles on them.

``lacy demo --real`` uses them as its texts and its source. All of it may be redistributed: the
facts are in tables whose origins NOTICE lists, and this package writes all sentences.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
