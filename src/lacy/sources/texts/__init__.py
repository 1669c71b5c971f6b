"""Texts as a source: an index of documents whose marked values answer calls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
