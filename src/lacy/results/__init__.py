"""Results: values with intervals, how they were measured, and tests of differences.

Every figure is a ``Score``: a value, its 95% interval and the number of people or documents behind
it. ``METRICS`` describes every metric. A ``Result`` is a score with its conditions.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
