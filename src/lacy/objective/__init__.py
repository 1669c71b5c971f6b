"""The training objective: choose the tokens to delegate, and compute the loss.

All functions are pure functions of tensors. ``Objective`` contains all settings, ``shift`` makes
targets, ``choose_targets`` decides which targets become ``<CALL>``, ``loss`` computes the paper's
loss and its variants (§4), and ``select_and_loss`` does both in one pass over the head.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
