"""What to learn and what to delegate: selection of tokens and the loss, pure functions of tensors.

``shift`` makes targets, ``select`` chooses which of them become ``<CALL>``, ``loss`` is the paper's
objective and its variants (section 4), ``select_and_loss`` does both in one pass over the head.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
