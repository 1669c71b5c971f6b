"""The training objective: which tokens are delegated, and the loss. Pure functions of tensors.

``Objective`` holds all settings, ``shift`` makes targets, ``choose_targets`` decides which of them
become ``<CALL>``, ``loss`` is the paper's loss and its variants (§4), ``select_and_loss`` does both
in one pass over the head.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
