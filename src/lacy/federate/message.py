"""Turn an update into bytes and back; nothing in a message is trusted.

A message is the length of a header (4 bytes), the header as JSON (round, number of samples,
fingerprint of the model, counts, figures), and the delta as a ``Codec`` of ``lacy.deltas`` writes
it. There is no pickle anywhere: bytes that are not exactly this are refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from lacy._parse import parse_json
from lacy.deltas import Codec, Shapes
from lacy.errors import LacyError
from lacy.types import Update

HEADER = 16_384
"""Maximum length of a header in bytes."""

FIGURES = 32
"""Maximum number of counts, and of metrics."""

_LENGTH = 4
_NAME = re.compile(r"[a-z][a-z0-9_ ]{0,31}")
_KEYS = {"round", "samples", "model", "counts", "metrics"}


class RefusedError(Exception):
    """An update that the server does not use; the message says why."""


def encode_update(update: Update, codec: Codec) -> bytes:
    """Return the message of an update.

    Raises:
        LacyError: E355, the delta has values that are not finite.
    """
    delta = codec.encode(update.delta)
    header = {
        "round": update.round, "samples": update.samples, "model": update.model,
        "counts": dict(update.counts), "metrics": dict(update.metrics),
    }  # fmt: skip
    data = json.dumps(header, separators=(",", ":")).encode()
    return len(data).to_bytes(_LENGTH, "little") + data + delta


def decode_update(data: bytes, codec: Codec, shapes: Shapes) -> Update:
    """Return the update of a message.

    Args:
        data: what ``encode_update`` returned, or anything else.
        codec: the codec that both sides use.
        shapes: names and shapes of the trained tensors.

    Raises:
        RefusedError: the bytes are not such a message.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or not 0 < length <= min(HEADER, len(data) - _LENGTH):
        raise RefusedError("it is not a message of a client")
    try:
        header = parse_json(data[_LENGTH : _LENGTH + length])
    except ValueError:
        raise RefusedError("it is not a message of a client") from None
    if not isinstance(header, dict) or header.keys() != _KEYS:
        raise RefusedError("its header has other fields than those of an update")
    numbers = [header["round"], header["samples"]]
    if not all(_is_count(number) for number in numbers) or not isinstance(header["model"], str):
        raise RefusedError("its header has values of other types")
    counts, metrics = header["counts"], header["metrics"]
    if not _are_figures(counts) or not all(_is_count(value) for value in counts.values()):
        raise RefusedError("its counts are not names with whole numbers")
    if not _are_figures(metrics) or not all(_is_finite(value) for value in metrics.values()):
        raise RefusedError("its metrics are not names with finite numbers")
    try:
        delta = codec.decode(data[_LENGTH + length :], shapes)
    except LacyError as error:
        raise RefusedError(str(error.values.get("why", error.what))) from None
    return Update(delta, header["samples"], header["round"], header["model"], counts, metrics)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_figures(found: Any) -> bool:
    """True for a short mapping of short names; free text does not fit into them."""
    return (
        isinstance(found, dict)
        and len(found) <= FIGURES
        and all(_NAME.fullmatch(name) for name in found)
    )
