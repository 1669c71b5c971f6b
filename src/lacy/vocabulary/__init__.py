"""Smaller vocabularies: compute only the rows of embedding and head that a task needs.

``task_vocabulary`` finds the tokens that a task writes (VocabTailor, arXiv 2508.15229). ``tailor``
makes a model compute only their logits and those of its context, exactly as the whole head would
choose if a fallback is on; ``offload`` reads the embedding from the model's file instead of memory.
``trim_vocabulary`` removes all other tokens for good, from model and tokenizer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
