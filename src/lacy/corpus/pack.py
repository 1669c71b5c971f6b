"""Packing: documents of any length into rows of one length, with little padding.

Documents stay apart: each row says which token belongs to which document (``segments``), and
the model neither attends nor predicts across. A document longer than a row is cut into pieces,
each a segment of its own.
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
"""Documents are placed best-fit-decreasing within windows of so many tokens, which bounds the
memory. On Wikipedia articles 0.14 to 0.17% of the positions are padding (rows of 128 to 1,024
tokens); one window for everything would leave 0.07 to 0.13%."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as tokens: ``[begin] + text + [end]``, with one ``MarkFlag`` byte per token."""

    id: str
    input_ids: list[int]
    marks: list[int]


class Piece(NamedTuple):
    """A document, or a part of one that fits into a row."""

    ids: NDArray[np.int32]
    marks: NDArray[np.uint8]


class Rows(NamedTuple):
    """Packed rows, R of them, T long: ids, marks, and which segment (0: padding)."""

    input_ids_RT: NDArray[np.int32]
    marks_RT: NDArray[np.uint8]
    segments_RT: NDArray[np.int32]


def pack(
    pieces: Iterable[Piece], context: int, pad_id: int, *, window: int = WINDOW_TOKENS
) -> Iterator[Rows]:
    """Fills rows of ``context`` tokens, window by window; pure and repeatable.

    Args:
        pieces: each at most ``context`` tokens long, see ``split``.
        context: tokens per row, T.
        pad_id: what stands where no document does (marks and segments are 0 there).
        window: tokens looked at together.
    """
    held: list[Piece] = []
    tokens = 0
    for piece in pieces:
        held.append(piece)
        tokens += len(piece.ids)
        if tokens >= window:
            yield _fill(held, context, pad_id)
            held, tokens = [], 0
    if held:
        yield _fill(held, context, pad_id)


def split(document: Piece, context: int) -> Iterator[Piece]:
    """Cuts a document into pieces of at most ``context`` tokens (at least 3).

    A piece of one token has nothing to predict; where one would be left over, the piece before
    it gives a token away.
    """
    length = len(document.ids)
    start = 0
    while length - start > context:
        end = start + context - (length - start == context + 1)
        yield Piece(document.ids[start:end], document.marks[start:end])
        start = end
    yield Piece(document.ids[start:], document.marks[start:])


def best_fit(lengths: Sequence[int], context: int) -> list[list[int]]:
    """Which item goes into which row: longest first, each into the fullest row that has room.

    Best-fit-decreasing needs at most 11/9 of the fewest possible rows (plus one). Of equal items
    the first goes first; of rows with equal room the one that came to it first is taken.

    Args:
        lengths: of the items, each between 1 and ``context``.
        context: room in a row.

    Returns:
        Indices of the items in each row.
    """
    rows: list[list[int]] = []
    rooms: list[int] = []  # sorted, the free room sizes that occur
    open_rows: dict[int, list[int]] = {}  # free room -> rows with it
    for item in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[item]
        at = bisect_left(rooms, length)
        if at == len(rooms):
            row, room = len(rows), context
            rows.append([])
        else:
            room = rooms[at]
            waiting = open_rows[room]
            row = waiting.pop(0)
            if not waiting:
                del open_rows[room], rooms[at]
        rows[row].append(item)
        left = room - length
        if left:
            if left not in open_rows:
                insort(rooms, left)
                open_rows[left] = []
            open_rows[left].append(row)
    return rows


def checked(document: Encoded, vocab_size: int, call_id: int) -> Piece:
    """A document as arrays.

    Raises:
        LacyError: E20 another number of marks than of tokens, E29 an id that cannot stand in a
            text or a mark that is no ``MarkFlag`` byte.
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
        why = "its marks are no bytes of mark flags"
        raise LacyError("E29", where=where, why=why, do="make marks with lacy.annotate.encode")
    return Piece(ids.astype(np.int32), marks.astype(np.uint8))


def _fill(pieces: Sequence[Piece], context: int, pad_id: int) -> Rows:
    plan = best_fit([len(piece.ids) for piece in pieces], context)
    rows = Rows(
        np.full((len(plan), context), pad_id, np.int32),
        np.zeros((len(plan), context), np.uint8),
        np.zeros((len(plan), context), np.int32),
    )
    for row, members in enumerate(plan):
        at = 0
        for segment, member in enumerate(members, 1):
            piece = pieces[member]
            end = at + len(piece.ids)
            rows.input_ids_RT[row, at:end] = piece.ids
            rows.marks_RT[row, at:end] = piece.marks
            rows.segments_RT[row, at:end] = segment
            at = end
    return rows
