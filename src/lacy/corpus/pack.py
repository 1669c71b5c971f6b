"""Pack documents of any length into rows of equal length with little padding.

Documents stay separate: ``segments`` numbers the document of each token in a row, and the model
neither attends nor predicts across documents. A document longer than a row is split into several
segments.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError

WINDOW_TOKENS = 1 << 20
"""Documents are packed best-fit-decreasing within windows of this many tokens to bound memory. On
Wikipedia articles, 0.14 to 0.17% of the positions are padding (rows of 128 to 1,024 tokens); a
single window for the whole corpus would give 0.07 to 0.13%.
"""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as tokens: ``[begin] + text + [end]``, with one ``MarkFlag`` byte per token."""

    id: str
    input_ids: list[int]
    marks: list[int]


class Segment(NamedTuple):
    """A document or a part of one that fits into a row."""

    ids: NDArray[np.int32]
    marks: NDArray[np.uint8]


class PackedRows(NamedTuple):
    """R packed rows of T tokens: ids, marks, and segment numbers (0 for padding)."""

    input_ids_RT: NDArray[np.int32]
    marks_RT: NDArray[np.uint8]
    segments_RT: NDArray[np.int32]


def pack(
    segments: Iterable[Segment], context: int, pad_id: int, *, window: int = WINDOW_TOKENS
) -> Iterator[PackedRows]:
    """Fill rows of ``context`` tokens, window by window; the result is deterministic.

    Args:
        segments: each at most ``context`` tokens long, see ``split``.
        context: tokens per row, T.
        pad_id: the id of padding; marks and segments of padding are 0.
        window: number of tokens that are packed together.
    """
    pending: list[Segment] = []
    tokens = 0
    for segment in segments:
        pending.append(segment)
        tokens += len(segment.ids)
        if tokens >= window:
            yield _fill_rows(pending, context, pad_id)
            pending, tokens = [], 0
    if pending:
        yield _fill_rows(pending, context, pad_id)


def split(document: Segment, context: int) -> Iterator[Segment]:
    """Split a document into segments of at most ``context`` (3 or more) tokens.

    A segment of one token has nothing to predict. If the last segment would have one token, the
    segment before it is shortened by one.
    """
    length = len(document.ids)
    start = 0
    while length - start > context:
        end = start + context - (length - start == context + 1)
        yield Segment(document.ids[start:end], document.marks[start:end])
        start = end
    yield Segment(document.ids[start:], document.marks[start:])


def best_fit(lengths: Sequence[int], context: int) -> list[list[int]]:
    """Assign items to rows: longest first, each to the fullest row that has room for it.

    Best-fit-decreasing needs at most 11/9 of the optimal number of rows, plus one. Ties go to the
    first of equal items, and to the row that reached its gap first.

    Args:
        lengths: length of each item, between 1 and ``context``.
        context: length of a row.

    Returns:
        Indices of the items in each row.
    """
    rows: list[list[int]] = []
    gaps: list[int] = []  # distinct gap sizes of the open rows, sorted
    open_rows: dict[int, list[int]] = {}  # rows by the size of their gap
    for item in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[item]
        at = bisect_left(gaps, length)
        if at == len(gaps):
            row, gap = len(rows), context
            rows.append([])
        else:
            gap = gaps[at]
            waiting = open_rows[gap]
            row = waiting.pop(0)
            if not waiting:
                del open_rows[gap], gaps[at]
        rows[row].append(item)
        left = gap - length
        if left:
            if left not in open_rows:
                insort(gaps, left)
                open_rows[left] = []
            open_rows[left].append(row)
    return rows


def to_segment(document: Encoded, vocab_size: int, call_id: int) -> Segment:
    """Convert a document to arrays.

    Raises:
        LacyError: E20, the numbers of marks and tokens differ; E29, an id cannot occur in a text,
            or a mark is not a ``MarkFlag`` byte.
    """
    where = f"document {document.id!r}"
    if len(document.input_ids) != len(document.marks):
        raise LacyError(
            "E20",
            tokens=len(document.input_ids),
            marks=len(document.marks),
            where=where,
            do="lacy data mark, with the tokenizer in use",
        )
    ids = np.asarray(document.input_ids, dtype=np.int64)
    marks = np.asarray(document.marks, dtype=np.int64)
    outside = (ids < 0) | (ids >= vocab_size) | (ids == call_id)
    if outside.any():
        why = f"token id {ids[outside][0]} is not one of the {vocab_size - 1} text tokens"
        raise LacyError("E29", where=where, why=why, do="encode it with the tokenizer in use")
    if marks.size and (marks.min() < 0 or marks.max() > 255):
        why = "its marks are not bytes of mark flags"
        raise LacyError("E29", where=where, why=why, do="make marks with lacy.annotate.encode")
    return Segment(ids.astype(np.int32), marks.astype(np.uint8))


def _fill_rows(segments: Sequence[Segment], context: int, pad_id: int) -> PackedRows:
    plan = best_fit([len(segment.ids) for segment in segments], context)
    rows = PackedRows(
        np.full((len(plan), context), pad_id, np.int32),
        np.zeros((len(plan), context), np.uint8),
        np.zeros((len(plan), context), np.int32),
    )
    for row, members in enumerate(plan):
        at = 0
        for number, member in enumerate(members, 1):
            segment = segments[member]
            end = at + len(segment.ids)
            rows.input_ids_RT[row, at:end] = segment.ids
            rows.marks_RT[row, at:end] = segment.marks
            rows.segments_RT[row, at:end] = number
            at = end
    return rows
