"""Keep hidden copies of texts, in which a source's sentences stand before the text.

A copy of its own serves to rank candidates. The copies of texts whose next words are written after
reading form a batch, so that one forward pass gives the next tokens of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from weakref import ref

from torch import Tensor

from lacy.model import Decoder, new_decoder

MOST_KEPT = 8_192
"""Maximum number of tokens of single copies that are kept for later calls, over all texts."""


class GrowingText(Protocol):
    """What a reader needs to know of a text (``TextSequence``)."""

    ids: list[int]
    text: str
    implied: int
    ended: bool
    sentences: str


class HiddenCopies:
    """Keys and values of the copies, so that only new tokens are processed.

    Args:
        model: the SLM, in this process.
        call_id: the id of ``<CALL>``; None for a model without it.
    """

    def __init__(self, model: Any, call_id: int | None) -> None:
        self._model, self._call_id = model, call_id
        self._single: dict[int, tuple[ref[GrowingText], Decoder]] = {}
        self._texts: list[ref[GrowingText]] = []
        self._batch = self._new()

    def read(self, text: GrowingText, ids: list[int]) -> Decoder:
        """Return a decoder of one row that has read these tokens, for one text.

        Args:
            text: identifies the copy.
            ids: all tokens of the copy. If they begin with those that it has read, only the others
                are processed.
        """
        decoder = self._take(text)
        read = decoder.tokens_BT[0] if decoder is not None else []
        if decoder is None or ids[: len(read)] != read:
            decoder, read = self._new(), []
        if len(read) < len(ids):
            decoder.feed([ids[len(read) :]])
        self._keep(text, decoder)
        return decoder

    def read_together(self, texts: Sequence[GrowingText], ids: Sequence[list[int]]) -> Tensor:
        """Read one copy per text; return the logits for the next token of each, ``[R, V]``.

        Args:
            texts: different texts.
            ids: all tokens of each copy. Copies of the batch that need one more token get it in the
                same pass.
        """
        wanted = dict(zip(map(id, texts), ids, strict=True))
        self._set_apart(
            row
            for row, text in enumerate(self._members())
            if text is None or wanted.get(id(text), [])[:-1] != self._batch.tokens_BT[row]
        )
        members = [id(text) for text in self._members()]
        if members:
            self._batch.feed([wanted[member][-1:] for member in members])
        joining = [text for text in texts if id(text) not in members]
        self._batch.join([self._read_apart(text, wanted[id(text)]) for text in joining])
        self._texts += map(ref, joining)
        row_of = {member: row for row, member in enumerate([*members, *map(id, joining)])}
        return self._batch.last_BV[[row_of[id(text)] for text in texts]]

    def _new(self) -> Decoder:
        return new_decoder(self._model, call_id=self._call_id)

    def _members(self) -> list[GrowingText | None]:
        """Return the texts of the batch's rows; None for those that no longer exist."""
        return [member() for member in self._texts]

    def _read_apart(self, text: GrowingText, ids: list[int]) -> Decoder:
        """Return a decoder that has read these tokens and is not kept as a single copy."""
        decoder = self.read(text, ids)
        del self._single[id(text)]
        return decoder

    def _take(self, text: GrowingText) -> Decoder | None:
        """Return the copy of a text, if there is one, and keep it no longer."""
        for row, member in enumerate(self._members()):
            if member is text:
                self._set_apart([row])
        owner, decoder = self._single.pop(id(text), (None, None))
        return decoder if owner is not None and owner() is text else None

    def _set_apart(self, rows: Any) -> None:
        """Remove rows from the batch; those of texts that go on become single copies."""
        rows = list(rows)
        if not rows:
            return
        for row in rows:
            text = self._texts[row]()
            if text is not None and not text.ended:
                self._keep(text, self._batch.part([row]))
        staying = [row for row in range(len(self._texts)) if row not in rows]
        self._texts = [self._texts[row] for row in staying]
        self._batch.keep(staying)

    def _keep(self, text: GrowingText, decoder: Decoder) -> None:
        """Keep a copy for the next call; drop those of finished texts and the oldest ones."""
        self._single[id(text)] = ref(text), decoder
        total = 0
        for key, (owner, kept) in reversed(list(self._single.items())):
            total += kept.length
            known = owner()
            if known is None or known.ended or (total > MOST_KEPT and known is not text):
                del self._single[key]
