"""``--dry-run``: what a run would read, need and take, without writing anything."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lacy.model.presets import Memory, get_preset, training_memory
from lacy.train.config import TrainConfig
from lacy.train.console import duration
from lacy.train.optim import set_rate
from lacy.train.setup import Session, prepare

MEASURED = 3
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The report; ``str`` is what a person reads."""

    data: str
    trained_rows: int
    valid_rows: int
    parameters: int
    steps: int
    tokens: int
    epochs: float
    memory: Memory | None
    """Estimated; ``None`` for an architecture that is no preset's."""
    available: int | None
    """Bytes free on the device."""
    seconds_per_step: float | None
    """Measured; ``None`` if the steps were not tried because memory would not do."""
    reasons: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Of the whole run."""
        return None if self.seconds_per_step is None else self.seconds_per_step * self.steps

    def __str__(self) -> str:
        """A few lines."""
        lines = [
            f"data        {self.data}",
            f"            {self.trained_rows:,} rows to train on, {self.valid_rows:,} to validate",
            f"model       {self.parameters:,} parameters",
            f"run         {self.steps:,} steps, {self.tokens:,} tokens, {self.epochs:.2f} epochs",
            f"memory      {self._memory()}",
            f"time        {self._time()}",
        ]
        return "\n".join([*lines, *(f"            {reason}" for reason in self.reasons)])

    def _memory(self) -> str:
        free = "" if self.available is None else f", {_size(self.available)} free"
        if self.memory is None:
            return f"not estimated for this architecture{free}"
        m = self.memory
        return (
            f"about {_size(m.total)} (weights {_size(m.weights)}, gradients {_size(m.gradients)}, "
            f"optimizer {_size(m.optimizer)}, activations {_size(m.activations)}, "
            f"head {_size(m.head)}){free}"
        )

    def _time(self) -> str:
        if self.seconds_per_step is None or self.seconds is None:
            return "not measured: the steps would not fit into memory"
        speed = self.tokens / max(1, self.steps) / self.seconds_per_step
        return (
            f"{duration(self.seconds)} ({1e3 * self.seconds_per_step:.1f} ms per step, "
            f"{speed:,.0f} tokens/s, measured in {MEASURED} steps)"
        )


def dry_run(config: TrainConfig) -> DryRun:
    """Open the data, estimate the memory, time a few steps; nothing is written.

    Args:
        config: the settings; the run's folder is not looked at.

    Raises:
        LacyError: as ``train``, for everything that it would raise before its first step.
    """
    config = replace(config, dry_run=True)
    config.check()
    memory = _estimate(config)
    available = _available(config)
    session = prepare(config, resume=False)
    fits = memory is None or available is None or memory.total < available
    schedule = session.schedule
    steps = schedule.total - schedule.start
    return DryRun(
        data=session.data.info.summary(),
        trained_rows=session.order.n_rows,
        valid_rows=len(session.valid_rows),
        parameters=sum(p.numel() for p in session.parameters()),
        steps=steps,
        tokens=steps * session.tokens_per_step,
        epochs=session.order.epoch(steps),
        memory=memory,
        available=available,
        seconds_per_step=_measure(session) if fits else None,
        reasons=tuple(session.reasons),
    )


def _estimate(config: TrainConfig) -> Memory | None:
    if config.init_from is not None or config.fork is not None:
        return None
    from lacy.corpus import PackedData

    assert config.data is not None
    info = PackedData.load(config.data).info
    return training_memory(
        get_preset(config.model),
        vocabulary=info.vocab_size,
        context=info.context,
        rows=max(1, config.batch_rows // config.grad_accum),
        optimizer=config.optimizer,
        bf16=config.dtype == "bf16",
    )


def _measure(session: Session) -> float:
    """Median seconds of a step."""
    config = session.config
    times = []
    for step in range(MEASURED + 1):
        begin = time.perf_counter()
        set_rate(session.optimizers, 0.0)
        sums = session.stepper(session.batch(step), config.objective(), seed=step)
        torch.nn.utils.clip_grad_norm_(session.parameters(), config.clip or float("inf"))
        for optimizer in session.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        sums.tolist()  # wait for the device
        times.append(time.perf_counter() - begin)
    return sorted(times[1:])[MEASURED // 2]


def _available(config: TrainConfig) -> int | None:
    """Bytes free on the device: of the GPU, else as Linux says, within the cgroup."""
    if torch.cuda.is_available() and config.device == "auto":
        return int(torch.cuda.mem_get_info()[0])
    found = [_meminfo(), _cgroup()]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _cgroup() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None


def _size(count: int | Any) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
