"""Go through a model block by block: statistics of layers' inputs, and error compensation.

Quantization, pruning of weights and of widths share three parts: ``text_rows`` makes token ids of
texts, ``walk_blocks`` yields each transformer block with the statistics of its inputs and goes on
with the outputs of the block as the caller left it, and ``solve_columns`` replaces columns of a
matrix one by one and lets the remaining ones make up for the error (GPTQ, SparseGPT).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
