"""What a simulation counts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from lacy.edge.assumptions import EdgeAlgorithm
from lacy.edge.windows import DAY

TIMELINE_POINTS = 500
"""Points of the progress that a run keeps."""


@dataclass
class RoundOutcome:
    """Sums over the devices of one round; times in seconds."""

    begin: float
    end: float
    chosen: int = 0
    merged: int = 0
    late: int = 0
    interrupted: int = 0
    left: int = 0
    tokens: float = 0.0
    """Tokens in merged updates."""
    useful_flop: float = 0.0
    offered_flop: float = 0.0
    """What the chosen devices could have computed between begin and end."""
    compute_seconds: float = 0.0
    transfer_seconds: float = 0.0
    joules: float = 0.0
    bytes_up: float = 0.0
    bytes_down: float = 0.0


ADDED = tuple(f.name for f in dataclasses.fields(RoundOutcome) if f.name not in ("begin", "end"))
"""Fields that are added up over rounds."""


@dataclass
class EdgeRun:
    """One simulated training, with one seed."""

    seed: int
    rounds: float = 0.0
    seconds: float = 0.0
    """From the begin to the end of the last round; infinite if the horizon was reached first."""
    waited_seconds: float = 0.0
    """Time in which too few devices were available."""
    useful_tokens: float = 0.0
    """Merged tokens, divided by (1 + batch / critical batch)."""
    progress: float = 0.0
    """Share of the token budget that was reached."""
    simulated: float = 1.0
    """Share of the rounds that was simulated; the others are extrapolated from these."""
    devices_that_fit: float = 1.0
    """Share of devices whose memory holds the training."""
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ADDED, 0.0))
    timeline: list[tuple[float, float]] = field(default_factory=list)
    """(days, share of the token budget) after some of the simulated rounds."""

    @property
    def days(self) -> float:
        """Days until the token budget is reached; infinite if it is not."""
        return self.seconds / DAY

    @property
    def finished(self) -> bool:
        """True if the token budget was reached within the horizon."""
        return math.isfinite(self.seconds)

    @property
    def utilisation(self) -> float:
        """Share of the chosen devices' operations that went into merged updates."""
        return _ratio(self.sums["useful_flop"], self.sums["offered_flop"])

    @property
    def lost(self) -> float:
        """Share of device rounds that were lost: late, interrupted or left."""
        return 1.0 - _ratio(self.sums["merged"], self.sums["chosen"])

    @property
    def device_hours(self) -> float:
        """Hours in which devices computed, received or sent."""
        return (self.sums["compute_seconds"] + self.sums["transfer_seconds"]) / 3600.0

    @property
    def kwh(self) -> float:
        """Energy of the devices."""
        return self.sums["joules"] / 3.6e6

    def add(self, outcome: RoundOutcome, algorithm: EdgeAlgorithm, critical: float) -> None:
        """Count one round."""
        self.rounds += 1
        for name in ADDED:
            self.sums[name] += getattr(outcome, name)
        batch = outcome.tokens / algorithm.steps
        self.useful_tokens += outcome.tokens / (1.0 + batch / critical)


def extrapolated(run: EdgeRun, tokens: float, since: EdgeRun | None, now: float) -> EdgeRun:
    """Return a run that goes on at its mean rate until the token budget is reached.

    Args:
        run: what was simulated so far.
        tokens: the token budget.
        since: an earlier state of the same run; the rate is that between it and ``run``, so that
            whole days are averaged. None for the rate since the begin.
        now: seconds of simulated time.
    """
    before = since or EdgeRun(run.seed)
    gained = run.useful_tokens - before.useful_tokens
    if not gained > 0.0:
        return dataclasses.replace(run, seconds=math.inf, progress=run.useful_tokens / tokens)
    factor = (tokens - run.useful_tokens) / gained

    def more(value: float, earlier: float) -> float:
        return value + factor * (value - earlier)

    rounds = more(run.rounds, before.rounds)
    return dataclasses.replace(
        run,
        rounds=rounds,
        seconds=more(now, before.seconds),
        waited_seconds=more(run.waited_seconds, before.waited_seconds),
        useful_tokens=tokens,
        progress=1.0,
        simulated=run.rounds / rounds,
        sums={name: more(run.sums[name], before.sums[name]) for name in ADDED},
    )


def thinned(timeline: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return every second point once there are too many."""
    return timeline[::2] if len(timeline) > 2 * TIMELINE_POINTS else timeline


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
