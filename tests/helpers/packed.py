"""Packed biographies of a small made-up world with byte tokens and gold marks."""

from lacy.annotate import encode
from lacy.corpus import PackedData
from lacy.testing import byte_tokenizer
from lacy.world import make_world


def write_packed(folder, *, texts, context):
    """Pack the first texts of twelve people into rows of ``context`` tokens."""
    tokenizer = byte_tokenizer()
    encoded = [encode(document, tokenizer) for document in make_world(12, 0).documents("train")]
    PackedData.write(encoded[:texts], tokenizer, context, folder)
    return folder
