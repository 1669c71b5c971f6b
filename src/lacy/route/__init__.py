"""Query routing: which model or source should answer a text.

A **router** turns texts into one score per route; a **choice** turns scores, costs and a budget
into a route. Routers learn from *classes* (a text and its right route) or from *outcomes* (how well
each model answered a text), on a CPU and without any key.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
