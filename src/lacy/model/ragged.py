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
from torch.nn import functional

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
        super().keep(rows)
        self.tokens_BT = [list(tokens) for tokens in self.tokens_BT]
        self._trim()

    @torch.inference_mode()
    def part(self, rows: Sequence[int]) -> RaggedDecoder:
        """A decoder of its own that holds copies of these rows."""
        part = RaggedDecoder(self.model, call_id=self.call_id, score_cells=self.score_cells)
        if rows:
            index = torch.tensor(list(rows), device=self.model.device)
            part._cache = self._copy(index, self.length)
            part._last_BV = self.last_BV[index]
            part.tokens_BT = [list(self.tokens_BT[row]) for row in rows]
            part._trim()
        return part

    @torch.inference_mode()
    def join(self, others: Sequence[RaggedDecoder]) -> None:
        """Take over the rows of other decoders of the same model, after one's own, in order."""
        parts = [part for part in (self, *others) if part.rows]
        if not parts or parts == [self]:
            return
        lengths = [part.length for part in parts]
        width = max(lengths)
        caches = [part._cache for part in parts]
        self._cache = type(caches[0])()
        for number, layers in enumerate(zip(*(cache.layers for cache in caches), strict=True)):
            keys = [_padded(layer.keys, width) for layer in layers]
            values = [_padded(layer.values, width) for layer in layers]
            self._cache.update(torch.cat(keys), torch.cat(values), number)
        self._last_BV = torch.cat([part.last_BV for part in parts])
        self.tokens_BT = [list(tokens) for part in parts for tokens in part.tokens_BT]

    def rewind(self, count: int) -> None:
        """Take back the last ``count`` tokens of every row (at least one of each must stay)."""
        if count and self.tokens_BT and count >= min(map(len, self.tokens_BT)):
            raise ValueError(f"cannot take back {count} tokens of every row")
        super().rewind(count)

    def _trim(self) -> None:
        """Drop the columns in which no row has begun."""
        if not self.tokens_BT or self._cache is None:
            return
        surplus = self._cache.get_seq_length() - self.length
        for layer in self._cache.layers if surplus else ():
            layer.keys = layer.keys[..., surplus:, :]
            layer.values = layer.values[..., surplus:, :]

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


def _padded(states: Tensor, width: int) -> Tensor:
    """Keys or values (B, heads, T, D) with columns of zeros before the first."""
    return functional.pad(states, (0, 0, width - states.shape[-2], 0))
