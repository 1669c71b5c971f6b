"""One scorecard of a model: is it factual, is it fluent, what does it cost?

A scorecard has sections; each asks one question and measures it with intervals.
``measure_sections`` stores every answer, and goes on where a stopped run ended. ``compare`` holds
two scorecards against each other, unit by unit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
