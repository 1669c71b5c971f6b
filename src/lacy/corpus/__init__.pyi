from .files import RowConverter
from .fixed_field import read_fixed_field
from .order import BatchOrder, permutation
from .pack import Encoded
from .packed import DataInfo, PackedData
from .reading import read, write_documents
from .report import ReadReport
from .source_names import source_name
from .special_tokens import begin_end, choose_begin_end, save_tokenizer, turn_end
from .token_text import TextStream, TokenText
from .tokenizer import (
    Encoding,
    decode,
    encode_texts,
    load_tokenizer,
    prepare_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)
from .tokenizer_files import load_tokenizer_files

__all__ = [
    "BatchOrder",
    "DataInfo",
    "Encoded",
    "Encoding",
    "PackedData",
    "ReadReport",
    "RowConverter",
    "TextStream",
    "TokenText",
    "begin_end",
    "choose_begin_end",
    "decode",
    "encode_texts",
    "load_tokenizer",
    "load_tokenizer_files",
    "permutation",
    "prepare_tokenizer",
    "read",
    "read_fixed_field",
    "save_tokenizer",
    "source_name",
    "tokenizer_fingerprint",
    "train_tokenizer",
    "turn_end",
    "write_documents",
]
