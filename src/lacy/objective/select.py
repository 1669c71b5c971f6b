"""Choose which tokens of a batch are delegated.

``choose_targets`` takes losses, marks and a mask of valid positions, and returns boolean masks of
the same shape. The count is exact to one token: ``round(call_rate * valid positions)``, or fewer if
the method may delegate fewer tokens. Nothing here has a gradient, and nothing synchronizes with the
device: ranks come from one stable sort (0.3 ms for 4,096 tokens on one CPU core), because top-k
would need the count as a Python number.

Ties are broken in reading order. The losses exclude ``<CALL>`` (``token_losses``): with the full
softmax, probability that moves to ``<CALL>`` would raise a token's loss, and the choice would
reinforce itself (paper §4 leaves this open).

If a call returns a whole value, ranking single tokens would split values: the hard token in the
middle of a name becomes ``<CALL>`` while its neighbours are learned. With ``delegate="value"`` or
``"start"``, all tokens of a value therefore share one score (``ValueRuns``), and the sort keeps
them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.objective.quantile import RunningQuantile
from lacy.objective.settings import METHODS, Method, Objective, RankWithin
from lacy.types import MarkFlag

_IN_VALUE = int(MarkFlag.FACT | MarkFlag.VALUE)


def choose_targets(
    objective: Objective,
    loss_BT: Tensor | None,
    target_marks_BT: Tensor,
    valid_BT: Tensor,
    *,
    reference_loss_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
    quantile: RunningQuantile | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose which targets become ``<CALL>`` and which get no gradient.

    With ``delegate="value"``, values are taken in the order of their summed scores until the next
    value would exceed the count; values longer than the count are excluded beforehand. With
    ``"start"``, the order is the same, but only first tokens are counted and taken. Random methods
    draw one number per value.

    Args:
        objective: the settings of the choice.
        loss_BT: the model's losses without ``<CALL>``; may be None if nothing depends on them.
        target_marks_BT: uint8 marks of the *targets* (``shift``).
        valid_BT: bool mask of positions with a target.
        reference_loss_BT: a reference model's losses of the same targets, if the method needs them.
        generator: random generator for random methods, on the device of ``valid_BT``; None uses
            torch's global one.
        quantile: a running threshold to use instead of the exact count of this batch.

    Returns:
        ``call_BT``: exactly ``count_wanted(...)`` tokens, or fewer if the method may delegate
        fewer; with ``value``, up to one value less. ``ignore_BT``: targets without gradient,
        disjoint from ``call_BT``.

    Raises:
        LacyError: E41, losses that the method needs are missing; E42, shapes differ; E12, a
            running threshold cannot rank values or single rows.
    """
    _require_rankable(objective, quantile)
    among_BT = delegable(objective, target_marks_BT, valid_BT)
    score_BT = _scores(objective, loss_BT, valid_BT, reference_loss_BT, generator)
    if quantile is not None:
        call_BT = quantile.select(score_BT, among_BT, valid_BT)
    else:
        call_BT = _take_ranked(objective, score_BT, among_BT, target_marks_BT, valid_BT)
    if objective.ignore == "all" and loss_BT is not None:
        rate = objective.ignore_rate
        return call_BT, ignore_all(loss_BT, target_marks_BT, call_BT, valid_BT, rate)
    if objective.ignore == "facts":
        return call_BT, ignore_facts(target_marks_BT, call_BT, valid_BT)
    return call_BT, torch.zeros_like(call_BT)


def delegable(objective: Objective, target_marks_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Return a mask of the tokens that the method may delegate.

    Raises:
        LacyError: E42, the marks have another shape.
    """
    among = METHODS[objective.method].among
    _require_shape("the marks", target_marks_BT, valid_BT)
    if among == "nothing":
        return torch.zeros_like(valid_BT)
    if among == "all":
        return valid_BT
    flag = MarkFlag.FACT if among == "facts" else MarkFlag.VALUE
    return has_flag(target_marks_BT, flag) & valid_BT


def has_flag(marks_BT: Tensor, flag: MarkFlag) -> Tensor:
    """Return a mask of the tokens with a flag, of the same shape as the uint8 marks."""
    return (marks_BT & int(flag)) != 0


def count_wanted(call_rate: float, valid_BT: Tensor, rank_within: RankWithin = "batch") -> Tensor:
    """Return the number of tokens to delegate, ``round(call_rate * valid)``, as int64 tensor.

    Returns:
        One number (0-dim), or with ``sequence`` one per row (1-dim).
    """
    exact = torch.float32 if valid_BT.device.type == "mps" else torch.float64
    valid = valid_BT.sum(-1) if rank_within == "sequence" else valid_BT.sum()
    return torch.round(valid.to(exact) * call_rate).long()


def take(score_BT: Tensor, among_BT: Tensor, count: int | Tensor) -> Tensor:
    """Take the ``count`` candidates with the highest scores, or all if there are fewer.

    Args:
        score_BT: any real numbers; scores outside ``among_BT`` have no effect.
        among_BT: bool mask of the candidates.
        count: a number, or a 0-dim tensor to avoid synchronizing with the device; a 1-dim tensor
            has one count per row, and each row is ranked separately.

    Returns:
        A bool mask of the same shape.
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


def ignore_facts(target_marks_BT: Tensor, call_BT: Tensor, valid_BT: Tensor) -> Tensor:
    """Return the fact tokens that were not delegated (ablation Ignorefacts, §5.4)."""
    return has_flag(target_marks_BT, MarkFlag.FACT) & valid_BT & ~call_BT


def ignore_all(
    loss_BT: Tensor,
    target_marks_BT: Tensor,
    call_BT: Tensor,
    valid_BT: Tensor,
    ignore_rate: float = 0.15,
) -> Tensor:
    """Return undelegated facts and the content words with the highest loss (Ignore, §5.4).

    Args:
        loss_BT: losses without ``<CALL>``.
        target_marks_BT: uint8 marks of the targets; ``CONTENT`` is the paper's third class.
        call_BT: mask of delegated targets.
        valid_BT: mask of positions with a target.
        ignore_rate: share of valid positions to ignore in total (15% in the paper). Undelegated
            facts are ignored even if they alone exceed this share.
    """
    facts_BT = ignore_facts(target_marks_BT, call_BT, valid_BT)
    content_BT = has_flag(target_marks_BT, MarkFlag.CONTENT) & valid_BT & ~call_BT & ~facts_BT
    room = count_wanted(ignore_rate, valid_BT) - facts_BT.sum()
    return facts_BT | take(loss_BT, content_BT, room)


@dataclass(frozen=True, slots=True)
class ValueRuns:
    """Groups candidate tokens into values: runs of marked tokens within a row.

    A run ends before a token that is not a candidate or not marked, before a ``START`` flag, and at
    the end of its row. An unmarked candidate (of methods that rank all tokens) is a value of one
    token.
    """

    among_BT: Tensor
    first_BT: Tensor
    """The first token of each value."""
    last_BT: Tensor
    """The last token of each value."""
    number_BT: Tensor
    """Index of each token's value in reading order (int64); arbitrary outside of values."""

    @classmethod
    def of(cls, among_BT: Tensor, target_marks_BT: Tensor) -> ValueRuns:
        """Find the values.

        Args:
            among_BT: bool mask of the tokens that may be delegated.
            target_marks_BT: uint8 marks of the targets.
        """
        marked_BT = among_BT & ((target_marks_BT & _IN_VALUE) != 0)
        begins_BT = (target_marks_BT & int(MarkFlag.START)) != 0
        goes_on_BT = torch.zeros_like(among_BT)
        goes_on_BT[:, 1:] = marked_BT[:, 1:] & marked_BT[:, :-1] & ~begins_BT[:, 1:]
        ends_BT = torch.ones_like(among_BT)
        ends_BT[:, :-1] = ~goes_on_BT[:, 1:]
        first_BT = among_BT & ~goes_on_BT
        number_N = (first_BT.reshape(-1).cumsum(0) - 1).clamp(min=0)
        return cls(among_BT, first_BT, among_BT & ends_BT, number_N.view(among_BT.shape))

    def sums(self, score_BT: Tensor, *, of_first: bool = False) -> Tensor:
        """Return for every token the score of its whole value, i.e. the sum over its tokens.

        Args:
            score_BT: scores of tokens; those outside ``among_BT`` have no effect.
            of_first: use the first token's score instead of the sum; for random scores, because
                their sums would favour long values.
        """
        counted_BT = self.first_BT if of_first else self.among_BT
        exact = torch.float32 if score_BT.device.type == "mps" else torch.float64
        score_N = score_BT.detach().to(exact).masked_fill(~counted_BT, 0.0).reshape(-1)
        number_N = self.number_BT.reshape(-1)
        return (
            torch.zeros_like(score_N).index_add(0, number_N, score_N)[number_N].view(score_BT.shape)
        )

    def whole(self, taken_BT: Tensor) -> Tensor:
        """Keep only complete values: all tokens of values with a taken last token.

        The tokens of a value are taken in order, so the count cuts off at most one value, which is
        dropped.
        """
        number_N = self.number_BT.reshape(-1)
        ended_N = (taken_BT & self.last_BT).reshape(-1).long()
        kept_N = torch.zeros_like(ended_N).index_add(0, number_N, ended_N)[number_N] > 0
        return kept_N.view(taken_BT.shape) & self.among_BT


def _scores(
    objective: Objective,
    loss_BT: Tensor | None,
    valid_BT: Tensor,
    reference_loss_BT: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the scores that the method ranks by (highest first), with the shape of ``valid_BT``.

    Raises:
        LacyError: E41, losses that the method needs are missing; E42, shapes differ.
    """
    method = METHODS[objective.method]
    own_BT = loss_BT.detach() if loss_BT is not None else None
    for name, tensor, needed in (
        ("the model's own losses", own_BT, method.needs_loss),
        ("the losses of a reference model", reference_loss_BT, method.needs_reference),
    ):
        if needed and tensor is None:
            raise LacyError("E41", method=method.name, what=name, do=_how_to_get(method))
        if needed and tensor is not None:
            _require_shape(name, tensor, valid_BT)
    if method.by == "random":
        return torch.rand(valid_BT.shape, generator=generator, device=valid_BT.device)
    if method.by == "reference" and reference_loss_BT is not None:
        return reference_loss_BT.detach()
    if method.by == "low_excess" and reference_loss_BT is not None and own_BT is not None:
        return reference_loss_BT.detach().to(own_BT) - own_BT
    return own_BT if own_BT is not None else valid_BT.new_zeros(valid_BT.shape, dtype=torch.float32)


def _take_ranked(
    objective: Objective,
    score_BT: Tensor,
    among_BT: Tensor,
    target_marks_BT: Tensor,
    valid_BT: Tensor,
) -> Tensor:
    """Take the highest-ranked tokens, whole values or starts of values."""
    count = count_wanted(objective.call_rate, valid_BT, objective.rank_within)
    if objective.delegate == "token":
        return take(score_BT, among_BT, count)
    values = ValueRuns.of(among_BT, target_marks_BT)
    score_BT = values.sums(score_BT, of_first=METHODS[objective.method].by == "random")
    if objective.delegate == "start":
        return take(score_BT, values.first_BT, count)
    fits_BT = values.sums(torch.ones_like(score_BT)) <= (count[:, None] if count.ndim else count)
    return values.whole(take(score_BT, among_BT & fits_BT, count))


def _require_rankable(objective: Objective, quantile: RunningQuantile | None) -> None:
    """Raise E12 if a running threshold should rank values or single rows, which it cannot."""
    if quantile is None:
        return
    for key, only in (("delegate", "token"), ("rank_within", "batch")):
        value = getattr(objective, key)
        if value != only:
            why = "a running quantile ranks tokens of all batches"
            raise LacyError("E12", key=key, value=value, why=why, do=f"choose {only}")


def _require_shape(name: str, tensor: Tensor, valid_BT: Tensor) -> None:
    if tensor.shape != valid_BT.shape:
        raise LacyError("E42", name=name, got=tuple(tensor.shape), want=tuple(valid_BT.shape))


def _how_to_get(method: Method) -> str:
    if method.needs_reference:
        others = [name for name, other in METHODS.items() if not other.needs_reference]
        return f"store a reference model's losses beside the data, or choose {' or '.join(others)}"
    return "pass loss_BT = token_losses(hidden_BTD, head_VD, targets_BT)"
