"""Train models with our own loop, or with an adapter for ``transformers.Trainer``.

Read ``loop.py`` first. ``config`` and ``schedule`` do not import torch; ``fitting`` trains on one
batch after the other; ``checkpoint`` lets a killed run continue bit for bit (on a CPU, with the
same number of threads).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
