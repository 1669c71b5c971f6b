"""Log-probabilities from logits without ``<CALL>``, which is never text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def without_call(logits: Tensor, call_id: int | None) -> Tensor:
    """Return the logits without CALL, which is never text; a view if possible."""
    if call_id is None:
        return logits
    if call_id == logits.shape[-1] - 1:
        return logits[..., :-1]
    own = logits.clone()
    own[..., call_id] = -torch.inf
    return own


def log_norms(logits: Tensor, call_id: int | None) -> Tensor:
    """Return the log of the sum of all exponentials without CALL; ``(..., V)`` to ``(...)``."""
    own = without_call(logits, call_id).flatten(end_dim=-2)
    # Row by row, because a row fits into a processor's cache and all rows do not.
    rows = own.split(1) if own.device.type == "cpu" else [own]
    norms = torch.cat([torch.logsumexp(row.float(), -1) for row in rows])
    return norms.view(logits.shape[:-1])


def ending_logps(
    logits: Tensor,
    places: tuple[Tensor, Tensor],
    own_E: Tensor,
    call_id: int | None,
    ends: Sequence[int] | None,
    *,
    gated: bool = False,
) -> Tensor:
    """Return the log-probability that one of ``ends`` follows.

    A CALL in the softmax takes its share of the probability. A CALL with a gate of its own does
    not, so without ``ends`` a value of a gated model always ends: the result is 0.

    Args:
        logits: logits (R, N, V).
        places: the two indices of E places in them; only a few columns are read.
        own_E: ``log_norms`` of these places.
        call_id: the id of CALL; None if there is none.
        ends: tokens that may follow; None for all but CALL.
        gated: True if CALL is a separate sigmoid gate (``gate_of``).
    """
    all_E = own_E
    if call_id is not None and not gated:
        all_E = torch.logaddexp(own_E, logits[places[0], places[1], call_id].float())
    if ends is None:
        return own_E - all_E
    ids = [token for token in ends if token != call_id]
    ids_M = torch.tensor(ids, dtype=torch.int64, device=own_E.device)
    ending_EM = logits[places[0][:, None], places[1][:, None], ids_M].float()
    return torch.logsumexp(ending_EM, -1) - all_E
