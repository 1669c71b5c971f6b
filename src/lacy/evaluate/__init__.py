"""Measurements: facts, call quality, closed-book recall, stored bits, entity precision.

A measurement gives ``lacy.results.Result``s; a ``Task`` runs a model and returns them, as
``evaluate_world`` and ``evaluate_articles`` do. The parts are pure functions of answers, marks and
arrays.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
