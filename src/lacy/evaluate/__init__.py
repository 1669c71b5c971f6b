"""Measurements: facts, call quality, closed-book recall, stored bits, entity precision.

Every figure is a ``Score``: a value, its 95% interval and the number of people or documents behind
it. ``METRICS`` describes every metric; a ``Task`` runs a model and returns ``Result``s, as
``evaluate_world`` and ``evaluate_articles`` do. The parts are pure functions of answers, marks and
arrays.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
