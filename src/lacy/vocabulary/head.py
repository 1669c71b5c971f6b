"""A head that computes the logits of some tokens, and knows when others matter.

The head's output has a column for every token, so samplers, beams, grammars and end tokens work as
they are. What it contains for tokens that are not active depends on ``fallback``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lacy.model import TextHead
from lacy.vocabulary.rows import ActiveRows, RowTable
from lacy.vocabulary.screen import Screen

Fallback = Literal["exact", "off"] | float
"""What becomes of tokens that are not active.

- ``off``: their logits are -inf.
- ``exact``: their logits are estimates (``Screen``), and exact for every token that could be among
  the ``top`` likeliest ones. So the ``top`` likeliest tokens and their logits are those of the
  whole head, up to the rounding of float sums.
- a number: their logits are -inf where their probability together is certainly at most this
  number; elsewhere all logits are computed. So the distribution differs from that of the whole
  head by at most this number, in total variation, at every token.
"""

MANY = 1 / 8
"""Share of all rows above which all logits are computed instead of single ones."""


@dataclass(slots=True)
class HeadUse:
    """What a ``TailoredHead`` has done since it was made or ``clear`` was called."""

    steps: int = 0
    """Number of states for which only active rows were computed at first."""
    fallbacks: int = 0
    """Number of these steps at which other rows had to be computed, too."""
    checked: int = 0
    """Number of rows that were computed at these steps, over all states."""
    whole: int = 0
    """Number of these steps at which all rows were computed."""
    outside: int = 0
    """Number of steps at which a row that was not active had the largest logit; counted with
    ``exact`` only."""
    active: int = 0
    """Sum over steps of the number of active rows."""
    admitted: int = 0
    """Number of rows that were added for contexts."""

    def clear(self) -> None:
        """Set all counts to 0."""
        for name in self.__dataclass_fields__:
            setattr(self, name, 0)

    @property
    def fallback_rate(self) -> float:
        """Share of steps at which rows had to be computed that were not active."""
        return self.fallbacks / self.steps if self.steps else 0.0


class TailoredHead(torch.nn.Module):
    """Stands in a model for its output head.

    Passes over several positions, such as those that score candidates, use the whole head: its
    rows are read once for all positions.

    Args:
        head: scale and cap of the head (``lacy.model.read_head``).
        whole: the model's own head; None if its rows are in a file.
        table: all rows.
        active: the rows that are computed; ``<CALL>`` is the first, if there is one.
        bias_V: the head's bias, in the type of its weights.
        call: True if ``<CALL>`` is the first active row. It is never the model's own token, so it
            does not count among the likeliest.
        fallback: see ``Fallback``.
        screen: estimates of all rows that are not fixed; needed unless ``fallback`` is ``off``.
        top: number of likeliest tokens that are exact with ``exact``; twice the number of beams
            for a beam search.
    """

    def __init__(
        self,
        head: TextHead,
        whole: torch.nn.Module | None,
        table: RowTable,
        active: ActiveRows,
        bias_V: Tensor | None = None,
        *,
        call: bool,
        fallback: Fallback,
        screen: Screen | None,
        top: int = 1,
    ) -> None:
        super().__init__()
        self.whole, self.table, self.active, self.screen = whole, table, active, screen
        self.fallback: Fallback = fallback
        self.top, self.use = top, HeadUse()
        self.last_BD: Tensor | None = None
        """States of the last pass over one position of each text."""
        self.unknown_BV: Tensor | None = None
        """True for the logits of the last pass that are -inf because they were not computed."""
        self._bias_V, self._call = bias_V, int(call)
        self._finish = replace(head, weight_VD=torch.empty(0), bias_V=None).finish
        self.capped, self._all = head.cap is not None, False
        self._rows_B: list[set[int]] | None = None

    @property
    def weight(self) -> Tensor:
        """All rows, as of the head that this one replaces."""
        if self.whole is not None:
            return self.whole.weight  # type: ignore[return-value]
        return torch.cat([rows_KD for _, rows_KD in self.table.blocks()])

    @property
    def bias(self) -> Tensor | None:
        """The bias, as of the head that this one replaces."""
        return self._bias_V

    @contextlib.contextmanager
    def everything(self) -> Iterator[None]:
        """A context in which all logits are computed."""
        before, self._all = self._all, True
        try:
            yield
        finally:
            self._all = before

    def all_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return what the whole head puts out for its inputs, ``[N, V]``."""
        if self.whole is not None:
            return self.whole(hidden_ND)
        parts = [hidden_ND @ rows_KD.to(hidden_ND).T for _, rows_KD in self.table.blocks()]
        output_NV = torch.cat(parts, dim=-1)
        return output_NV if self._bias_V is None else output_NV + self._bias_V.to(output_NV)

    def finished_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return all logits of the model, after scale and cap, ``[N, V]``."""
        return self._finish(self.all_logits(hidden_ND))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return a row of logits per state: ``[..., D]`` to ``[..., V]``."""
        self.unknown_BV = None
        if self._all or (hidden.ndim > 2 and hidden.shape[-2] > 1):
            self.last_BD = None
            return self.all_logits(hidden)
        hidden_ND = self.last_BD = hidden.reshape(-1, hidden.shape[-1])
        logits_Nn = self.active.outputs(hidden_ND)
        if self._rows_B is not None:
            logits_Nn = logits_Nn.masked_fill(self._strangers(len(hidden_ND)), -torch.inf)
        full_NV = logits_Nn.new_full((len(hidden_ND), self.table.shape[0]), -torch.inf)
        self.use.steps += len(hidden_ND)
        self.use.active += len(hidden_ND) * len(self.active)
        if self.screen is None:
            full_NV[:, self.active.ids] = logits_Nn
        else:
            self._fill(full_NV, hidden_ND, logits_Nn)
        if self.capped:
            self.unknown_BV = full_NV.isneginf()
        return full_NV.view(*hidden.shape[:-1], -1)

    # ------------------------------------------------------------------------------- fallback

    def _fill(self, full_NV: Tensor, hidden_ND: Tensor, logits_Nn: Tensor) -> None:
        """Fill in the active rows and whatever ``fallback`` asks for."""
        assert self.screen is not None
        estimate_NO, error_NO = self.screen.estimate(hidden_ND)
        ids = self.active.ids
        # Estimates of rows that are active now must not count among the others.
        others_NV = full_NV.new_full(full_NV.shape, -torch.inf, dtype=torch.float32)
        others_NV[:, self.screen.ids] = estimate_NO + error_NO
        others_NV[:, ids] = torch.where(logits_Nn.isneginf(), others_NV[:, ids], -torch.inf)
        if self.fallback == "exact":
            full_NV[:, self.screen.ids] = estimate_NO.to(full_NV)
            full_NV[:, ids] = torch.where(logits_Nn.isneginf(), full_NV[:, ids], logits_Nn)
            self._exact(full_NV, others_NV, hidden_ND, logits_Nn)
        else:
            full_NV[:, ids] = logits_Nn
            self._bounded(full_NV, others_NV, hidden_ND, logits_Nn)

    def _exact(
        self, full_NV: Tensor, bound_NV: Tensor, hidden_ND: Tensor, logits_Nn: Tensor
    ) -> None:
        """Compute every row that could be among the ``top`` likeliest ones."""
        own_Nn = logits_Nn[:, self._call :].float()
        best_N = own_Nn.amax(dim=1)
        if self.top > 1:
            best = own_Nn.topk(min(self.top, own_Nn.shape[1])).values
            enough = own_Nn.shape[1] >= self.top
            limit_N1 = best[:, -1:] if enough else torch.full_like(best[:, -1:], -torch.inf)
        else:
            limit_N1 = best_N[:, None]
        possible_NV = bound_NV >= limit_N1
        rows = possible_NV.any(dim=1).nonzero()[:, 0]
        if not len(rows):
            return
        self.use.fallbacks += len(rows)
        columns = possible_NV[rows].any(dim=0).nonzero()[:, 0]
        if len(columns) > MANY * self.table.shape[0]:
            self.use.whole += len(rows)
            full_NV[rows] = self.all_logits(hidden_ND[rows]).to(full_NV)
        else:
            self.use.checked += len(columns) * len(rows)
            weight_CD = self.table.rows(columns.tolist()).to(hidden_ND)
            exact_RC = hidden_ND[rows] @ weight_CD.T
            if self._bias_V is not None:
                exact_RC = exact_RC + self._bias_V[columns].to(exact_RC)
            full_NV[rows[:, None], columns] = exact_RC.to(full_NV)
        likeliest_R = full_NV[rows][:, columns].float().amax(dim=1)
        self.use.outside += int((likeliest_R > best_N[rows]).sum())

    def _bounded(
        self, full_NV: Tensor, bound_NV: Tensor, hidden_ND: Tensor, logits_Nn: Tensor
    ) -> None:
        """Compute all rows where the others could have more than the allowed probability."""
        inside_N = torch.logsumexp(self._finish(logits_Nn[:, self._call :].float()), dim=1)
        finished_NV = self._finish(bound_NV).masked_fill(bound_NV.isneginf(), -torch.inf)
        mass_N = torch.sigmoid(torch.logsumexp(finished_NV, dim=1) - inside_N)
        rows = (mass_N > float(self.fallback)).nonzero()[:, 0]
        if len(rows):
            self.use.fallbacks += len(rows)
            self.use.whole += len(rows)
            full_NV[rows] = self.all_logits(hidden_ND[rows]).to(full_NV)

    # ------------------------------------------------------------------------------- contexts

    def admit(self, tokens_BT: Sequence[Sequence[int]]) -> None:
        """Add the tokens of texts; by row, if texts have vocabularies of their own."""
        if self._rows_B is not None and len(tokens_BT) % len(self._rows_B) == 0:
            each = len(tokens_BT) // len(self._rows_B)
            for number, tokens in enumerate(tokens_BT):
                self._rows_B[number // each].update(tokens)
        self.use.admitted += self.active.admit([n for tokens in tokens_BT for n in tokens])

    def begin(self, contexts: Sequence[Sequence[int]], *, apart: bool) -> None:
        """Forget earlier contexts, and admit the tokens of new ones.

        Args:
            contexts: token ids of each text of the next batch.
            apart: True if each text can only have its own tokens and the fixed ones.
        """
        self.active.reset()
        self._rows_B = [set() for _ in contexts] if apart and contexts else None
        self.admit(contexts)

    def forget(self) -> None:
        """Forget the tokens of all contexts, as no text is being written."""
        self.begin((), apart=False)

    def _strangers(self, rows: int) -> Tensor:
        """Return which active rows belong to contexts of other texts only, ``[N, n]``."""
        assert self._rows_B is not None
        each, rest = divmod(rows, len(self._rows_B))
        if rest:
            raise ValueError(f"{rows} rows, but the vocabularies are of {len(self._rows_B)} texts")
        mask_Bn = torch.ones(len(self._rows_B), len(self.active), dtype=torch.bool)
        mask_Bn[:, : self.active.fixed] = False
        for number, tokens in enumerate(self._rows_B):
            places = [self.active.place_of(token) for token in tokens]
            mask_Bn[number, [place for place in places if place is not None]] = False
        return mask_Bn.repeat_interleave(each, dim=0).to(self.active.ids.device)
