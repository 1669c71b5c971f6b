"""Small language models: from presets or checkpoints, with the ``<CALL>`` row, saved, decoded.

Everything here is a plain ``transformers`` causal language model, so that a saved folder opens in
any tool of that world. What is ours: the last row of the vocabulary is ``<CALL>`` (the embedding
has exactly ``len(tokenizer)`` rows), and a folder carries ``lacy.json`` beside the weights.

``lacy.model.presets`` is free of torch and may be imported for help texts and estimates.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
