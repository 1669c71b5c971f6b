"""Read texts from files and the Hub, load tokenizers, pack training rows and order them.

``read`` yields documents, ``train_tokenizer`` and ``load_tokenizer`` return a tokenizer,
``PackedData.write`` packs documents that ``annotate.encode`` has encoded, and ``BatchOrder``
determines the rows of each training step. ``lacy.world`` creates documents about made-up people.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
