"""The made-up world: people, their facts, biographies in free wording, and the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
