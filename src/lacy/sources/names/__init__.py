"""Which subject a text names: exact names first, then normal forms and similar spellings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
