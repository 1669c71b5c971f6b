"""What a model costs: size, operations, memory, speed, energy, price and privacy budget.

The metrics are those that the survey of small language models lists (arXiv 2410.20011, table 2),
each as a ``Result`` with its unit and conditions. What this machine cannot tell is a result without
a value that says why, never a guess.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
