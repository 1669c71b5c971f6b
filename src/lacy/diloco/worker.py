"""One worker: trains on its shard, reports what changed, and applies the mean of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy.deltas import ErrorFeedback, RunningMean, codec_by_name, shapes_of
from lacy.diloco.outer import OuterState, split_fragments
from lacy.diloco.settings import DilocoSettings
from lacy.diloco.threshold import SharedThreshold
from lacy.diloco.wire import pack_message, unpack_message
from lacy.errors import LacyError
from lacy.objective import Objective
from lacy.train import Batch, FitState, fit, load_state_tensors, means_of, state_tensors

ORDER = {
    "version": int, "fragment": int, "progress": float, "steps": int, "after": int,
    "threshold": float,
}  # fmt: skip
"""Entries of a message from the server: what was merged, and what to do next."""


@dataclass(frozen=True, slots=True)
class WorkerData:
    """What a worker trains on, and how.

    Args:
        batch: returns the batch of a local step.
        lr: learning rate as a function of the progress of all workers, in steps.
        objective: settings of delegation and loss, as a function of the same.
        tokens: positions per step.
        clip: maximum gradient norm.
        seed: seed of random methods.
    """

    batch: Callable[[int], Batch]
    lr: Callable[[int], float]
    objective: Callable[[int], Objective]
    tokens: int
    clip: float = 1.0
    seed: int = 0


class InnerWorker:
    """A worker that exchanges bytes with an ``OuterServer``, whoever carries them.

    Args:
        number: its number, from 0.
        start: makes the model with fresh optimizers; also after a change that was not finite.
        data: what it trains on.
        settings: how workers exchange.
    """

    def __init__(
        self, number: int, start: Callable[[], FitState], data: WorkerData, settings: DilocoSettings
    ) -> None:
        self.number, self.data, self.settings = number, data, settings
        self._start, self.state = start, start()
        self.weights = trained_weights(self.state)
        self.base = OuterState({name: t.clone() for name, t in self.weights.items()})
        self.version = 0
        self.order: dict[str, Any] = {"progress": 0.0, "steps": 0, "after": 0, "fragment": 0}
        self.sums: Tensor | None = None
        self._shapes = shapes_of(self.weights)
        self._fragments = split_fragments(self._shapes, settings.fragments)
        codec = codec_by_name(settings.codec)
        self._feedback = [ErrorFeedback(codec, settings.decay) for _ in self._fragments]
        self._down = codec if settings.down in ("same", "relay") else codec_by_name(settings.down)
        self._since, self._steps = 0, self._fit()

    # ----------------------------------------------------------------------- training

    def _fit(self) -> Iterator[Any]:
        def batches() -> Iterator[Batch]:
            while True:
                yield self.data.batch(self.state.step)

        def progress(step: int) -> int:
            return int(self.order["progress"]) + self._since

        return fit(
            self.state, batches(), lambda step: self.data.objective(progress(step)),
            lr=lambda step: self.data.lr(progress(step)), clip=self.data.clip, seed=self.data.seed,
        )  # fmt: skip

    def train(self, until: int) -> None:
        """Train up to a number of steps after the last exchange."""
        while self._since < until:
            sums = next(self._steps).sums
            self.sums = sums if self.sums is None else self.sums + sums
            self._since += 1

    def report(self) -> bytes:
        """Train the steps of the server's last order, and return the message to the server.

        A change that is not finite is not sent: the worker says so, goes back to the shared
        weights, and starts with fresh optimizers.
        """
        self.train(self.order["steps"])
        number = int(self.order["fragment"])
        names = self._fragments[number]
        delta = {
            name: self.weights[name].detach().cpu() - self.base.weights[name] for name in names
        }
        about: dict[str, Any] = {
            "worker": self.number, "version": self.version, "fragment": number,
            "tokens": self._since * self.data.tokens, "threshold": None, "why": "",
            "sums": [] if self.sums is None else self.sums.tolist(),
        }  # fmt: skip
        self.order = {**self.order, "progress": self.order["progress"] + self._since}
        self._since, self.sums = 0, None
        if isinstance(self.state.quantile, SharedThreshold):
            about["threshold"] = self.state.quantile.own
        try:
            payload = self._feedback[number].encode(delta)
        except LacyError as error:
            if error.code not in ("E355", "E356"):
                raise
            self.reset()
            return pack_message({**about, "tokens": 0, "sums": [], "why": error.what})
        return pack_message(about, [payload])

    def reset(self) -> None:
        """Go back to the shared weights with fresh optimizers, and forget what was not sent."""
        step, quantile = self.state.step, self.state.quantile
        self.state = self._start()
        self.state.step, self.state.quantile = step, quantile
        self.weights = trained_weights(self.state)
        self._set(self.base.weights, keep=0.0)
        for feedback in self._feedback:
            feedback.load_state_dict({})
        self._since, self._steps = 0, self._fit()

    # ----------------------------------------------------------------------- exchange

    def apply(self, message: bytes) -> None:
        """Apply the mean of a message from the server to the shared weights and the own ones.

        Raises:
            LacyError: E356, the message does not fit.
        """
        about, payloads = unpack_message(message, ORDER)
        if about["version"] != self.version + 1:
            why = f"it is number {about['version']}, after number {self.version}"
            raise LacyError("E356", why=why)
        names = self._names(about.get("merged"))
        shapes = {name: self._shapes[name] for name in names}
        delta = decode_mean(payloads, about.get("shares"), shapes, self.settings)
        self.base.apply(delta, lr=self.settings.outer_lr, momentum=self.settings.outer_momentum)
        self.version, self.order = about["version"], about
        if isinstance(self.state.quantile, SharedThreshold):
            self.state.quantile.shared = about["threshold"]
        keep = self.settings.keep_local if self.settings.overlap else 0.0
        self._set({name: self.base.weights[name] for name in names}, keep=keep)

    def welcome(self, message: bytes, state: Mapping[str, Tensor]) -> None:
        """Take over the outer state, at the beginning or after an absence.

        Raises:
            LacyError: E356, the state does not fit.
        """
        about, _ = unpack_message(message, ORDER)
        self.base.load_state_dict(state)
        self.version, self.order, self._since = about["version"], about, 0
        if isinstance(self.state.quantile, SharedThreshold):
            self.state.quantile.shared = about["threshold"]
        self._set(self.base.weights, keep=0.0)

    def _names(self, merged: Any) -> list[str]:
        if not isinstance(merged, int) or not 0 <= merged < len(self._fragments):
            raise LacyError("E356", why=f"there is no fragment {merged!r}")
        return self._fragments[merged]

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor], keep: float) -> None:
        for name, value in weights.items():
            mine = self.weights[name]
            shared = value.to(mine.device)
            mine.copy_(shared if keep == 0 else keep * mine + (1 - keep) * shared)

    # ----------------------------------------------------------------------- saving

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything of this worker that a resumed run needs, between two exchanges."""
        quantile = {} if self.state.quantile is None else self.state.quantile.state_dict()
        groups = {
            "weights": {name: tensor.detach().cpu() for name, tensor in self.weights.items()},
            "optimizer": state_tensors(self.state.model, self.state.optimizers),
            "quantile": quantile,
            "number": {"steps": torch.tensor([self.state.step, self._since])},
        }
        for number, feedback in enumerate(self._feedback):
            groups[f"rest {number}"] = feedback.state_dict()
        if self.sums is not None:
            groups["number"]["sums"] = self.sums.cpu()
        return {f"{g}|{n}": t.clone() for g, found in groups.items() for n, t in found.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state; call it after ``welcome``."""
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            group, _, name = key.partition("|")
            groups.setdefault(group, {})[name] = tensor
        self._set(groups["weights"], keep=0.0)
        load_state_tensors(self.state.model, self.state.optimizers, groups.get("optimizer", {}))
        if self.state.quantile is not None and "quantile" in groups:
            self.state.quantile.load_state_dict(groups["quantile"])
        self.state.step, self._since = (int(n) for n in groups["number"]["steps"])
        self.sums = groups["number"].get("sums")
        for number, feedback in enumerate(self._feedback):
            feedback.load_state_dict(groups.get(f"rest {number}", {}))


def trained_weights(state: FitState) -> dict[str, Tensor]:
    """Return the trained parameters of a model by name."""
    mine = {id(parameter) for parameter in state.parameters()}
    return {n: p.detach() for n, p in state.model.named_parameters() if id(p) in mine}


def decode_mean(
    payloads: list[bytes],
    shares: Any,
    shapes: Mapping[str, tuple[int, ...]],
    settings: DilocoSettings,
) -> dict[str, Tensor]:
    """Return the mean delta of a server's message.

    With ``relay``, it has the deltas of all workers and their shares, and each worker computes the
    mean; otherwise it has the mean itself.

    Raises:
        LacyError: E356, the message does not fit.
    """
    if settings.down != "relay":
        name = settings.codec if settings.down == "same" else settings.down
        if len(payloads) != 1:
            raise LacyError("E356", why=f"it has {len(payloads)} deltas, not 1")
        return codec_by_name(name).decode(payloads[0], shapes)
    good = isinstance(shares, list) and len(shares) == len(payloads) > 0
    if not good or not all(isinstance(share, int | float) and share > 0 for share in shares):
        raise LacyError("E356", why="its deltas have no shares")
    codec, mean = codec_by_name(settings.codec), RunningMean()
    for payload, share in zip(payloads, shares, strict=True):
        mean.add(codec.decode(payload, shapes), share)
    return mean.mean()


def figures_of(sums: list[float]) -> dict[str, float]:
    """Return losses and rates of the sums in a worker's report; empty without any."""
    return means_of(torch.tensor(sums, dtype=torch.float64)) if sums else {}
