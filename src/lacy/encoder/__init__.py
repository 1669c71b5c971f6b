"""A BERT encoder of MiniLM's shape: its body, its weights in one byte each, vectors of texts.

Judges of facts, classifiers of harmful texts and routers put heads of their own on it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
