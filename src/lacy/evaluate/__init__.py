"""Scores: facts, call quality, closed-book recall, stored bits, entity precision, and the report.

Every figure is a ``Score``: a value, its 95% interval and the number of people or documents behind
it. The parts are pure functions of answers, marks and arrays; ``evaluate_world`` runs a model and
calls them all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
