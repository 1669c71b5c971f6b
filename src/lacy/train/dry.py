"""Report data, memory, compute and time of a run without writing anything (``--dry-run``).

If the packed data do not exist yet, everything that does not depend on them is still reported, for
an assumed vocabulary and context that the report names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from lacy._text import format_bytes, format_duration
from lacy.model import Memory, get_preset, training_memory
from lacy.train.choices import choose_passes
from lacy.train.config import TrainConfig
from lacy.train.fitting import fit
from lacy.train.flops import SMALL, Work, gpu_lines
from lacy.train.schedule import make_schedule
from lacy.train.setup import Session, prepare_session, process_count

MEASURED = 3
"""Number of timed steps; one untimed warm-up step precedes them."""

CPU_SPEED, PATIENCE = 4e10, 30.0
"""Operations per second of a CPU thread (AVX2 at half of its peak), and maximum seconds of compute
of a dry run. Steps that would take longer are not timed."""

PAPER = {"334m": (32_001, 1_024)}
"""Vocabulary size (with ``<CALL>``) and context of the paper (§5.1), by preset."""

DEFAULTS = (4_096, 256)
"""Defaults of vocabulary size and context of ``lacy data mark`` (a test compares them)."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The report; ``str`` formats it for people."""

    data: str
    parameters: int
    steps: int
    tokens: int
    memory: Memory | None
    """Estimated memory; None if the architecture is not a preset's."""
    available: int | None
    """Free bytes on the device."""
    flops_per_token: float
    """Training FLOP per token, including the choice of targets (``train.flops``)."""
    untimed: str = ""
    """Why no steps were timed, or ""."""
    seconds_per_step: float | None = None
    """Measured time; None if no steps were timed."""
    trained_rows: int | None = None
    """None, like ``valid_rows`` and ``epochs``, if the data are missing."""
    valid_rows: int | None = None
    epochs: float | None = None
    advice: str = ""
    """If the data are missing: the command that makes them, and the assumptions about them."""
    fp32: bool = False
    """True if the settings require fp32; the GPU hours assume bf16."""
    reasons: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Estimated seconds of the whole run."""
        return None if self.seconds_per_step is None else self.seconds_per_step * self.steps

    @property
    def flops(self) -> float:
        """FLOP of the whole run."""
        return self.flops_per_token * self.tokens

    def __str__(self) -> str:
        """Format the report as a few lines."""
        epochs = "" if self.epochs is None else f", {self.epochs:.2f} epochs"
        parts = [
            ("data", [self.data, *self._rows()]),
            ("model", [f"{self.parameters:,} parameters"]),
            ("run", [f"{self.steps:,} steps, {self.tokens:,} tokens{epochs}"]),
            ("memory", [self._memory()]),
            ("compute", [f"{self.flops_per_token:.3g} FLOP per token, {self.flops:.3g} in all"]),
            ("GPU hours", self._hours()),
            ("time", [self._time(), *self.reasons]),
        ]
        return "\n".join(
            f"{name if number == 0 else '':<12}{line}"
            for name, lines in parts
            for number, line in enumerate(lines)
        )

    def _rows(self) -> list[str]:
        if self.trained_rows is None:
            return self.advice.splitlines()
        return [f"{self.trained_rows:,} rows to train on, {self.valid_rows:,} to validate"]

    def _hours(self) -> list[str]:
        lines = gpu_lines(self.flops, None if self.memory is None else self.memory.total)
        if self.fp32:
            lines.append("the settings ask for fp32, which takes several times as long")
        if self.parameters < SMALL:
            lines.append("a model this small cannot use a GPU fully, so it will take longer")
        return lines

    def _memory(self) -> str:
        free = "" if self.available is None else f", {format_bytes(self.available)} free"
        if self.memory is None:
            return f"not estimated for this architecture{free}"
        m = self.memory
        return (
            f"about {format_bytes(m.total)} (weights {format_bytes(m.weights)}, "
            f"gradients {format_bytes(m.gradients)}, "
            f"optimizer {format_bytes(m.optimizer)}, activations {format_bytes(m.activations)}, "
            f"head {format_bytes(m.head)}){free}"
        )

    def _time(self) -> str:
        if self.seconds_per_step is None or self.seconds is None:
            return f"not measured: {self.untimed}"
        speed = self.tokens / max(1, self.steps) / self.seconds_per_step
        return (
            f"{format_duration(self.seconds)} here ({1e3 * self.seconds_per_step:.1f} ms per step, "
            f"{speed:,.0f} tokens/s, {speed * self.flops_per_token / 1e12:.2g} TFLOP/s, "
            f"measured in {MEASURED} steps)"
        )


def dry_run(config: TrainConfig) -> DryRun:
    """Open the data, estimate memory and compute, and time a few steps; write nothing.

    Args:
        config: the settings; the run's folder is ignored. The data may be missing if a preset is
            trained for ``steps`` or ``tokens``.

    Raises:
        LacyError: any error that ``train`` would raise before its first step.
    """
    config = replace(config, dry_run=True)
    config.check()
    assert config.data is not None
    counted = config.steps is not None or config.tokens is not None
    if counted and config.new_model and not config.data.exists():
        return _without_data(config)
    available = _available(config)
    memory = _packed_memory(config)
    session = prepare_session(config, resume=False)
    schedule = session.schedule
    steps = schedule.total - schedule.start
    work = Work.of_model(session.state.model, session.data.context)
    passes, _ = choose_passes(config, process_count())
    flops = work.training(passes, 1 - config.call_warmup)
    untimed = "the steps would not fit into memory"
    if memory is None or available is None or memory.total < available:
        untimed = _too_slow(session, flops * session.tokens_per_step)
    return DryRun(
        data=session.data.info.summary(),
        trained_rows=session.order.n_rows,
        valid_rows=len(session.valid_rows),
        parameters=sum(p.numel() for p in session.state.parameters()),
        steps=steps,
        tokens=steps * session.tokens_per_step,
        epochs=session.order.epoch(steps),
        memory=memory,
        available=available,
        flops_per_token=flops,
        seconds_per_step=None if untimed else _measure(session),
        untimed=untimed,
        fp32=config.dtype == "fp32",
        reasons=tuple(session.reasons),
    )


def _without_data(config: TrainConfig) -> DryRun:
    """Return a report on everything that does not depend on the data."""
    vocabulary, context = PAPER.get(config.model, DEFAULTS)
    preset = get_preset(config.model)
    passes, reason = choose_passes(config, process_count())
    steps = make_schedule(config, rows=0, context=context).total
    of = "the paper's, §5.1" if config.model in PAPER else "defaults of lacy data mark"
    kind = "--kind unigram " if config.model in PAPER else ""
    return DryRun(
        data=f"{config.data} is missing; make it with",
        parameters=preset.parameters(vocabulary, context),
        steps=steps,
        tokens=steps * config.batch_rows * context,
        memory=_memory(config, vocabulary, context),
        available=_available(config),
        flops_per_token=Work.of_preset(preset, vocabulary, context).training(
            passes, 1 - config.call_warmup
        ),
        untimed="the data are missing",
        advice=f"lacy data mark TEXTS {kind}--vocab-size {vocabulary} --context {context} "
        f"--out {config.data}\n"
        f"assumed: {vocabulary:,} tokens of vocabulary, {context:,} per row ({of})",
        fp32=config.dtype == "fp32",
        reasons=(reason,),
    )


def _packed_memory(config: TrainConfig) -> Memory | None:
    if not config.new_model:
        return None
    from lacy.corpus import PackedData

    assert config.data is not None
    info = PackedData.load(config.data).info
    return _memory(config, info.vocab_size, info.context)


def _memory(config: TrainConfig, vocabulary: int, context: int) -> Memory:
    return training_memory(
        get_preset(config.model),
        vocabulary=vocabulary,
        context=context,
        rows=max(1, config.batch_rows // config.grad_accum),
        optimizer=config.optimizer,
        bf16=config.dtype == "bf16",
    )


def _too_slow(session: Session, flops: float) -> str:
    """Return why steps with this many FLOP are not timed on this device, or ""."""
    if session.device.type != "cpu":
        return ""
    seconds = (MEASURED + 1) * flops / (CPU_SPEED * torch.get_num_threads())
    if seconds <= PATIENCE:
        return ""
    return f"{MEASURED + 1} steps would take this CPU about {format_duration(seconds)}"


def _measure(session: Session) -> float:
    """Return the median duration of a step in seconds."""
    config = session.config
    batches = (session.batch(step) for step in range(MEASURED + 1))
    times = [time.perf_counter()]
    for done in fit(session.state, batches, config.objective(), lr=0.0, clip=config.clip):
        done.sums.tolist()  # wait for the device
        times.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(times)]
    return sorted(seconds[1:])[MEASURED // 2]


def _available(config: TrainConfig) -> int | None:
    """Return the free bytes of the GPU or, on a CPU, of the machine within its cgroup limit."""
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
