"""Texts from files and the Hub, tokenizers, packed training rows and their order.

``read`` yields documents, ``train_tokenizer`` or ``load_tokenizer`` gives a tokenizer,
``PackedData.write`` packs documents that ``annotate.encode`` has encoded, and ``BatchOrder``
determines the rows of each training step. ``lacy.world`` makes documents whose every fact is known.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
