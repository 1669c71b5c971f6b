"""Build, load, save and decode small language models with a ``<CALL>`` row.

Every model is a plain ``transformers`` causal language model, so any tool of that ecosystem can
open a saved folder. Two things are added: the last row of the vocabulary is ``<CALL>`` (the
embedding has exactly ``len(tokenizer)`` rows), and a folder contains ``lacy.json`` beside the
weights.

``lacy.model.presets`` does not import torch, so help texts and estimates can use it.
"""

import lazy_loader

from lacy._quiet import drop_known_messages

drop_known_messages()  # before anything imports transformers

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
