"""Decode texts of different lengths together, as they come and go.

A ``Decoder`` begins and ends with one list of texts. Here a text may join while others run and may
leave for a while: texts end at the same column of the cache, the shorter ones begin later, and what
stands before their beginning is never looked at (mask) or counted (positions). A text is read in
(prefilled) alone, so that no token of it ever attends to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lacy.model.cache import new_cache
from lacy.model.decode import Decoder


class RaggedDecoder(Decoder):
    """Batched decoding over one cache of rows that need not have the same length.

    ``feed`` appends equally many tokens to every row, as a ``Decoder`` does; ``length`` is that of
    the longest row. Results equal those of each row alone up to rounding.
    """

    @property
    def length(self) -> int:
        """Columns of the cache: the tokens of the longest row."""
        return max(map(len, self.tokens_BT), default=0)

    @property
    def last_BV(self) -> Tensor:
        """Logits for the token after each row's last one. Not to be written to."""
        assert self._last_BV is not None, "nothing has been fed"
        return self._last_BV

    @torch.inference_mode()
    def read(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens, at least one to every row, not equally many to each; logits as ``feed``.

        All but the last of them are padded on the right, where nothing before looks, and what the
        padding left in the cache is cut off; the last ones are a pass of their own.
        """
        if len(set(map(len, tokens_BT))) == 1:
            return self.feed(tokens_BT)
        heads = [list(tokens[:-1]) for tokens in tokens_BT]
        olds = self.tokens_BT or [[] for _ in heads]
        self._check_room(max(len(o) + len(t) for o, t in zip(olds, tokens_BT, strict=True)))
        before, width = self.length, max(map(len, heads))
        cache = self._cache if self.rows else new_cache()
        padded = [head + [0] * (width - len(head)) for head in heads]
        self._forward(torch.tensor(padded, device=self.model.device), cache, keep=1)
        ends = [before + len(head) for head in heads]
        self.tokens_BT = [[*old, *head] for old, head in zip(olds, heads, strict=True)]
        spans = [(end - len(ids), end) for end, ids in zip(ends, self.tokens_BT, strict=True)]
        self._hold(
            [
                [
                    (layer.keys[n : n + 1, :, b:e], layer.values[n : n + 1, :, b:e])
                    for n, (b, e) in enumerate(spans)
                ]
                for layer in cache.layers
            ]
        )
        return self.feed([tokens[-1:] for tokens in tokens_BT])

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order (one may be named several times); drop the others."""
        if list(rows) != list(range(self.rows)):
            kept = self.part(rows)
            self._cache, self._last_BV, self.tokens_BT = kept._cache, kept._last_BV, kept.tokens_BT

    @torch.inference_mode()
    def part(self, rows: Sequence[int]) -> RaggedDecoder:
        """A decoder of its own that holds copies of these rows."""
        part = RaggedDecoder(self.model, call_id=self.call_id, score_cells=self.score_cells)
        if rows:
            part.tokens_BT = [list(self.tokens_BT[row]) for row in rows]
            part._last_BV = self.last_BV[torch.tensor(list(rows), device=self.model.device)]
            begins = [(row, self.length - len(self.tokens_BT[row])) for row in rows]
            part._hold(
                [
                    [
                        (layer.keys[n : n + 1, :, b:], layer.values[n : n + 1, :, b:])
                        for n, b in begins
                    ]
                    for layer in self._cache.layers
                ]
            )
        return part

    @torch.inference_mode()
    def join(self, others: Sequence[RaggedDecoder]) -> None:
        """Take over the rows of other decoders of the same model, after one's own, in order."""
        parts = [part for part in (self, *others) if part.rows]
        if not parts or parts == [self]:
            return
        layers = zip(*(part._cache.layers for part in parts), strict=True)
        pieces = [[(layer.keys, layer.values) for layer in same] for same in layers]
        known = [part._last_BV for part in parts]
        whole = [last_BV for last_BV in known if last_BV is not None]
        self._last_BV = torch.cat(whole) if len(whole) == len(known) else None
        self.tokens_BT = [list(tokens) for part in parts for tokens in part.tokens_BT]
        self._hold(pieces)

    def _hold(self, pieces: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> None:
        """Make a cache of keys and values by layer, aligned at their ends."""
        self._cache = new_cache(len(pieces))
        for layer, states in zip(self._cache.layers, pieces, strict=True):
            layer.hold(states, self.length)

    def rewind(self, count: int) -> None:
        """Take back the last ``count`` tokens of every row (at least one of each must stay)."""
        if count and self.tokens_BT and count >= min(map(len, self.tokens_BT)):
            raise ValueError(f"cannot take back {count} tokens of every row")
        super().rewind(count)

    def _forward(self, input_BT: Tensor, cache: Any, keep: int) -> Tensor:
        return self._forward_rows(range(self.rows), input_BT, cache, keep)

    def _forward_rows(self, rows: Sequence[int], input_KT: Tensor, cache: Any, keep: int) -> Tensor:
        """As ``Decoder``, with mask and positions where rows begin at different columns."""
        length = self.length
        begins = [length - len(self.tokens_BT[row]) for row in rows]
        if not any(begins):
            return super()._forward(input_KT, cache, keep)
        device = input_KT.device
        before = int(cache.get_seq_length())
        begins_K1 = torch.tensor(begins, device=device)[:, None]
        columns_T = torch.arange(before + input_KT.shape[1], device=device)
        logits: Tensor = self.model(
            input_ids=input_KT,
            attention_mask=(columns_T >= begins_K1).long(),
            # padding after a candidate must not count beyond the model's positions
            position_ids=(columns_T[before:] - begins_K1).clamp(0, self.context - 1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits


class Rereading(RaggedDecoder):
    """For a model whose state cannot be taken back or joined: one row, read anew at every pass."""

    def rewind(self, count: int) -> None:
        """Take back the last ``count`` tokens (at least one must stay)."""
        if count:
            self.tokens_BT = [row[:-count] for row in self.tokens_BT]
            self._last_BV = None

    def _forward(self, input_BT: Tensor, cache: Any, keep: int) -> Tensor:
        before_BT = torch.tensor(self.tokens_BT, device=input_BT.device, dtype=input_BT.dtype)
        all_BT = torch.cat([before_BT, input_BT], dim=1)
        logits: Tensor = self.model(input_ids=all_BT, use_cache=False).logits[:, -keep:]
        return logits
