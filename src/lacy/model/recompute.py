"""Choose how to decode: with our cache, or by processing each text again for every token.

``Decoder`` needs a cache of keys and values alone, whose rows can be joined, copied and cut. Models
with a recurrent state (Mamba) or with linear attention in some layers (Qwen3.5) have another kind
of state; they are decoded without a cache.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lacy.model.decode import Decoder, pad
from lacy.model.quantized import quantization_of
from lacy.model.trees import Tree

MAX_LOGITS = 33_554_432
"""Maximum number of logits of one forward pass (128 MiB in float32)."""

_CACHED: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def new_decoder(model: Any, *, call_id: int | None = None) -> Decoder:
    """Return an empty decoder that suits a model's architecture.

    Args:
        model: a causal ``transformers`` model.
        call_id: id of ``<CALL>``, which is excluded from every likelihood; None if there is none.
    """
    kind = Decoder if decodes_from_cache(model) else RecomputingDecoder
    return kind(model, call_id=call_id)


def decodes_from_cache(model: Any) -> bool:
    """True if ``Decoder`` gives this model's own logits, for rows of different lengths as well.

    Measured once per model on a short text; False also if the model fails with our cache.
    """
    from lacy.model.cache import keeps_keys_and_values

    if not isinstance(model, torch.nn.Module):
        return True
    known = _CACHED.get(model)
    if known is None:
        known = _CACHED[model] = keeps_keys_and_values(model) and _agrees(model)
    return known


def _agrees(model: Any) -> bool:
    """Compare the logits of a batch of two short texts with those of each text alone."""
    # Where inputs are rounded, rounding errors of another order of sums become steps of int8.
    tolerance = 0.2 if quantization_of(model) == "int8_dynamic" else 1e-3
    size = int(model.get_input_embeddings().weight.shape[0])
    tokens = [n * 7 % size for n in range(1, 13)]
    rows = [tokens[:5], tokens[3:]]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            decoder, plain = Decoder(model), RecomputingDecoder(model)
            for each in (decoder, plain):
                each.read(rows)
                each.step([tokens[1], tokens[2]])
            wanted_BV, found_BV = plain.last_BV, decoder.last_BV
            error = (wanted_BV - found_BV).abs().max() / wanted_BV.abs().max().clamp_min(1e-12)
            return bool(error < tolerance)
    except Exception:  # models with other caches or inputs raise exceptions of any class
        return False
    finally:
        model.train(was_training)


class RecomputingDecoder(Decoder):
    """A decoder without a cache: every forward pass processes all tokens of its rows again.

    It works for every causal model; a text of T tokens costs T passes over up to T tokens.
    """

    @torch.inference_mode()
    def read(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append one or more tokens to every row (numbers may differ); return logits like feed."""
        before_BT = self.tokens_BT or [[] for _ in tokens_BT]
        rows = [[*old, *new] for old, new in zip(before_BT, tokens_BT, strict=True)]
        self._check_room(max(map(len, rows)))
        self.tokens_BT = [[int(token) for token in row] for row in rows]
        last_BV = torch.cat([logits[-1:] for logits in self._logits(self.tokens_BT, 1)])
        self._last_BV = last_BV.float()
        return self._last_BV

    @torch.inference_mode()
    def whole_BV(self, rows: Sequence[int]) -> Tensor:
        """Return ``last_BV`` of some rows, with the logits that a partial head left out."""
        if self._partial is None:
            return super().whole_BV(rows)
        with self._partial.everything():
            logits = self._logits([self.tokens_BT[row] for row in rows], 1)
        return torch.cat([logits_TV[-1:] for logits_TV in logits]).float()

    def part(self, rows: Sequence[int]) -> Decoder:
        """Return a new decoder with copies of these rows."""
        part = RecomputingDecoder(self.model, call_id=self.call_id, score_cells=self.score_cells)
        part.tokens_BT = [list(self.tokens_BT[row]) for row in rows]
        if rows and self._last_BV is not None:
            part._last_BV = self._last_BV[torch.tensor(list(rows), device=self.model.device)]
        return part

    def join(self, others: Sequence[Decoder]) -> None:
        """Append the rows of other decoders of the same model in order."""
        parts = [part for part in (self, *others) if part.rows]
        logits = [part._last_BV for part in parts]
        known = [last_BV for last_BV in logits if last_BV is not None]
        self._last_BV = torch.cat(known) if known and len(known) == len(logits) else None
        self.tokens_BT = [list(tokens) for part in parts for tokens in part.tokens_BT]

    def rewind(self, count: int) -> None:
        """Remove the last ``count`` tokens; at least one token must remain."""
        if count:
            self.tokens_BT = [row[:-count] for row in self.tokens_BT]
            self._last_BV = None

    @property
    def _takes_trees(self) -> bool:
        """False: tokens are read as one text, without the mask of a tree."""
        return False

    def _forward(self, rows: Sequence[int], input_KT: Tensor, cache: Any, keep: int) -> Tensor:
        all_BT = [
            [*self.tokens_BT[row], *new] for row, new in zip(rows, input_KT.tolist(), strict=True)
        ]
        return torch.stack(self._logits(all_BT, keep))

    def _forward_trees(self, trees: Sequence[Tree], cut: int) -> Tensor:
        before_BT = [self.tokens_BT[tree.row] for tree in trees]
        before_BT = [row[: len(row) - cut] for row in before_BT]
        tokens_BT = pad([tree.tokens for tree in trees])
        all_BT = [[*old, *new] for old, new in zip(before_BT, tokens_BT, strict=True)]
        return torch.stack(self._logits(all_BT, len(tokens_BT[0])))

    def _logits(self, rows: Sequence[Sequence[int]], keep: int) -> list[Tensor]:
        """Return the logits after the last ``keep`` tokens of each row."""
        width = max(map(len, rows))
        together = max(1, MAX_LOGITS // (width * int(self.model.config.vocab_size)))
        found: list[Tensor] = []
        for start in range(0, len(rows), together):
            some = [list(row) for row in rows[start : start + together]]
            even = len(set(map(len, some))) == 1
            more: dict[str, Any] = {"logits_to_keep": keep} if even and _keeps(self.model) else {}
            # Padding on the right is never seen, because every pass is causal.
            input_BT = torch.tensor(pad(some), device=self.model.device)
            logits_BTV = self.model(input_ids=input_BT, use_cache=False, **more).logits
            for row, logits_TV in zip(some, logits_BTV, strict=True):
                end = len(logits_TV) if more else len(row)
                found.append(logits_TV[end - keep : end])
        return found


def _keeps(model: Any) -> bool:
    """True if a model can compute the logits of the last tokens alone."""
    forward = inspect.signature(getattr(model, "forward", model))
    return "logits_to_keep" in forward.parameters
