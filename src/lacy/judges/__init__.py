"""Judges decide whether the passages of a page support an atomic fact.

A ``Judge`` turns ``Claim``s (a fact, its topic, passages about the topic) into ``Judgment``s.
``open_judge`` opens one by name.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
