"""Training: our own loop, readable from top to bottom, and an adapter for ``transformers.Trainer``.

Read ``loop.py`` first. ``config`` and ``schedule`` are free of torch; ``step`` is one batch, from
forward pass to gradients; ``checkpoint`` makes a run that is killed at any moment go on bit for bit
(on a CPU, with the same number of threads).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
