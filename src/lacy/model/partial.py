"""Heads that compute the logits of some tokens only, as far as decoding must know of them.

``lacy.vocabulary`` makes such heads. Candidates of a source may begin with any token, so they are
scored by all logits.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

from torch import Tensor


class PartialHead(Protocol):
    """A head that leaves out logits of tokens that matter little to the model's own choice."""

    last_BD: Tensor | None
    """Inputs of the last pass over one position of each text; None if all logits were computed."""

    def finished_logits(self, hidden_ND: Tensor) -> Tensor:
        """Return all logits of the model, after scale and cap, ``[N, V]``."""
        ...

    def forget(self) -> None:
        """Forget the tokens of all contexts, as no text is being written."""
        ...

    def everything(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which all logits are computed."""
        ...


def partial_head(model: Any) -> PartialHead | None:
    """Return the model's head if it computes the logits of some tokens only."""
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    return head if hasattr(head, "finished_logits") else None


def all_logits(head: PartialHead | None) -> contextlib.AbstractContextManager[None]:
    """Return a context in which a head computes all logits."""
    return contextlib.nullcontext() if head is None else head.everything()
