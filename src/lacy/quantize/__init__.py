"""Quantize models to the block types that llama.cpp reads, and write them as GGUF.

``quantize`` rounds the matrices of a model (to the nearest values, with searched scales, or by
GPTQ), ``choose_types`` distributes bits over them within a budget, and ``Quantized.write`` writes
exactly the weights that were measured. ``permute_channels`` is a control for models that were
quantized before.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
