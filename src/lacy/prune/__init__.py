"""Make a model smaller by removing parts: blocks, heads, neurons, channels, or single weights.

``prune_depth`` and ``prune_width`` return a model with smaller tensors, which is faster everywhere.
``prune_weights`` sets weights to zero (magnitude, Wanda, SparseGPT), which saves neither time nor
bytes unless the file is compressed or the runtime knows the pattern. ``recover`` trains a pruned
model for a short while. The ``<CALL>`` row survives all of them, but the states that it reads
change: fit it again (``lacy.tune``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
