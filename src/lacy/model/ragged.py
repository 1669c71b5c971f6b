"""Decode texts of different lengths together, as they come and go.

A ``Decoder`` decodes one list of texts from beginning to end. Here a text can join while others run
and can leave for a while. All texts end at the same column of the cache; shorter ones begin later,
and the columns before their beginning are masked and do not count as positions. A text is prefilled
alone, so that each of its tokens attends to at least one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lacy.model.cache import new_cache
from lacy.model.decode import Decoder


class RaggedDecoder(Decoder):
    """Batched decoding over one cache of rows of any lengths.

    ``feed`` appends the same number of tokens to every row, as in ``Decoder``; ``length`` is that
    of the longest row. Results equal those of each row alone up to rounding.
    """

    @property
    def length(self) -> int:
        """Columns of the cache: the tokens of the longest row."""
        return max(map(len, self.tokens_BT), default=0)

    @property
    def last_BV(self) -> Tensor:
        """Logits for the token after each row's last one (read only)."""
        assert self._last_BV is not None, "nothing has been fed"
        return self._last_BV

    @torch.inference_mode()
    def read(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append any number of tokens, at least one, to every row; return logits as ``feed``.

        All but the last tokens are padded on the right, where no earlier token sees them, and the
        padding is removed from the cache. The last tokens take a second pass.
        """
        if len(set(map(len, tokens_BT))) == 1:
            return self.feed(tokens_BT)
        heads = [list(tokens[:-1]) for tokens in tokens_BT]
        before_BT = self.tokens_BT or [[] for _ in heads]
        self._check_room(max(len(o) + len(t) for o, t in zip(before_BT, tokens_BT, strict=True)))
        before, width = self.length, max(map(len, heads))
        cache = self._cache if self.rows else new_cache()
        padded = [head + [0] * (width - len(head)) for head in heads]
        self._forward(torch.tensor(padded, device=self.model.device), cache, keep=1)
        ends = [before + len(head) for head in heads]
        self.tokens_BT = [[*old, *head] for old, head in zip(before_BT, heads, strict=True)]
        spans = [(end - len(ids), end) for end, ids in zip(ends, self.tokens_BT, strict=True)]
        self._fill(
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
        """Return a new decoder with copies of these rows."""
        part = RaggedDecoder(self.model, call_id=self.call_id, score_cells=self.score_cells)
        if rows:
            part.tokens_BT = [list(self.tokens_BT[row]) for row in rows]
            part._last_BV = self.last_BV[torch.tensor(list(rows), device=self.model.device)]
            begins = [(row, self.length - len(self.tokens_BT[row])) for row in rows]
            part._fill(
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
        """Append the rows of other decoders of the same model, in order."""
        parts = [part for part in (self, *others) if part.rows]
        if not parts or parts == [self]:
            return
        layers = zip(*(part._cache.layers for part in parts), strict=True)
        states = [[(layer.keys, layer.values) for layer in same] for same in layers]
        logits = [part._last_BV for part in parts]
        known = [last_BV for last_BV in logits if last_BV is not None]
        self._last_BV = torch.cat(known) if len(known) == len(logits) else None
        self.tokens_BT = [list(tokens) for part in parts for tokens in part.tokens_BT]
        self._fill(states)

    def _fill(self, parts: Sequence[Sequence[tuple[Tensor, Tensor]]]) -> None:
        """Make a cache from keys and values by layer, aligned at their ends."""
        self._cache = new_cache(len(parts))
        for layer, states in zip(self._cache.layers, parts, strict=True):
            layer.fill(states, self.length)

    def rewind(self, count: int) -> None:
        """Remove the last ``count`` tokens of every row (at least one of each must stay)."""
        if count and self.tokens_BT and count >= min(map(len, self.tokens_BT)):
            raise ValueError(f"cannot remove {count} tokens of every row")
        super().rewind(count)

    def _forward(self, input_BT: Tensor, cache: Any, keep: int) -> Tensor:
        return self._forward_rows(range(self.rows), input_BT, cache, keep)

    def _forward_rows(self, rows: Sequence[int], input_KT: Tensor, cache: Any, keep: int) -> Tensor:
        """Run the model, with mask and positions if rows begin at different columns."""
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
            # positions of padding after a candidate must not exceed the model's
            position_ids=(columns_T[before:] - begins_K1).clamp(0, self.context - 1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits


class RecomputingDecoder(RaggedDecoder):
    """A decoder of one row for models whose state cannot be rewound or joined: no cache."""

    def rewind(self, count: int) -> None:
        """Remove the last ``count`` tokens (at least one must stay)."""
        if count:
            self.tokens_BT = [row[:-count] for row in self.tokens_BT]
            self._last_BV = None

    def _forward(self, input_BT: Tensor, cache: Any, keep: int) -> Tensor:
        before_BT = torch.tensor(self.tokens_BT, device=input_BT.device, dtype=input_BT.dtype)
        all_BT = torch.cat([before_BT, input_BT], dim=1)
        logits: Tensor = self.model(input_ids=all_BT, use_cache=False).logits[:, -keep:]
        return logits
