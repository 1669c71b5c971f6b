"""The record of a round, as the table of rounds, the report and the server's file contain it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Round:
    """What happened in one round; counts and names, never texts."""

    number: int
    sampled: int
    """Number of clients that were asked to train."""
    accepted: list[str]
    """Clients whose updates were accepted."""
    refused: dict[str, str] = field(default_factory=dict)
    """Clients whose updates were refused, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Clients that sent nothing, and why."""
    left_out: list[str] = field(default_factory=list)
    """Clients with accepted updates that the strategy did not choose (Krum)."""
    changed: bool = False
    """False if there were too few updates, so that the state stayed as it was."""
    samples: int = 0
    """Training samples behind the accepted updates."""
    counts: dict[str, int] = field(default_factory=dict)
    """Sums of the clients' counts, such as seen, flagged, replaced."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means of the clients' metrics, weighted by samples."""
    shortened: int = 0
    """Number of updates that were shortened to the largest norm."""
    norm: float = 0.0
    """Norm of the aggregated delta."""
    figures: dict[str, float] = field(default_factory=dict)
    """Figures of the strategy, such as what the rank of adapters cuts off."""
    epsilon: float | None = None
    """Epsilon that is spent after this round; None without noise."""
    bytes_up: int = 0
    """Bytes from clients to the server."""
    bytes_down: int = 0
    """Bytes of the state, times the sampled clients."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Federation:
    """A federation that was run, as ``federation.json`` contains it."""

    model: str
    """The model that it started from, as the user named it."""
    settings: dict[str, Any]
    clients: dict[str, dict[str, int]]
    """Numbers of texts and rows, or counts of samples, by client."""
    rounds: list[Round]
    trained: int
    """Number of trained parameters."""
    parameters: int
    """Number of parameters of the whole model."""
    folder: str = ""
    """Folder of the trained model."""
    finished: bool = True
    """False if the rounds ended early, because of the privacy budget."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self)
