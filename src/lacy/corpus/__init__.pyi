from .borders import begin_end, choose_borders, save_tokenizer, turn_end
from .opening import open_tokenizer
from .order import BatchOrder, permutation
from .pack import Encoded
from .packed import DataInfo, PackedData
from .reading import read, write_documents
from .report import ReadReport
from .token_text import TextStream, TokenText
from .tokenize import (
    Encoding,
    decode,
    encode_texts,
    load_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)

__all__ = [
    "BatchOrder",
    "DataInfo",
    "Encoded",
    "Encoding",
    "PackedData",
    "ReadReport",
    "TextStream",
    "TokenText",
    "begin_end",
    "choose_borders",
    "decode",
    "encode_texts",
    "load_tokenizer",
    "open_tokenizer",
    "permutation",
    "read",
    "save_tokenizer",
    "tokenizer_fingerprint",
    "train_tokenizer",
    "turn_end",
    "write_documents",
]
