"""Convert character marks to token marks, for any fast tokenizer.

A token is a fact token if it contains at least one character of a mark, ignoring spaces at the ends
of the mark. This rule covers the hard cases: a leading space alone never makes a token a fact
token, every digit of a split number and every byte of a multi-byte character is a fact token, and a
space inside a value belongs to the value.

A token's offsets do not always show its characters: a tokenizer that adds a space before the text
gives that space the offsets of the first letter. ``token_spans`` distinguishes the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lacy._text import SURROGATE
from lacy.corpus import Encoded, Encoding, begin_end, encode_texts
from lacy.errors import LacyError
from lacy.types import Document, Mark, MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORD_START = "\u2581"
"""SentencePiece's character for a space, which also marks the beginning of a word."""

SPACES = f"{WORD_START}\u0120 "
"""Characters that mean a space in tokens; byte-level tokenizers use the second."""


def encode(
    document: Document, tokenizer: PreTrainedTokenizerFast, context: int | None = None
) -> Encoded:
    """Encode a document as ``[begin] + text tokens + [end]`` with one mark byte per token.

    Args:
        document: text and marks; overlapping marks count as one value.
        tokenizer: any fast tokenizer. Special tokens in the text are encoded as plain text.
        context: keep only this many tokens.

    Raises:
        LacyError: E38, a mark is outside the text; E39, the text is not valid Unicode.
    """
    return next(encode_many([document], tokenizer, context))


def encode_many(
    documents: Iterable[Document],
    tokenizer: PreTrainedTokenizerFast,
    context: int | None = None,
    *,
    batch: int = 256,
) -> Iterator[Encoded]:
    """Encode a stream of documents in batches; faster than ``encode`` with the same result."""
    begin, end = begin_end(tokenizer)
    stream = iter(documents)
    while group := list(itertools.islice(stream, batch)):
        for document in group:
            _check(document)
        texts = [document.text for document in group]
        for document, found in zip(group, token_spans(tokenizer, texts), strict=True):
            flags = token_flags(document.marks, document.text, found).tolist()
            yield Encoded(document.id, [begin, *found.ids, end][:context], [0, *flags, 0][:context])


def token_spans(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterator[Encoding]:
    """Yield the token ids of texts, and the characters that each token contains.

    A token that is only SentencePiece's word-start character contains no characters, and a space
    that the tokenizer added is not counted.
    """
    for text, found in zip(texts, encode_texts(tokenizer, texts), strict=True):
        offsets = list(found.offsets)
        for place, is_sign in _spaces(tokenizer, found.ids):
            start, end = offsets[place]
            if is_sign or text[start:end].strip():
                offsets[place] = (start, start)
        yield Encoding(found.ids, offsets)


def _spaces(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """Yield the positions of space-only tokens; True if they use SentencePiece's character."""
    different = list(set(ids))
    pieces = zip(different, tokenizer.convert_ids_to_tokens(different), strict=True)
    blank = {n: piece[0] == WORD_START for n, piece in pieces if piece and not piece.strip(SPACES)}
    if blank:
        yield from ((place, blank[n]) for place, n in enumerate(ids) if n in blank)


def token_flags(marks: Sequence[Mark], text: str, encoding: Encoding) -> NDArray[np.uint8]:
    """Return the mark bytes of a text's tokens (without begin and end).

    ``FACT`` and the reason's bit are set on every token with a character of the mark, ``START`` on
    the first token of each value (overlapping marks are one value). ``CONTENT`` is set only where
    there is no fact, and without ``START``.
    """
    flags = np.zeros(len(encoding.ids), np.uint8)
    kept = [(start, end, mark) for mark in marks for start, end in [strip_mark(mark, text)]]
    kept = [item for item in kept if item[0] < item[1]]
    if not kept or not len(flags):
        return flags
    spans = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    for reason in {mark.reason for _, _, mark in kept}:
        inside = np.zeros(len(text) + 1, np.int64)
        for start, end, mark in kept:
            if mark.reason == reason:
                inside[start + 1 : end + 1] = 1
        before = np.cumsum(inside)  # marked characters before each position
        bits = MarkFlag[reason] if reason == "CONTENT" else MarkFlag[reason] | MarkFlag.FACT
        flags[before[spans[:, 1]] > before[spans[:, 0]]] |= np.uint8(bits)
    flags[(flags & MarkFlag.FACT) != 0] &= np.uint8(0xFF ^ MarkFlag.CONTENT)
    flags[_first_tokens(value_ranges(kept), spans)] |= np.uint8(MarkFlag.START)
    return flags


def _first_tokens(ranges: list[tuple[int, int]], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first token that contains a character of each range, if there is one."""
    holding = np.flatnonzero(spans[:, 1] > spans[:, 0])
    begins, ends = spans[holding].T
    if np.any(ends[1:] < ends[:-1]):  # a normalizer may reorder characters
        first_at = np.full(int(ends.max()) + 1, len(spans))
        for token in holding[::-1].tolist():
            first_at[spans[token, 0] : spans[token, 1]] = token
        hits = (first_at[start:end].min(initial=len(spans)) for start, end in ranges)
        return np.array([hit for hit in hits if hit < len(spans)], dtype=np.int64)
    wanted = np.asarray(ranges, dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, wanted[:, 0], side="right")
    reached = first < len(holding)
    first, last = first[reached], wanted[reached, 1]
    found: NDArray[np.int64] = holding[first[begins[first] < last]]
    return found


def strip_mark(mark: Mark, text: str) -> tuple[int, int]:
    """Return a mark's range without spaces at its ends; empty if it contains only spaces."""
    piece = text[mark.start : mark.end]
    start = mark.start + len(piece) - len(piece.lstrip())
    return start, max(start, mark.start + len(piece.rstrip()))


def value_ranges(marks: Iterable[tuple[int, int, Mark]]) -> list[tuple[int, int]]:
    """Return the ranges of the values: overlapping fact marks merged, adjacent ones separate."""
    found: list[tuple[int, int]] = []
    for start, end, mark in sorted(marks, key=lambda item: item[:2]):
        if mark.reason == "CONTENT":
            continue
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _check(document: Document) -> None:
    if match := SURROGATE.search(document.text):
        raise LacyError("E39", id=document.id, at=match.start())
    length = len(document.text)
    for mark in document.marks:
        if not 0 <= mark.start <= mark.end <= length:
            raise LacyError("E38", start=mark.start, end=mark.end, id=document.id, length=length)
