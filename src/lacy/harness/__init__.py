"""lm-eval with lacy's models: `lm_eval --model lacy`, and `lacy evaluate MODEL --tasks`.

``lm-eval`` is imported only when a name below is used (``pip install 'lacy[harness]'``).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
