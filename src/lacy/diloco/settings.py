"""Define the settings of rare synchronisation, without torch, because ``--help`` imports this."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lacy.config import Rare
from lacy.errors import LacyError

Weighting = Literal["tokens", "equal"]
"""Weight of a worker in a mean: the number of tokens of its delta (Decoupled DiLoCo), or 1."""
Pace = Literal["steps", "time"]
"""What workers of unequal speed have in common between two exchanges."""
Threshold = Literal["batch", "running", "shared"]
"""Where the call rate holds: in each batch of a worker, over its recent batches, or by one
threshold that is averaged over the workers at each exchange."""


@dataclass
class DilocoSettings:
    """How workers train apart, what they exchange, and when."""

    # [Workers]
    workers: int = 4
    """Number of workers."""
    shards: Literal["even", "skewed"] = "even"
    """How the rows are divided: at random, or so that every worker has texts of its own kind."""
    speeds: Rare[tuple[float, ...]] = ()
    """Speed of each worker relative to the others; empty if they are equal. One process only."""
    pace: Rare[Pace] = "steps"
    """With unequal speeds: every worker takes --sync-every steps and the fast ones wait (steps), or
    a slower one takes fewer (time)."""
    away: Rare[tuple[str, ...]] = ()
    """Workers that leave and come back: 2:5-8 means worker 2 misses the rounds 5, 6 and 7. One
    process only."""

    # [Exchange]
    sync_every: int = 50
    """Steps of a worker between two exchanges (H)."""
    codec: str = "int4"
    """Precision of deltas: f32, bf16, f16, int8, int4, int4/128 (values per block), or topk/0.03
    (the largest 3% in 2 bits)."""
    down: Rare[str] = "same"
    """What workers receive: the mean in the same codec, in another codec, or all deltas as they are
    (relay)."""
    feedback: Rare[float | None] = None
    """Share of what a codec lost that is added to the next delta (error feedback); by default 0.95
    for topk (SparseLoCo), 1 for int4, 0 for the others."""
    fragments: Rare[int] = 1
    """Parts of the model that are exchanged in turn, each every --sync-every steps (Streaming
    DiLoCo); the most bytes at once fall accordingly."""
    overlap: Rare[int] = 0
    """Steps that a worker goes on while the exchange is under way."""
    keep_local: Rare[float] = 0.5
    """With --overlap: share of a worker's own weights when the mean arrives."""

    # [Outer step]
    outer_lr: float = 0.7
    """Learning rate of the outer step; 1 with --outer-momentum 0 is FedAvg."""
    outer_momentum: float = 0.9
    """Momentum of the outer step (Nesterov)."""
    weighting: Rare[Weighting] = "tokens"
    """Weight of a worker in the mean: the tokens it was trained on, or equal."""

    # [Unreliable workers]
    quorum: Rare[int] = 0
    """Deltas that are enough for an outer step; 0 waits for all workers that are there. Those that
    come later count in the next step."""
    grace: Rare[float] = 0.0
    """Time to wait for further workers after the quorum: seconds, or steps in one process."""
    timeout: Rare[float] = 600.0
    """Seconds without a message after which a worker counts as lost."""

    # [Calls]
    threshold: Threshold = "batch"
    """Where the call rate holds: in each batch of a worker, over its recent batches (running), or
    by one threshold averaged over all workers at each exchange (shared)."""

    @property
    def interval(self) -> int:
        """Steps between two exchanges of any fragment."""
        return self.sync_every // self.fragments

    @property
    def decay(self) -> float:
        """The share of what a codec lost that is kept."""
        if self.feedback is not None:
            return self.feedback
        return {"topk": 0.95, "int4": 1.0}.get(self.codec.partition("/")[0], 0.0)

    def check(self) -> None:
        """Raise one error that lists all problems.

        Raises:
            LacyError: E358, settings are invalid or contradict each other; E357, unknown codec.
        """
        from lacy.deltas import codec_by_name  # needs torch, which help does not

        for name in (self.codec, *([] if self.down in ("same", "relay") else [self.down])):
            codec_by_name(name)
        found = self.problems()
        if found:
            raise LacyError("E358", problems="".join(f"\n  - {sentence}" for sentence in found))

    def problems(self) -> list[str]:
        """Return one sentence per invalid setting."""
        rules = {
            "workers": (self.workers >= 1, "at least 1 is needed"),
            "sync_every": (self.sync_every >= 1, "at least 1 is needed"),
            "outer_lr": (0 < self.outer_lr < math.inf, "it must be more than 0"),
            "outer_momentum": (0 <= self.outer_momentum < 1, "it is a share below 1"),
            "quorum": (0 <= self.quorum <= self.workers, "it is at most the number of workers"),
            "grace": (0 <= self.grace < math.inf, "it must not be negative"),
            "timeout": (0 < self.timeout < math.inf, "it must be more than 0"),
            "fragments": (
                self.fragments >= 1 and self.sync_every % max(1, self.fragments) == 0,
                f"sync_every {self.sync_every} must be a multiple of it",
            ),
            "overlap": (
                0 <= self.overlap < max(1, self.sync_every // max(1, self.fragments)),
                "it is less than sync_every / fragments",
            ),
            "keep_local": (0 <= self.keep_local <= 1, "it is a share between 0 and 1"),
            "feedback": (0 <= self.decay <= 1, "it is a share between 0 and 1"),
            "speeds": (
                len(self.speeds) in (0, self.workers)
                and all(0 < speed < math.inf for speed in self.speeds),
                f"give a positive number for each of the {self.workers} workers",
            ),
            "threshold": (self.threshold in get_args(Threshold), "choose batch, running, shared"),
        }
        found = [
            f"{name} is {getattr(self, name)!r}, {why}"
            for name, (good, why) in rules.items()
            if not good
        ]
        if self.quorum and (self.fragments > 1 or self.overlap):
            found.append("quorum excludes fragments and overlap: those need all workers at once")
        try:
            self.absences()
        except ValueError as error:
            found.append(str(error))
        return found

    def absences(self) -> dict[int, list[range]]:
        """Return the rounds (from 1) that each worker (from 0) misses."""
        found: dict[int, list[range]] = {}
        for entry in self.away:
            try:
                number, rounds = entry.split(":")
                first, last = rounds.split("-")
                worker, missed = int(number), range(int(first), int(last))
            except ValueError:
                raise ValueError(
                    f"away is {entry!r}, give WORKER:FIRST-LAST such as 2:5-8"
                ) from None
            if not 0 <= worker < self.workers or not missed or missed.start < 1:
                raise ValueError(f"away is {entry!r}, there is no such worker or round")
            found.setdefault(worker, []).append(missed)
        return found
