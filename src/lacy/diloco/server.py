"""The server: collects deltas, takes their mean, and makes the outer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lacy.deltas import ErrorFeedback, RunningMean, codec_by_name, shapes_of
from lacy.diloco.outer import OuterState, split_fragments
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.wire import pack_message, unpack_message
from lacy.diloco.worker import decode_mean, figures_of
from lacy.errors import LacyError
from lacy.train import means_of

REPORT = {
    "worker": int, "version": int, "fragment": int, "tokens": int, "threshold": float, "why": str,
    "sums": list,
}  # fmt: skip
"""Entries of a message from a worker."""


@dataclass(frozen=True, slots=True)
class Report:
    """A message from a worker, read and checked."""

    worker: int
    version: int
    tokens: int
    delta: dict[str, Tensor]
    payload: bytes
    threshold: float | None = None
    sums: list[float] = field(default_factory=list)


class OuterServer:
    """Collects the deltas of workers and applies their mean.

    Args:
        weights: the initial weights by name.
        settings: how workers exchange.
        steps: length of the run in steps of all workers together.
        tokens: positions per step of all workers together.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], settings: DilocoSettings, steps: int, tokens: int
    ) -> None:
        self.settings, self.steps, self.tokens_per_step = settings, steps, tokens
        self.outer = OuterState({name: t.detach().cpu().clone() for name, t in weights.items()})
        self._shapes = shapes_of(self.outer.weights)
        self.fragments = split_fragments(self._shapes, settings.fragments)
        self._codec = codec_by_name(settings.codec)
        down = self._codec if settings.down in ("same", "relay") else codec_by_name(settings.down)
        decay = settings.decay if settings.down == "same" else 0.0
        self._feedback = [ErrorFeedback(down, decay) for _ in self.fragments]
        self.pending: dict[int, Report] = {}
        self.version, self.tokens, self.flush = 0, 0, len(self.fragments) - 1
        self.threshold: float | None = None
        self.bytes_up, self.bytes_down, self.refused = 0, 0, 0
        self.reasons: list[str] = []
        """Why messages were refused or workers lost, newest last."""

    # ----------------------------------------------------------------------- progress

    @property
    def progress(self) -> float:
        """Steps of all workers together that were merged, by their tokens."""
        return self.tokens / self.tokens_per_step

    @property
    def finished(self) -> bool:
        """True if all tokens are merged and every fragment was exchanged since."""
        return self.progress >= self.steps and self.flush <= 0

    @property
    def fragment(self) -> int:
        """The number of the fragment that is exchanged next."""
        return self.version % len(self.fragments)

    def next_steps(self) -> int:
        """Return the steps of a worker until the next exchange; 0 for the last fragments."""
        left = math.ceil(self.steps - self.progress)
        return max(0, min(self.settings.sync_every // len(self.fragments), left))

    def order(self) -> dict[str, Any]:
        """Return what workers are told to do next."""
        steps = self.next_steps()
        goes_on = self.progress + steps < self.steps
        return {
            "version": self.version, "fragment": self.fragment, "progress": self.progress,
            "steps": steps, "after": self.settings.overlap if goes_on else 0,
            "threshold": self.threshold, "finished": self.finished,
        }  # fmt: skip

    def welcome(self, *, counted: bool = True) -> bytes:
        """Return the message to a worker that joins; it also gets ``outer.state_dict()``.

        Args:
            counted: count its bytes and those of the state (float32), because both are sent.
        """
        message = pack_message(self.order())
        if counted:
            self.bytes_down += len(message)
            self.bytes_down += sum(8 * t.numel() for t in self.outer.weights.values())
        return message

    # ----------------------------------------------------------------------- messages

    def receive(self, number: int, message: bytes) -> bool:
        """Take a worker's message for the next outer step.

        Args:
            number: the worker that the message came from.
            message: what ``InnerWorker.report`` returned.

        Returns:
            False if it is refused: it does not fit, or the worker had nothing finite to send.
        """
        self.bytes_up += len(message)
        try:
            self.pending[number] = self._read(number, message)
        except LacyError as error:
            self.refused += 1
            self.reasons.append(f"worker {number}: {error.what}")
            return False
        return True

    def _read(self, number: int, message: bytes) -> Report:
        about, payloads = unpack_message(message, REPORT)
        if about["why"]:
            raise LacyError("E355", why=about["why"])
        names = self.fragments[self.fragment]
        expected = {"worker": number, "fragment": self.fragment}
        for name, value in expected.items():
            if about[name] != value:
                raise LacyError("E356", why=f"its {name} is {about[name]}, not {value}")
        if not 0 <= about["version"] <= self.version or about["tokens"] < 0 or len(payloads) != 1:
            raise LacyError("E356", why="its version, tokens or payload are out of range")
        if number in self.pending:
            raise LacyError("E356", why="this worker has sent a delta for this step already")
        delta = self._codec.decode(payloads[0], {name: self._shapes[name] for name in names})
        return Report(
            number, about["version"], about["tokens"], delta, payloads[0],
            about["threshold"], about["sums"],
        )  # fmt: skip

    def merge(self) -> tuple[bytes, dict[str, float]]:
        """Make the outer step with the deltas that have arrived.

        Returns:
            The message for all workers, and the figures of the step; ``bytes_down`` is that before
            the message is sent.

        Raises:
            LacyError: E359, no delta can be used.
        """
        reports = [self.pending[number] for number in sorted(self.pending)]
        if not reports:
            why = f" ({self.reasons[-1]})" if self.reasons else ""
            raise LacyError("E359", round=self.version + 1, why=why)
        equal = self.settings.weighting == "equal" or not any(r.tokens for r in reports)
        shares = [1.0 if equal else float(r.tokens) for r in reports]
        number, names = self.fragment, self.fragments[self.fragment]
        used = [(r, share) for r, share in zip(reports, shares, strict=True) if share > 0]
        if self.settings.down == "relay":
            payloads = [r.payload for r, _ in used]
        else:
            mean = RunningMean()
            for r, share in used:
                mean.add(r.delta, share)
            payloads = [self._feedback[number].encode(mean.mean())]
        shapes = {name: self._shapes[name] for name in names}
        sent = [share for _, share in used]
        delta = decode_mean(payloads, sent, shapes, self.settings)
        self.outer.apply(delta, lr=self.settings.outer_lr, momentum=self.settings.outer_momentum)
        self.flush -= self.progress >= self.steps
        self.version += 1
        self.tokens += sum(r.tokens for r in reports)
        self.threshold = _mean_threshold(reports)
        self.pending = {}
        about = {**self.order(), "merged": number, "shares": sent}
        message = pack_message(about, payloads)
        return message, self._figures(reports)

    def sent(self, message: bytes) -> None:
        """Count a message that a worker gets."""
        self.bytes_down += len(message)

    def _figures(self, reports: list[Report]) -> dict[str, float]:
        sums = [r.sums for r in reports if r.sums]
        found = figures_of([sum(column) for column in zip(*sums, strict=True)]) if sums else {}
        rates = [means_of(torch.tensor(one, dtype=torch.float64))["call_rate"] for one in sums]
        return {
            **found,
            "call_rate_lowest": min(rates, default=0.0),
            "call_rate_highest": max(rates, default=0.0),
            "workers": len(reports),
            "late": sum(r.version < self.version - 1 for r in reports),
            "bytes_up": self.bytes_up, "bytes_down": self.bytes_down, "refused": self.refused,
        }  # fmt: skip

    # ----------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that a resumed run needs, between two outer steps."""
        found = self.outer.state_dict()
        for number, feedback in enumerate(self._feedback):
            rest = feedback.state_dict()
            found |= {f"rest {number}|{name}": tensor for name, tensor in rest.items()}
        return found

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of the state."""
        names = ("version", "tokens", "flush", "threshold", "bytes_up", "bytes_down", "refused")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore ``state_dict`` and ``numbers``.

        Raises:
            LacyError: E356, the state belongs to another model.
        """
        rest = {key: tensor for key, tensor in state.items() if key.startswith("rest ")}
        self.outer.load_state_dict({k: t for k, t in state.items() if k not in rest})
        for number, feedback in enumerate(self._feedback):
            prefix = f"rest {number}|"
            mine = {k.removeprefix(prefix): t for k, t in rest.items() if k.startswith(prefix)}
            shapes = {name: self._shapes[name] for name in self.fragments[number]}
            feedback.load_state_dict(mine, shapes)
        for name in self.numbers():
            setattr(self, name, numbers[name])


def _mean_threshold(reports: list[Report]) -> float | None:
    """Return the mean of the workers' thresholds, weighted by tokens; None if none has one."""
    known = [(r.threshold, max(1, r.tokens)) for r in reports if r.threshold is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if known else None


Notify = Callable[[dict[str, Any]], None]
"""Receives the figures of each outer step."""
