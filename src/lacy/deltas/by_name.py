"""Find a codec by its name, as settings and messages write it."""

from __future__ import annotations

from typing import cast, get_args

from lacy.deltas.blocks import BlockCodec
from lacy.deltas.codec import Codec
from lacy.deltas.plain import PlainCodec, PlainKind
from lacy.deltas.topk import TopKCodec
from lacy.errors import LacyError

CODECS = ("f32", "f16", "bf16", "int8", "int4", "topk")
"""Names of codecs; ``int4/128`` sets the values per block, ``topk/0.03`` the share of values."""


def codec_by_name(name: str) -> Codec:
    """Return the codec of a name, such as ``bf16``, ``int8``, ``int4/128`` or ``topk/0.03``.

    Raises:
        LacyError: E357, there is no such codec, or its number is out of range.
    """
    kind, slash, number = name.partition("/")
    try:
        if kind in ("int8", "int4"):
            block = int(number) if slash else 64
            if 8 <= block <= 65536 and block % 2 == 0:
                return BlockCodec(8 if kind == "int8" else 4, block)
        elif kind == "topk":
            density = float(number) if slash else 1 / 64
            if 0 < density <= 1:
                return TopKCodec(density)
        elif name in get_args(PlainKind):
            return PlainCodec(cast(PlainKind, name))
    except ValueError:
        pass
    raise LacyError("E357", name=name, codecs=", ".join(CODECS))
