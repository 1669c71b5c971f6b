"""Policies, which decide when to call, and the controllers that run them (paper §5.1).

A policy is a frozen value with a text form such as "budget=0.22", which can be part of a model's
name. ``start()`` returns its controller, which keeps the state of a stream of text: ``decide``
takes a batch of signals, and ``account`` records what the calls cost. Control policies differ from
the paper's rule only in their signal, so all can be compared at the same call rate:

    budget=0.22               the paper's: running quantile of the <CALL> margin
    budget=0.22,by=entropy    the same rate, placed by a plain model's entropy (by=top2, by=random)
    threshold=0.5             a fixed limit on the margin, without a fixed rate
    gate+entropy              a threshold on that signal that `lacy tune` has fitted
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lacy._require import require_share
from lacy.cascade.gate_entropy import GateEntropy

SignalName = Literal["margin", "entropy", "top2", "p_call", "random", "gate+entropy"]
"""Signals that a threshold can read: ``margin`` (CALL logit minus best other logit); ``entropy``
(nats) and ``top2`` (difference of the two best logits; small means unsure), both of the softmax
without CALL; ``p_call`` (probability of CALL in the whole softmax); ``random`` (a number drawn per
position); ``gate+entropy`` (log odds that the model gets a value wrong here, see
``gate_entropy``). For a model with a separate gate (``call_negative="sigmoid"``), ``margin`` is the
CALL logit and ``p_call`` its sigmoid."""

_REASONS: dict[str, str] = {
    "margin": "the model asked for a fact here",
    "p_call": "the model asked for a fact here",
    "entropy": "the model was unsure of the next word",
    "top2": "the model's two best words were about equally likely",
    "random": "this place was drawn at random",
    "gate+entropy": "the model is likely to get a fact wrong here",
}
"""Reasons for a call, for readers who do not know the signals."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision to call or not, with the reason for the span.

    A call needs ``value > limit``; both are oriented so that higher values favour a call (see
    ``SignalBatch.read``). They are None if nothing was compared.
    """

    call: bool
    reason: str = ""
    value: float | None = field(default=None, compare=False)
    limit: float | None = field(default=None, compare=False)


@dataclass(slots=True)
class SignalBatch:
    """The signals of all sequences that could call now, for a policy.

    ``read(name)`` returns a signal as an array with one entry per sequence; ``text(row)`` returns
    the text so far; ``position`` is the number of tokens generated so far.
    """

    margin: NDArray[np.float64]
    position: Sequence[int]
    text: Callable[[int], str]
    compute: Callable[[str], NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.margin)

    def read(self, by: str) -> NDArray[np.float64]:
        """Return a signal by name, oriented so that higher values favour a call."""
        if by == "margin":
            return self.margin
        values = self.compute(by)
        return -values if by == "top2" else values


class Controller(Protocol):
    """The state of a policy during one stream of generated text."""

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Return one decision per sequence, in their order."""
        ...

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Record a step: its number of calls, of tokens from calls, and of all generated tokens."""
        ...


class Policy(Protocol):
    """A rule that decides when to call; an immutable value without state."""

    @property
    def signal(self) -> str:
        """Name of the signal that the policy reads; "" for none."""
        ...

    def start(self) -> Controller:
        """Return a new controller."""
        ...


class _Stateless:
    """A policy whose decisions do not depend on earlier ones, so it is its own controller."""

    __slots__ = ()

    def start(self) -> Self:
        """Return the policy itself."""
        return self

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Never(_Stateless):
    """Never calls, so the SLM writes alone."""

    signal: ClassVar[str] = ""

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Return decisions not to call."""
        return [Decision(False)] * len(signals)

    def __str__(self) -> str:
        return "never"


@dataclass(frozen=True, slots=True)
class Always(_Stateless):
    """Calls at every possible position; the SLM writes only where the source has no answer."""

    signal: ClassVar[str] = ""

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Return decisions to call."""
        return [Decision(True, "the policy calls wherever it can")] * len(signals)

    def __str__(self) -> str:
        return "always"


@dataclass(frozen=True, slots=True)
class Threshold(_Stateless):
    """Calls where a signal exceeds a fixed limit (for ``top2``: falls below it)."""

    limit: float = 0.0
    by: SignalName = "margin"

    @property
    def signal(self) -> str:
        """Name of the signal that the policy reads."""
        return self.by

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Compare the signal with the limit."""
        limit = -self.limit if self.by == "top2" else self.limit
        return [
            Decision(v > limit, _reason(self.by, v, limit) if v > limit else "", v, limit)
            for v in map(float, signals.read(self.by))
        ]

    def __str__(self) -> str:
        if self.by in ("entropy", "top2", "gate+entropy"):
            return f"{self.by}={self.limit:g}"
        return f"threshold={self.limit:g}" + ("" if self.by == "margin" else f",by={self.by}")


@dataclass(frozen=True, slots=True)
class FittedThreshold:
    """Calls where ``gate+entropy`` exceeds the threshold that ``lacy tune`` has fitted."""

    signal: ClassVar[str] = "gate+entropy"

    def start(self) -> Controller:
        """Raise ValueError, because an engine replaces this policy by the model's threshold."""
        raise ValueError(
            "the limit of gate+entropy is known only with the model: give an Engine it"
        )

    def __str__(self) -> str:
        return "gate+entropy"


def with_fitted_limit(policy: Policy, fitted: GateEntropy | None) -> Policy:
    """Return the model's threshold for a ``FittedThreshold``, and other policies unchanged."""
    if isinstance(policy, FittedThreshold) and fitted is not None:
        return Threshold(fitted.limit, by="gate+entropy")
    return policy


def Random(rate: float, seed: int = 0) -> Budget:
    """Return a control policy that calls at random positions, with a budget of ``rate``."""
    return Budget(rate, by="random", seed=seed)


@dataclass(frozen=True, slots=True)
class Oracle(_Stateless):
    """Calls exactly where a value is due, that is, where ``expects(text so far)`` is not None."""

    expects: Callable[[str], object | None]
    signal: ClassVar[str] = ""

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Call for each text for which the oracle expects a value."""
        expected = [self.expects(signals.text(row)) for row in range(len(signals))]
        return [
            Decision(e is not None, f"a fact is due here (oracle: {e})" if e else "")
            for e in expected
        ]

    def __str__(self) -> str:
        return "oracle"


@dataclass(frozen=True, slots=True)
class Budget:
    """Keeps the share of tokens from calls at ``rate``, by a running quantile with feedback.

    The paper calls where the CALL logit exceeds a running quantile that adapts to the calls made
    so far (§5.1; it states no window, warm-up or gain, so these are ours). Here the signals of the
    last ``window`` decisions are kept. A call is made above the quantile that is expected to spend
    the budget within the next ``horizon`` tokens, plus or minus what earlier tokens left over or
    overspent. As a call returns k tokens on average, the share of *positions* with a call
    must be b / (k(1 - b) + b) for a budget b. Short texts can deviate from the rate by chance: with
    k = 4, a rate of 0.22 means two calls in 36 tokens.
    """

    rate: float
    """Share of generated tokens that come from calls (``types.Answer.called_tokens``), 0 to 1."""
    by: SignalName = "margin"
    """The signal whose quantile decides."""
    window: int = 1000
    """Number of past decisions that the quantile is computed from."""
    horizon: int = 100
    """Number of tokens within which a deviation from the budget is corrected."""
    seed: int = 0
    """Seed for ``by="random"``."""
    initial_signals: tuple[float, ...] = field(default=(), repr=False)
    """Signals from a calibration, with which the window starts. With an empty window, the first
    positions never call and short texts stay below the rate."""

    def __post_init__(self) -> None:
        require_share("budget", self.rate)
        if self.window < 1 or self.horizon < 1:
            raise ValueError("window and horizon are at least 1")

    @property
    def signal(self) -> str:
        """Name of the signal that the policy reads."""
        return self.by

    def start(self) -> BudgetController:
        """Return a controller whose window starts with the initial signals."""
        return BudgetController(self)

    def __str__(self) -> str:
        text, default = f"budget={self.rate:g}", Budget(self.rate)
        for name in ("by", "window", "horizon", "seed"):
            if (value := getattr(self, name)) != getattr(default, name):
                text += f",{name}={value}"
        return text


def with_calibration(policy: Policy, signals: Mapping[str, tuple[float, ...]]) -> Policy:
    """Make a budget start from calibration signals; return other policies unchanged."""
    # The quantile is right from the first word, so feedback can be slow. With a short horizon, the
    # threshold would oscillate if many texts reach a value at the same step.
    if isinstance(policy, Budget) and not policy.initial_signals and signals.get(policy.by):
        window, horizon = max(policy.window, 4000), max(policy.horizon, 1000)
        initial = signals[policy.by]
        return replace(policy, initial_signals=initial, window=window, horizon=horizon)
    return policy


class BudgetController:
    """The controller of ``Budget``: a window of signals, and counts of tokens and calls."""

    def __init__(self, policy: Budget) -> None:
        self.policy = policy
        self.used = 0
        self.total = 0
        self.calls = 0
        self._random = random.Random(policy.seed)
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        sign = -1.0 if policy.by == "top2" else 1.0
        for value in policy.initial_signals[-policy.window :]:
            self._push(nan_as_lowest(sign * value))

    def decide(self, signals: SignalBatch) -> list[Decision]:
        """Return one decision per sequence; each accounts for the earlier ones of the step."""
        by, rate = self.policy.by, self.policy.rate
        drawn = [self._random.random() for _ in range(len(signals))] if by == "random" else None
        used, total = float(self.used), float(self.total)
        per_call = max(1.0, used / self.calls) if self.calls else 1.0
        decisions = []
        for value in map(nan_as_lowest, signals.read(by) if drawn is None else drawn):
            limit = self._limit(used, total, per_call)
            # At a tie with the quantile (all signals may be equal), call if below the budget.
            call = value > limit or (value == limit and used < rate * total)
            self._push(value)
            used += per_call * call
            total += per_call if call else 1.0
            decisions.append(
                Decision(call, _reason(by, value, limit) if call else "", value, limit)
            )
        return decisions

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Add the actual counts of the last step."""
        self.calls += calls
        self.used += asked
        self.total += tokens

    def _limit(self, used: float, total: float, per_call: float) -> float:
        """Return the quantile above which calls are expected to bring the rate to the budget."""
        rate = self.policy.rate
        corrected_rate = min(max(rate + (rate * total - used) / self.policy.horizon, 0.0), 1.0)
        if rate == 0.0 or corrected_rate == 0.0:
            return float("inf")
        if rate == 1.0 or corrected_rate == 1.0:
            return float("-inf") if rate == 1.0 or self._sorted else float("inf")
        share = corrected_rate / (per_call * (1.0 - corrected_rate) + corrected_rate)
        if self.policy.by == "random":
            return 1.0 - share  # random numbers are uniform, so their quantile is known
        # A new signal exceeds the m-th largest of n earlier ones with probability m / (n + 1).
        # m is rounded down, so that short texts, with a nearly empty window, do not overspend.
        above = int(share * (len(self._sorted) + 1))
        return self._sorted[-above] if above else float("inf")

    def _push(self, value: float) -> None:
        self._recent.append(value)
        bisect.insort(self._sorted, value)
        if len(self._recent) > self.policy.window:
            old = self._recent.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, old)]


def nan_as_lowest(value: float) -> float:
    """Return the value, or -inf for NaN, so that NaN never wins a comparison."""
    value = float(value)
    return value if value == value else float("-inf")


def _reason(by: str, value: float, limit: float) -> str:
    """Return the reason for a call, with the numbers that were compared."""
    compared = f"{-value:.2f} < {-limit:.2f}" if by == "top2" else f"{value:.2f} > {limit:.2f}"
    return f"{_REASONS[by]} ({by} {compared})"
