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
        self._last_BV = torch.cat([part.last_BV for part in parts])
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
