"""A grammar of values: patterns for numbers, measures, money, dates, times and names."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
