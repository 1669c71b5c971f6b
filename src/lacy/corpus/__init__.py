"""Corpus: text from files and the Hub, a tokenizer for it, packed rows to train on, their order.

The way of a text through this room: ``read`` gives documents, ``train_tokenizer`` or
``load_tokenizer`` the tokenizer, ``PackedData.write`` packs what ``annotate.encode`` made of
documents and marks, ``BatchOrder`` says which rows belong to which step. ``lacy.world``
makes documents whose every fact is known.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
