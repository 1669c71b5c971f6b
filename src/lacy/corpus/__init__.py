"""Corpus: text from files and the Hub, a tokenizer for it, packed rows to train on, their order.

The way of a text through this room: ``read`` gives documents, ``train_tokenizer`` or
``load_tokenizer`` the tokenizer, ``PackedData.write`` packs what ``annotate.encode`` made of
documents and marks, ``BatchOrder`` says which rows belong to which step. ``lacy.corpus.world``
makes documents whose every fact is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Not lazy: the function must win over the module of the same name; it imports nothing heavy.
from .read import read as read

if TYPE_CHECKING:
    from .order import BatchOrder as BatchOrder
    from .pack import Encoded as Encoded
    from .packed import PackedData as PackedData
    from .tokenize import load_tokenizer as load_tokenizer
    from .tokenize import tokenizer_fingerprint as tokenizer_fingerprint
    from .tokenize import train_tokenizer as train_tokenizer

_LAZY = {
    "BatchOrder": "order",
    "Encoded": "pack",
    "PackedData": "packed",
    "load_tokenizer": "tokenize",
    "tokenizer_fingerprint": "tokenize",
    "train_tokenizer": "tokenize",
}
__all__ = [
    "BatchOrder",
    "Encoded",
    "PackedData",
    "load_tokenizer",
    "read",
    "tokenizer_fingerprint",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
