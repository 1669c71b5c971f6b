"""Hand a model to other runtimes: safetensors in less precision, int8 by torchao, ONNX.

Every export keeps ``<CALL>`` as the last row and ``config.lacy_gate``, so that calls work wherever
the file runs. Every writer checks before it replaces anything that the file is as large as the
model's distinct tensors, and that it computes the model's logits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
