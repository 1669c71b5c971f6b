"""Fit a head to decisions with known answers, and measure it on decisions that were held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacy._require import require_share
from lacy.decide.checking import Checked, check_decisions
from lacy.decide.data import KnownDecision, count_by_type, hold_out_decisions
from lacy.decide.decision import Floats, decision_of
from lacy.decide.features import OptionFeatures
from lacy.decide.head import DecisionHead
from lacy.decide.questions import TYPES, YES, DecisionType
from lacy.errors import LacyError

STRENGTHS = (1e-2, 1e-1, 0.3, 1.0, 3.0, 10.0)
"""Penalties of the weights that are tried; that with the least held-out loss wins."""

LEAST = 10
"""Fewest decisions for fitting, and for calibration."""

Notify = Callable[[str], object]


@dataclass(frozen=True)
class FitSettings:
    """Settings of fitting a head.

    Attributes:
        held_out: share of the decisions for penalty, temperatures and figures.
        seed: seed of the split.
    """

    held_out: float = 0.2
    seed: int = 0

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        require_share("held_out", self.held_out)


@dataclass
class Fitted:
    """A fitted head with its figures on held-out decisions."""

    head: DecisionHead
    figures: list[Checked] = field(default_factory=list)


def fit_head(
    decisions: Sequence[KnownDecision],
    features: OptionFeatures,
    settings: FitSettings | None = None,
    *,
    notify: Notify = lambda sentence: None,
) -> Fitted:
    """Fit a head: weights on most decisions, penalties and temperatures on the held-out ones.

    A type with fewer than ``LEAST`` decisions on either side gets the weights of all together.

    The figures come from temperatures that were fitted on one half of the held-out decisions and
    measured on the other, so that the calibration error is not that of its own fit.

    Args:
        decisions: decisions with known answers.
        features: computes the features of options.
        settings: settings.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E12, a setting is invalid; E385, there are too few decisions.
    """
    settings = settings or FitSettings()
    settings.check()
    train, held = hold_out_decisions(decisions, settings.held_out, settings.seed)
    for name, part in (("fit", train), ("calibrate", held)):
        if len(part) < LEAST:
            raise LacyError("E385", count=len(part), least=LEAST, what=name)
    notify(f"{len(train):,} decisions to fit on, {len(held):,} held out.")
    train_X = option_features(features, train, notify)
    held_X = option_features(features, held, notify)
    return fit_on_features(train, train_X, held, held_X, features.identity(), settings)


def fit_on_features(
    train: Sequence[KnownDecision],
    train_X: Sequence[Floats],
    held: Sequence[KnownDecision],
    held_X: Sequence[Floats],
    uses: dict[str, Any],
    settings: FitSettings | None = None,
) -> Fitted:
    """Fit a head to features that are known already (see ``fit_head``).

    Args:
        train: decisions to fit the weights on.
        train_X: the features of each one's options ``[K, D]``.
        held: decisions for penalty, temperatures and figures.
        held_X: their features.
        uses: the identity of the features.
        settings: settings.
    """
    settings = settings or FitSettings()
    found: dict[DecisionType, tuple[float, Floats, float]] = {}
    for kind in TYPES:
        sides = [_of_type(kind, train, train_X), _of_type(kind, held, held_X)]
        if min(len(side[0]) for side in sides) < LEAST:  # then what holds for all types
            sides = [(train, train_X), (held, held_X)]
        found[kind] = _best(*sides)
    weights = {kind: weights_D for kind, (_, weights_D, _) in found.items()}
    head = DecisionHead(weights, found["noul"][2], uses=uses)
    logits = [head.logits(one.question, x) for one, x in zip(held, held_X, strict=True)]
    head.temperatures = fit_temperatures(held, logits)
    figures = check_decisions(held, _cross_fitted(held, logits))
    head.made = {
        "fitted_on": count_by_type(train),
        "held_out": count_by_type(held),
        "sources": sorted({one.source for one in (*train, *held)}),
        "penalties": {kind: strength for kind, (strength, _, _) in found.items()},
        "seed": settings.seed,
        "figures": [one.to_data() for one in figures],
    }
    return Fitted(head, figures)


_Side = tuple[Sequence[KnownDecision], Sequence[Floats]]


def _of_type(kind: DecisionType, known: Sequence[KnownDecision], found: Sequence[Floats]) -> _Side:
    """Return the decisions of a type with their features."""
    pairs = [(one, x) for one, x in zip(known, found, strict=True) if one.question.type == kind]
    return [one for one, _ in pairs], [x for _, x in pairs]


def _best(train: _Side, held: _Side) -> tuple[float, Floats, float]:
    """Return the penalty with the least loss on held-out decisions, its weights and *yes*."""
    scale_D = np.sqrt(np.mean(np.concatenate(list(train[1])) ** 2, 0)).clip(1e-9)
    rows, check = (OptionRows.of(known, [x / scale_D for x in found]) for known, found in
                   (train, held))  # fmt: skip
    tried = [(strength, *_weights(rows, strength)) for strength in STRENGTHS]
    losses = [float(check.loss(weights, yes)) for _, weights, yes in tried]
    strength, weights_D, yes = tried[int(np.nanargmin(losses))]
    return strength, weights_D.numpy() / scale_D, float(yes)


def option_features(
    features: OptionFeatures, decisions: Sequence[KnownDecision],
    notify: Notify = lambda sentence: None,
) -> list[Floats]:  # fmt: skip
    """Return the features of each decision's options ``[K, D]``."""
    found = []
    for number, one in enumerate(decisions):
        if number and number % 500 == 0:
            notify(f"{number:,} of {len(decisions):,} decisions read.")
        found += features.features(one.state, [one.question])
    return found


def fit_temperatures(
    decisions: Sequence[KnownDecision], logits: Sequence[Floats]
) -> dict[DecisionType, float]:
    """Return the temperature of each type with the least cross-entropy; 1 for types without data.

    Args:
        decisions: decisions with known answers.
        logits: the logits of each one's options.
    """
    from scipy.optimize import minimize_scalar

    found: dict[DecisionType, float] = {}
    for kind in TYPES:
        mine = [(np.array(one.target), logits_K)
                for one, logits_K in zip(decisions, logits, strict=True)
                if one.question.type == kind]  # fmt: skip

        def loss(log_temperature: float, mine: list[tuple[Floats, Floats]] = mine) -> float:
            scaled = [(target_K, logits_K / np.exp(log_temperature)) for target_K, logits_K in mine]
            return float(np.mean([np.logaddexp.reduce(x_K) - target_K @ x_K
                                  for target_K, x_K in scaled]))  # fmt: skip

        best = minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded") if mine else None
        found[kind] = 1.0 if best is None else float(np.exp(best.x))
    return found


def _cross_fitted(decisions: Sequence[KnownDecision], logits: Sequence[Floats]) -> list[Any]:
    """Return decisions by temperatures that were fitted on the other half of them."""
    found: list[Any] = [None] * len(decisions)
    for half in (0, 1):
        other = [n for n in range(len(decisions)) if n % 2 != half]
        fitted = fit_temperatures([decisions[n] for n in other], [logits[n] for n in other])
        for n in range(half, len(decisions), 2):
            question = decisions[n].question
            found[n] = decision_of(question, logits[n], fitted[question.type])
    return found


@dataclass
class OptionRows:
    """The options of all decisions, one after another: R rows of D features, no padding."""

    features_RD: Tensor
    target_R: Tensor
    yes_R: Tensor
    """1 where an option is the *yes* of a ``noul``."""
    owner_R: Tensor
    """Number of the decision that each option belongs to."""
    count: int
    """Number of decisions."""

    @classmethod
    def of(cls, decisions: Sequence[KnownDecision], features: Sequence[Floats]) -> OptionRows:
        """Collect the rows of decisions, of which ``features`` are ``[K, D]`` each."""
        target_R = [share for one in decisions for share in one.target]
        yes_R = [one.question.type == "noul" and option.name == YES
                 for one in decisions for option in one.question.options]  # fmt: skip
        sizes = torch.tensor([len(x_KD) for x_KD in features])
        return cls(
            torch.from_numpy(np.concatenate(list(features))),
            torch.tensor(target_R, dtype=torch.float64),
            torch.tensor(yes_R, dtype=torch.float64),
            torch.repeat_interleave(torch.arange(len(sizes)), sizes),
            len(sizes),
        )

    def loss(self, weights_D: Tensor, yes: Tensor) -> Tensor:
        """Return the mean cross-entropy of decisions by their options' logits."""
        logit_R = self.features_RD @ weights_D + yes * self.yes_R
        # The largest logit of each decision is subtracted, so that no exponential overflows.
        most_N = torch.full((self.count,), -torch.inf, dtype=logit_R.dtype)
        most_N = most_N.scatter_reduce(0, self.owner_R, logit_R.detach(), "amax")
        shifted_R = logit_R - most_N[self.owner_R]
        total_N = torch.zeros_like(most_N).index_add(0, self.owner_R, shifted_R.exp())
        return (total_N.log().sum() - (self.target_R * shifted_R).sum()) / self.count


def _weights(data: OptionRows, strength: float) -> tuple[Tensor, Tensor]:
    """Return the weights and the bonus of *yes* with the least penalised loss."""
    weights_D = torch.zeros(data.features_RD.shape[1], dtype=torch.float64, requires_grad=True)
    yes = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights_D, yes], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = data.loss(weights_D, yes) + strength * (weights_D**2).sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return weights_D.detach(), yes.detach()
