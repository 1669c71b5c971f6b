"""When to call: policies as small values, and the controllers that run them (paper §5.1).

A policy is a frozen value with a text form ("budget=0.22") that can travel in a model's name.
``start()`` makes its controller, which holds the running state of one stream of text: it decides
over a batch of signals and is told what the calls cost. Controls and the paper's rule differ only
in the signal they read, so that all can be compared at the same realised call rate:

    budget=0.22               the paper's: running quantile of the <CALL> margin
    budget=0.22,by=entropy    the same rate, placed by a plain model's entropy (by=top2, by=random)
    threshold=0.5             a fixed limit on the margin, no rate promised
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError

By = Literal["margin", "entropy", "top2", "p_call", "random"]
"""What a threshold reads: ``margin`` (CALL logit minus best other logit), ``entropy`` (nats) and
``top2`` (the two best logits' difference, small = unsure) of the softmax without CALL, ``p_call``
(probability of CALL in the whole softmax), ``random`` (a number drawn per position). Of a model
with a gate of its own (``call_negative="sigmoid"``) ``margin`` is the CALL logit and ``p_call`` its
sigmoid."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to call, and why, in words for the span.

    ``value`` is what was compared and ``limit`` what it had to exceed, higher always meaning
    "rather call" (as of ``Signals.read``); None where nothing was compared.
    """

    call: bool
    reason: str = ""
    value: float | None = field(default=None, compare=False)
    limit: float | None = field(default=None, compare=False)


@dataclass(slots=True)
class Signals:
    """What a policy may look at, one entry per row that could call now.

    ``read(name)`` gives an array of length B for a signal of ``By`` (computed when first asked
    for); ``text(row)`` is the text so far; ``position`` counts tokens generated so far.
    """

    margin: NDArray[np.float64]
    position: Sequence[int]
    text: Callable[[int], str]
    compute: Callable[[str], NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.margin)

    def read(self, by: str) -> NDArray[np.float64]:
        """A signal by name; higher always means "rather call"."""
        if by == "margin":
            return self.margin
        values = self.compute(by)
        return -values if by == "top2" else values


class Controller(Protocol):
    """The running state of a policy over one stream of generated text."""

    def decide(self, signals: Signals) -> list[Decision]:
        """One decision per row, in the order of the rows."""
        ...

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Told after each step: calls made, tokens that were asked for, tokens generated."""
        ...


class Policy(Protocol):
    """A rule for when to call; a value without state."""

    @property
    def reads(self) -> str:
        """The signal it reads ("" for none)."""
        ...

    def start(self) -> Controller:
        """A fresh controller."""
        ...


class _Stateless:
    """Controllers that need not know what calls cost."""

    def __init__(self, decide: Callable[[Signals], list[Decision]]) -> None:
        self.decide = decide

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Nothing to remember."""


@dataclass(frozen=True, slots=True)
class Never:
    """The SLM alone."""

    reads: ClassVar[str] = ""

    def start(self) -> Controller:
        """A controller that never calls."""
        return _Stateless(lambda signals: [Decision(False)] * len(signals))

    def __str__(self) -> str:
        return "never"


@dataclass(frozen=True, slots=True)
class Always:
    """A call wherever one is possible: the source speaks, the SLM only fills its gaps."""

    reads: ClassVar[str] = ""

    def start(self) -> Controller:
        """A controller that always calls."""
        return _Stateless(lambda signals: [Decision(True, EVERYWHERE)] * len(signals))

    def __str__(self) -> str:
        return "always"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Call where a signal exceeds a fixed limit (for ``top2``: falls below it)."""

    limit: float = 0.0
    by: By = "margin"

    @property
    def reads(self) -> str:
        """The signal it reads."""
        return self.by

    def start(self) -> Controller:
        """A controller with a fixed limit."""
        limit = -self.limit if self.by == "top2" else self.limit
        return _Stateless(
            lambda signals: [
                Decision(v > limit, _why(self.by, v, limit) if v > limit else "", v, limit)
                for v in map(float, signals.read(self.by))
            ]
        )

    def __str__(self) -> str:
        if self.by in ("entropy", "top2"):
            return f"{self.by}={self.limit:g}"
        return f"threshold={self.limit:g}" + ("" if self.by == "margin" else f",by={self.by}")


def Entropy(limit: float) -> Threshold:
    """Control: call where the entropy (nats) of the plain prediction exceeds ``limit``."""
    return Threshold(limit, by="entropy")


def TopTwoMargin(limit: float) -> Threshold:
    """Control: call where the two best logits differ by less than ``limit``."""
    return Threshold(limit, by="top2")


def Random(rate: float, seed: int = 0) -> Budget:
    """Control: call at random positions, at a realised share ``rate`` of the tokens."""
    return Budget(rate, by="random", seed=seed)


@dataclass(frozen=True, slots=True)
class Oracle:
    """Call exactly where ``expects(text so far)`` says that a fact's value comes next."""

    expects: Callable[[str], object | None]
    reads: ClassVar[str] = ""

    def start(self) -> Controller:
        """A controller that asks the oracle at every position."""

        def decide(signals: Signals) -> list[Decision]:
            expected = [self.expects(signals.text(row)) for row in range(len(signals))]
            return [
                Decision(e is not None, f"a fact is due here (oracle: {e})" if e else "")
                for e in expected
            ]

        return _Stateless(decide)

    def __str__(self) -> str:
        return "oracle"


@dataclass(frozen=True, slots=True)
class Budget:
    """Keep the share of asked tokens at ``rate``: a running quantile, steered by feedback.

    The paper calls where the CALL logit exceeds a running quantile that adapts to the calls made
    so far (§5.1; window, warm-up and gain are not stated, these are ours). Here the signals of the
    last ``window`` decisions are kept, and a call is made above the quantile that is expected to
    spend, within the next ``horizon`` tokens, the budget plus what was left over or overdrawn. As
    a call may return k tokens, the share of *positions* to call at is b / (k(1 - b) + b), with k
    the running mean.

    The rate is one of tokens, and is met in the long run. In a text of some dozen tokens, chance
    shows: with k = 4 tokens per call, a rate of 0.22 is two calls in 36 tokens.
    """

    rate: float
    """Asked tokens (see ``types.Answer.called_tokens``) over generated tokens, in [0, 1]."""
    by: By = "margin"
    """The signal whose quantile decides."""
    window: int = 1000
    """Decisions that the quantile looks back on."""
    horizon: int = 100
    """Tokens within which a deviation from the budget is to be made good."""
    seed: int = 0
    """Of ``by="random"``."""
    seeds: tuple[float, ...] = field(default=(), repr=False)
    """Signals of a calibration run that fill the window at the start (else it starts empty: the
    first positions never call, and short texts stay below the rate)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise LacyError(
                "E12", key="budget", value=self.rate, why="not a share",
                do="give a share of tokens between 0 and 1, e.g. budget=0.22",
            )  # fmt: skip
        if self.window < 1 or self.horizon < 1:
            raise ValueError("window and horizon are at least 1")

    @property
    def reads(self) -> str:
        """The signal it reads."""
        return self.by

    def start(self) -> BudgetController:
        """A controller with the calibration signals (or nothing) in its window."""
        return BudgetController(self)

    def __str__(self) -> str:
        default = {f.name: f.default for f in fields(Budget)}
        extra = "".join(
            f",{name}={getattr(self, name)}"
            for name in ("by", "window", "horizon", "seed")
            if getattr(self, name) != default[name]
        )
        return f"budget={self.rate:g}{extra}"


def seeded(policy: Policy, signals: Mapping[str, tuple[float, ...]]) -> Policy:
    """A budget that starts from signals of a calibration run; any other policy as it is.

    Its quantile is right from the first word, so it need not be steered hard: with the short
    horizon, many texts in step (all at a value, then none) would make the threshold swing.
    """
    if isinstance(policy, Budget) and not policy.seeds and signals.get(policy.by):
        window, horizon = max(policy.window, 4000), max(policy.horizon, 1000)
        return replace(policy, seeds=signals[policy.by], window=window, horizon=horizon)
    return policy


class BudgetController:
    """The running state of ``Budget``: window of signals, tokens used, mean tokens per call."""

    def __init__(self, policy: Budget) -> None:
        self.policy = policy
        self.used = 0
        self.total = 0
        self.calls = 0
        self._random = random.Random(policy.seed)
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        sign = -1.0 if policy.by == "top2" else 1.0
        for value in policy.seeds[-policy.window :]:
            self._push(_number(sign * value))

    @property
    def tokens_per_call(self) -> float:
        """Running mean; one until the first call has told."""
        return max(1.0, self.used / self.calls) if self.calls else 1.0

    def decide(self, signals: Signals) -> list[Decision]:
        """One decision per row; earlier rows of the step count for the later ones."""
        by, rate = self.policy.by, self.policy.rate
        values = (
            [self._random.random() for _ in range(len(signals))]
            if by == "random"
            else [_number(value) for value in signals.read(by)]
        )
        used, total, per_call = float(self.used), float(self.total), self.tokens_per_call
        decisions = []
        for value in values:
            limit = self._limit(used, total, per_call)
            # At a tie the quantile says nothing (all signals equal): call while behind the budget.
            call = value > limit or (value == limit and used < rate * total)
            self._push(value)
            used += per_call * call
            total += per_call if call else 1.0
            why = _why(by, value, limit) if call else ""
            decisions.append(Decision(call, why, value, limit))
        return decisions

    def account(self, *, calls: int, asked: int, tokens: int) -> None:
        """Count what the last step really took."""
        self.calls += calls
        self.used += asked
        self.total += tokens

    def _limit(self, used: float, total: float, per_call: float) -> float:
        """The quantile above which a call is expected to bring the rate to the budget."""
        rate = self.policy.rate
        steered = rate + (rate * total - used) / self.policy.horizon
        steered = min(max(steered, 0.0), 1.0)
        if rate == 0.0 or steered == 0.0:
            return float("inf")
        if rate == 1.0 or steered == 1.0:
            return float("-inf") if rate == 1.0 or self._sorted else float("inf")
        share = steered / (per_call * (1.0 - steered) + steered)
        if self.policy.by == "random":
            return 1.0 - share  # how these are spread need not be learned
        # Of n signals seen, a new one is above the m-th largest with probability m / (n + 1):
        # rounded down, so that a short text, whose window is nearly empty, does not overspend.
        above = int(share * (len(self._sorted) + 1))
        return self._sorted[-above] if above else float("inf")

    def _push(self, value: float) -> None:
        self._recent.append(value)
        bisect.insort(self._sorted, value)
        if len(self._recent) > self.policy.window:
            old = self._recent.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, old)]


def _number(value: float) -> float:
    """NaN never calls."""
    value = float(value)
    return value if value == value else float("-inf")


SENTENCES: dict[str, str] = {
    "margin": "the model asked for a fact here",
    "p_call": "the model asked for a fact here",
    "entropy": "the model was unsure of the next word",
    "top2": "the model's two best words were about equally likely",
    "random": "this place was drawn at random",
}
"""Why a call was made, for readers who do not know the signals."""

EVERYWHERE = "the policy calls wherever it can"


def _why(by: str, value: float, limit: float) -> str:
    """The reason of a call: a sentence, then the numbers in the signal's own direction."""
    if by == "top2":
        return f"{SENTENCES[by]} (top2 {-value:.2f} < {-limit:.2f})"
    return f"{SENTENCES[by]} ({by} {value:.2f} > {limit:.2f})"
