"""Choose which tokens of a batch are delegated, as a pure function of tensors.

``choose`` takes losses, marks, a rate and a mask of valid positions, and returns a boolean mask of
the same shape. The count is exact to one token: ``round(call_rate * valid positions)``, or all
tokens that the method may delegate where these are fewer (``shortfall`` tells). Nothing here has a
gradient, and nothing waits for the device: ranks come from one stable sort (0.3 ms for 4,096 tokens
on one CPU core), whose count may stay on the device, where a top-k would need it as a number.

Equal scores are taken in reading order. Losses are those without ``<CALL>`` (``token_losses``):
with the full softmax, mass that moved to ``<CALL>`` would raise a token's loss and the choice
would feed itself (paper §4 leaves this open).
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.objective.methods import METHODS, Delegate, Method, RankWithin, get_method
from lacy.objective.values import Values
from lacy.types import MarkFlag


def has(marks_BT: Tensor, flag: MarkFlag) -> Tensor:
    """Which tokens carry a flag: bool, same shape as the uint8 marks."""
    return (marks_BT & int(flag)) != 0


def wanted(call_rate: float, valid_BT: Tensor, rank_within: RankWithin = "batch") -> Tensor:
    """How many tokens the rate asks for: ``round(call_rate * valid)``, int64, on the device.

    Returns:
        One number (0-dim), or with ``sequence`` one per row (1-dim).

    Raises:
        LacyError: E12 for a rate outside 0 to 1.
    """
    if not 0.0 <= call_rate <= 1.0:
        raise LacyError(
            "E12",
            key="call_rate",
            value=call_rate,
            why="it is a share of the tokens",
            do="choose a number from 0 to 1; the paper's is 0.15",
        )
    exact = torch.float32 if valid_BT.device.type == "mps" else torch.float64
    valid = valid_BT.sum(-1) if rank_within == "sequence" else valid_BT.sum()
    return torch.round(valid.to(exact) * call_rate).long()


def take(score_BT: Tensor, among_BT: Tensor, count: int | Tensor) -> Tensor:
    """Takes the ``count`` tokens with the highest score among some, or all of these if fewer.

    Args:
        score_BT: any real numbers; those outside ``among_BT`` are not looked at.
        among_BT: bool, which tokens may be taken.
        count: how many, a number or a 0-dim tensor (then without waiting for the device); a 1-dim
            tensor has one count per row, and each row is ranked by itself.

    Returns:
        bool, same shape.
    """
    with torch.no_grad():
        by_row = isinstance(count, Tensor) and count.ndim == 1
        among_RN = among_BT if by_row else among_BT.reshape(1, -1)
        count_R1 = count[:, None] if by_row and isinstance(count, Tensor) else count
        lowest = torch.finfo(score_BT.dtype).min
        score_RN = score_BT.detach().reshape(among_RN.shape)
        score_RN = score_RN.nan_to_num(nan=lowest).clamp(min=lowest)
        score_RN = score_RN.masked_fill(~among_RN, -torch.inf)
        order_RN = torch.sort(score_RN, dim=-1, descending=True, stable=True).indices
        first_RN = torch.arange(order_RN.shape[-1], device=order_RN.device) < count_R1
        taken_RN = torch.zeros_like(among_RN).scatter_(-1, order_RN, first_RN.expand_as(order_RN))
        return (taken_RN & among_RN).view(among_BT.shape)


def candidates(method: str, target_marks_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Which tokens a method may delegate: bool, same shape.

    Raises:
        LacyError: E40 for an unknown method, E42 for marks of another shape.
    """
    among = get_method(method).among
    _same_shape("the marks", target_marks_BT, valid_BT)
    if among == "nothing":
        return torch.zeros_like(valid_BT)
    if among == "all":
        return valid_BT
    flag = MarkFlag.FACT if among == "facts" else MarkFlag.VALUE
    return has(target_marks_BT, flag) & valid_BT


def scores(
    method: str,
    loss_BT: Tensor | None,
    valid_BT: Tensor,
    *,
    reference_loss_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What a method ranks by, highest first: float, same shape as ``valid_BT``.

    Raises:
        LacyError: E40, E41 (losses that the method needs are missing), E42 (other shape).
    """
    kind = get_method(method)
    own_BT = loss_BT.detach() if loss_BT is not None else None
    for name, tensor, needed in (
        ("the model's own losses", own_BT, kind.needs_loss),
        ("the losses of a reference model", reference_loss_BT, kind.needs_reference),
    ):
        if needed and tensor is None:
            raise LacyError("E41", method=method, what=name, do=_how_to_get(kind))
        if needed and tensor is not None:
            _same_shape(name, tensor, valid_BT)
    if kind.by == "random":
        return torch.rand(valid_BT.shape, generator=generator, device=valid_BT.device)
    if kind.by == "reference" and reference_loss_BT is not None:
        return reference_loss_BT.detach()
    if kind.by == "low_excess" and reference_loss_BT is not None and own_BT is not None:
        return reference_loss_BT.detach().to(own_BT) - own_BT
    return own_BT if own_BT is not None else valid_BT.new_zeros(valid_BT.shape, dtype=torch.float32)


def choose(
    method: str,
    loss_BT: Tensor | None,
    target_marks_BT: Tensor,
    call_rate: float,
    valid_BT: Tensor,
    *,
    delegate: Delegate = "token",
    rank_within: RankWithin = "batch",
    reference_loss_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Chooses what is delegated, by the name of a method.

    By ``value``, values are taken in the order of their summed scores while the tokens stay within
    the count; the first one that would go beyond it is left out, with all after it (values longer
    than the count itself stand back from the start, so that none bars the way). By ``start``, the
    values are ordered likewise and only their first tokens count and are taken. Random methods draw
    one number per value.

    Args:
        method: a name of ``methods.METHODS``.
        loss_BT: the model's losses without ``<CALL>``; may be None where the method needs none.
        target_marks_BT: uint8 marks of the *targets* (``shift``).
        call_rate: share of the valid positions.
        valid_BT: bool, which positions have a target.
        delegate: ``token`` (paper), ``value`` or ``start`` (``values.Values``: what one value is).
        rank_within: ``batch`` (paper) or ``sequence``: the rate holds in each row, if it can.
        reference_loss_BT: a reference model's losses of the same targets, for the methods that ask.
        generator: random numbers for the random methods, on the device of ``valid_BT``; None takes
            torch's own.

    Returns:
        call_BT, bool: exactly ``wanted(call_rate, valid_BT, rank_within)`` tokens, or all that the
        method may delegate where these are fewer; by ``value`` less than one value's tokens fewer.

    Raises:
        LacyError: E40 (unknown method), E41 (losses missing), E42 (shapes), E12 (rate, delegate,
            rank_within).
    """
    check_ranking(delegate, rank_within)
    among_BT = candidates(method, target_marks_BT, valid_BT)
    score_BT = scores(
        method, loss_BT, valid_BT, reference_loss_BT=reference_loss_BT, generator=generator
    )
    count = wanted(call_rate, valid_BT, rank_within)
    if delegate == "token":
        return take(score_BT, among_BT, count)
    values = Values.of(among_BT, target_marks_BT)
    score_BT = values.sums(score_BT, of_first=get_method(method).by == "random")
    if delegate == "start":
        return take(score_BT, values.first_BT, count)
    fits_BT = values.sums(torch.ones_like(score_BT)) <= (count[:, None] if count.ndim else count)
    return values.whole(take(score_BT, among_BT & fits_BT, count))


def check_ranking(delegate: str, rank_within: str, *, running: bool = False) -> None:
    """Raises E12 unless there are such ways, and a running quantile can go them."""
    for key, value, known in (
        ("delegate", delegate, get_args(Delegate)),
        ("rank_within", rank_within, get_args(RankWithin)),
    ):
        if value not in known:
            why, do = "there is no such way", f"choose one of: {', '.join(known)}"
        elif running and value != known[0]:
            why, do = "a running quantile ranks tokens of all batches", f"choose {known[0]}"
        else:
            continue
        raise LacyError("E12", key=key, value=value, why=why, do=do)


def shortfall(
    call_BT: Tensor, call_rate: float, valid_BT: Tensor, rank_within: RankWithin = "batch"
) -> Tensor:
    """How many tokens fewer are delegated than the rate asks for (int64, on the device).

    Above zero the marks are fewer than the rate (in some row, with ``sequence``); the caller says
    so once. By ``value`` and ``start`` it is above zero as a rule.
    """
    return wanted(call_rate, valid_BT, rank_within).sum() - call_BT.sum()


def ignore_facts(target_marks_BT: Tensor, call_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """The fact tokens that were not delegated, to get no gradient (ablation Ignorefacts, §5.4)."""
    return has(target_marks_BT, MarkFlag.FACT) & valid_BT & ~call_BT


def ignore_all(
    loss_BT: Tensor,
    target_marks_BT: Tensor,
    call_BT: Tensor,
    valid_BT: Tensor,
    ignore_rate: float = 0.15,
) -> Tensor:
    """Undelegated facts, then the content words of highest loss (ablation Ignore, §5.4).

    Args:
        loss_BT: losses without ``<CALL>``.
        target_marks_BT: uint8 marks of the targets; ``CONTENT`` is the paper's third class.
        call_BT: what is delegated.
        valid_BT: which positions have a target.
        ignore_rate: share of the valid positions to ignore in all (the paper's is 15%). The
            undelegated facts are ignored even where they alone exceed it.
    """
    facts_BT = ignore_facts(target_marks_BT, call_BT, valid_BT)
    content_BT = has(target_marks_BT, MarkFlag.CONTENT) & valid_BT & ~call_BT & ~facts_BT
    room = wanted(ignore_rate, valid_BT) - facts_BT.sum()
    return facts_BT | take(loss_BT, content_BT, room)


def _same_shape(name: str, tensor: Tensor, valid_BT: Tensor) -> None:
    if tensor.shape != valid_BT.shape:
        raise LacyError("E42", name=name, got=tuple(tensor.shape), want=tuple(valid_BT.shape))


def _how_to_get(method: Method) -> str:
    if method.needs_reference:
        others = [name for name, other in METHODS.items() if not other.needs_reference]
        return f"store a reference model's losses beside the data, or choose {' or '.join(others)}"
    return "pass loss_BT = token_losses(hidden_BTD, head_VD, targets_BT)"
