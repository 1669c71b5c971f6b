"""Small language models: made from presets or checkpoints with a ``<CALL>`` row, saved, decoded.

Every model is a plain ``transformers`` causal language model, so a saved folder opens in any tool
of that ecosystem. Two things are added: the last row of the vocabulary is ``<CALL>`` (the embedding
has exactly ``len(tokenizer)`` rows), and a folder contains ``lacy.json`` beside the weights.

``lacy.model.presets`` imports no torch, so help texts and estimates can use it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
