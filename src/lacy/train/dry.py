"""Report data, memory, compute and time of a run without writing anything (``--dry-run``).

If the packed data do not exist yet, everything that does not depend on them is still reported, for
an assumed vocabulary and context that the report names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from lacy._text import format_bytes, format_duration
from lacy.corpus import DataInfo, PackedData
from lacy.model import Memory, get_preset, resolve, training_memory
from lacy.train.batches import ExtraLoss, MicroBatch
from lacy.train.checkpoint import fork_source, read_checkpoint
from lacy.train.choices import choose_bf16, choose_passes
from lacy.train.config import RatePasses, TrainConfig
from lacy.train.fitting import fit
from lacy.train.flops import SMALL, Work, gpu_lines
from lacy.train.memory import Traced, trace, trained_share
from lacy.train.processes import Processes, local_count, naming_lost, process_count, rows_at_once
from lacy.train.schedule import make_schedule
from lacy.train.setup import Session, prepare_session

MEASURED = 3
"""Number of timed steps; one untimed warm-up step precedes them."""

CPU_SPEED, PATIENCE = 4e10, 30.0
"""Operations per second of a CPU thread (AVX2 at half of its peak), and maximum seconds of compute
of a dry run. Steps that would take longer are not timed."""

MANY_ROWS = 256
"""Steps of more rows are not estimated from single rows."""

PYTHON = 550_000_000
"""Memory of the process itself, with all libraries, in bytes (measured on Linux)."""

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
    """Estimated memory of each process; None if the model is not on this machine yet."""
    available: int | None
    """Free bytes on the device for each process."""
    flops_per_token: float
    """Training FLOP per token, including the choice of targets (``train.flops``)."""
    processes: int = 1
    trained: int | None = None
    """Number of trained parameters, if a part of the model is frozen."""
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
            ("model", [self._model()]),
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

    def _model(self) -> str:
        if self.trained is None:
            return f"{self.parameters:,} parameters"
        return f"{self.parameters:,} parameters, {self.trained:,} of them trained"

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
        each = f" for each of {self.processes} processes" if self.processes > 1 else ""
        free = "" if self.available is None else f", {format_bytes(self.available)} free{each}"
        if self.memory is None:
            return f"not estimated for this architecture{free}"
        m = self.memory
        return (
            f"about {format_bytes(m.total + PYTHON)} (weights {format_bytes(m.weights)}, "
            f"gradients {format_bytes(m.gradients)}, "
            f"optimizer {format_bytes(m.optimizer)}, activations {format_bytes(m.activations)}, "
            f"head {format_bytes(m.head)}, Python {format_bytes(PYTHON)}){free}"
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


def dry_run(config: TrainConfig, *, extra: ExtraLoss | None = None) -> DryRun:
    """Open the data, estimate memory and compute, and time a few steps; write nothing.

    Args:
        config: the settings; the run's folder is ignored. The data may be missing if a preset is
            trained for ``steps`` or ``tokens``.
        extra: a loss beside the objective; it takes part in the timed steps, but memory and compute
            are those of the objective alone.

    Raises:
        LacyError: any error that ``train`` would raise before its first step.
    """
    config = replace(config, dry_run=True)
    config.check()
    assert config.data is not None
    with naming_lost():
        return _dry_run(config, Processes.join(config), extra)


def _dry_run(config: TrainConfig, processes: Processes, extra: ExtraLoss | None) -> DryRun:
    assert config.data is not None
    counted = config.steps is not None or config.tokens is not None
    if counted and config.new_model and not config.data.exists():
        return _without_data(config)
    available = _available(config)
    info = PackedData.load(config.data).info
    traced = None if config.new_model else _trace(config, info)
    memory = _split(config, traced.memory) if traced else None
    if config.new_model:
        memory = _memory(config, info.vocab_size, info.context)
    passes, _ = choose_passes(config, process_count())
    if traced and available and traced.memory.weights > available:
        return _without_loading(config, info, traced, available, passes)
    with processes.together():
        session = prepare_session(config, processes, resume=False)
    session.join()
    session.extra = extra
    schedule = session.schedule
    steps = schedule.total - schedule.start
    model = session.state.model
    work = traced.work if traced else Work.of_model(model, session.data.context)
    share = (1.0, 1.0) if config.depth == "full" else trained_share(model)
    flops = work.training(passes, 1 - config.call_warmup, share)
    seconds, untimed = None, "the steps would not fit into memory"
    if memory is None or available is None or memory.total < available:
        seconds, untimed = _seconds(session, flops)
    return DryRun(
        data=session.data.info.summary(),
        trained_rows=session.mixture.order.n_rows,
        valid_rows=len(session.valid_rows),
        parameters=sum(p.numel() for p in model.parameters()),
        trained=None
        if config.depth == "full"
        else sum(p.numel() for p in session.state.parameters()),
        steps=steps,
        tokens=steps * session.tokens_per_step,
        epochs=session.mixture.epoch(steps),
        memory=memory,
        available=available,
        processes=processes.count,
        flops_per_token=flops,
        seconds_per_step=seconds,
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


def _trace(config: TrainConfig, info: DataInfo) -> Traced | None:
    """Return the sizes of training a pretrained model; None if it has not been downloaded yet."""
    place: str | Path = config.model
    if config.fork is not None:
        place = fork_source(config.fork)
        place = read_checkpoint(place).info.get("base", {}).get("place", place)
    found = resolve(place)
    if not isinstance(found, Path):
        return None
    bf16, _ = choose_bf16(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return trace(found, config, vocabulary=info.vocab_size, context=info.context, bf16=bf16)


def _without_loading(
    config: TrainConfig, info: DataInfo, traced: Traced, available: int, passes: RatePasses
) -> DryRun:
    """Return a report on a model whose weights do not even fit into memory."""
    schedule = make_schedule(config, rows=info.rows, context=info.context)
    return DryRun(
        data=info.summary(),
        trained_rows=info.rows,
        valid_rows=0,
        parameters=traced.parameters,
        trained=traced.trained,
        steps=schedule.total,
        tokens=schedule.total * config.batch_rows * info.context,
        epochs=schedule.total * config.batch_rows / info.rows,
        memory=traced.memory,
        available=available,
        flops_per_token=traced.work.training(passes, 1 - config.call_warmup),
        untimed="the weights do not fit into memory",
        fp32=config.dtype == "fp32",
    )


def _memory(config: TrainConfig, vocabulary: int, context: int) -> Memory:
    whole = training_memory(
        get_preset(config.model),
        vocabulary=vocabulary,
        context=context,
        rows=rows_at_once(config),
        optimizer=config.optimizer,
        bf16=config.dtype == "bf16",
    )
    return _split(config, whole)


def _split(config: TrainConfig, memory: Memory) -> Memory:
    """Return the memory of each process if the processes split the weights."""
    if not config.shard:
        return memory
    return replace(
        memory,
        weights=memory.weights // process_count(),
        gradients=memory.gradients // process_count(),
        optimizer=memory.optimizer // process_count(),
    )


def _seconds(session: Session, flops_per_token: float) -> tuple[float | None, str]:
    """Return the measured duration of a step, and "" or why it was not measured.

    If whole steps would take a CPU too long, one row is timed instead, and the result is multiplied
    by the number of rows.
    """
    if session.device.type != "cpu":
        return _measure(session, session.batch), ""
    speed = CPU_SPEED * torch.get_num_threads()
    rows, per_row = (
        -(-session.config.batch_rows // session.processes.count),
        flops_per_token * session.data.context / speed,
    )
    if (MEASURED + 1) * rows * per_row <= PATIENCE:
        return _measure(session, session.batch), ""
    if (MEASURED + 1) * per_row > PATIENCE or rows > MANY_ROWS:
        seconds = format_duration((MEASURED + 1) * rows * per_row)
        return None, f"{MEASURED + 1} steps would take this CPU about {seconds}"

    def one_row(step: int) -> list[MicroBatch]:
        return [MicroBatch.of(session.data.batch([step]), session.device)]

    return rows * _measure(session, one_row), ""


def _measure(session: Session, batch: Callable[[int], list[MicroBatch]]) -> float:
    """Return the median duration of a step in seconds."""
    config = session.config
    batches = (batch(step) for step in range(MEASURED + 1))
    times = [time.perf_counter()]
    steps = fit(
        session.state, batches, config.objective(), lr=0.0, clip=config.clip, extra=session.extra
    )
    for done in steps:
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
    return min(known) // local_count() if known else None


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
