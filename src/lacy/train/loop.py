"""The training loop, from top to bottom.

    step(batch) -> gradients -> clip -> update -> numbers -> validate -> checkpoint

``setup`` made everything it needs, ``step`` is forward and backward of the whole batch. The loop
itself holds what a run is: when the rate falls, when something is logged, measured or saved, and
that a signal, a loss that is no number or too little memory leaves a run that can go on.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacy._parse import parse_json
from lacy._text import format_duration
from lacy.config import to_dict
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.model import META, save_model
from lacy.run import Run
from lacy.train.card import CARD, card_facts
from lacy.train.checkpoint import (
    STABLE,
    checkpoint_path,
    newest,
    prune,
    put_aside,
    write_checkpoint,
)
from lacy.train.choices import first_process
from lacy.train.config import MAY_DIFFER, TrainConfig
from lacy.train.console import Console
from lacy.train.meter import Meter
from lacy.train.optim import set_lr
from lacy.train.setup import Session, fingerprint, prepare, saved_groups
from lacy.train.stopping import CLOSED_OUTPUT, is_out_of_memory, signals
from lacy.train.trackers import Log, trackers
from lacy.train.validate import validate

SEED_STRIDE = 1_000_003
"""Seeds of the random methods are ``seed * SEED_STRIDE + step``: no two runs share one."""


FINITE_EVERY = 50
"""Steps after which a loss that is NaN or infinite is noticed, however rarely it is logged."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended."""

    out: Path
    step: int
    finished: bool
    """Whether it came to its last step; ``out/model`` holds the model then."""
    stopped: str = ""
    """Why it did not, e.g. ``SIGTERM``; the same command goes on."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The last row of ``metrics.jsonl``."""


def train(config: TrainConfig) -> TrainResult:
    """Train a model, or resume an interrupted run.

    Args:
        config: the settings.

    Returns:
        How the run ended. With ``dry_run``, nothing was written and step is 0.

    Raises:
        LacyError: E45 (settings), E17 (the folder has another run), E150 (another process trains
            there), E46 (call rate above the share of marks), E47 (loss or gradient NaN or
            infinite), E48 (out of memory), E49 (the checkpoint), E19 (the disk is full), or errors
            of data and model. Earlier checkpoints stay intact.
    """
    config.check()
    if config.dry_run:
        from lacy.train.dry import dry_run

        print(dry_run(config))
        return TrainResult(config.out, 0, finished=False, stopped="dry run")
    with contextlib.ExitStack() as stack:
        if first_process():
            stack.enter_context(lock(config.out))
        done = _finished_before(config)
        if done is not None:
            return done
        session = prepare(config)
        run = _open_run(session) if session.main else None
        names = config.trackers if session.main else ()
        log = stack.enter_context(trackers(names, config.out, to_dict(config)))
        silent = config.quiet or not session.main
        console = stack.enter_context(Console(session.schedule.total, session.step, silent=silent))
        asked = stack.enter_context(signals())
        return _Loop(session, run, log, console, asked).go()


def _open_run(session: Session) -> Run:
    """The run folder, its metrics cut back to the step that the run goes on from."""
    run = Run(session.config.out, session.config, may_differ=MAY_DIFFER)
    for path in session.unreadable:
        put_aside(path)
    run.write_environment(reasons=session.reasons, torch_threads=torch.get_num_threads())
    run.rewind(session.step)
    return run


def _finished_before(config: TrainConfig) -> TrainResult | None:
    """The result of a run that has come to its end in this folder, with these settings.

    Raises:
        LacyError: E17, before anything is loaded, if the run in the folder has other settings.
    """
    if not (config.out / "config.yaml").exists():
        return None
    run = Run(config.out, config, may_differ=MAY_DIFFER)
    meta_file = config.out / "model" / META
    if not meta_file.exists():
        return None
    try:
        training = parse_json(meta_file.read_text(encoding="utf-8")).get("training", {})
    except (ValueError, AttributeError):  # damaged: it is restored from the checkpoints
        return None
    if training.get("step") != training.get("of"):
        return None
    if not config.quiet:
        print(
            f"{config.out} is finished: {training['step']:,} steps. For more: --fork {config.out}"
        )
    rows = run.metrics()
    return TrainResult(config.out, training["step"], True, metrics=rows[-1] if rows else {})


@dataclass
class _Loop:
    """The state of a run under way."""

    session: Session
    run: Run | None
    log: Log
    console: Console
    asked: list[str]
    """The name of a signal, once one came."""
    last: dict[str, Any] = field(default_factory=dict)
    choice_BT: Tensor | None = None
    """What the last validation would have delegated."""
    short: bool = False
    """Whether it was said that marks were too few."""
    finite: int = 0
    """The last step at which loss and gradient were known to be finite."""

    def __post_init__(self) -> None:
        session = self.session
        saved = session.saved
        seconds = float(saved.info["seconds"]) if saved is not None else 0.0
        rows = session.order.n_rows * session.data.context
        self.meter = Meter(session.config.log_every, session.tokens_per_step, rows, seconds)
        self.saved_at = time.perf_counter()
        self.finite = session.step
        if saved is not None:
            self.meter.load_state(saved.group("meter"), session.device)
            self.choice_BT = saved.group("choice").get("mask")

    def go(self) -> TrainResult:
        """All steps that are left."""
        session, config = self.session, self.session.config
        schedule = session.schedule
        parameters = session.parameters()
        limit = config.clip or float("inf")
        self._introduce(sum(p.numel() for p in parameters))

        while session.step < schedule.total:
            step = session.step
            rate = config.lr * schedule.at(step)
            set_lr(session.optimizers, rate)
            with self._memory_explained(step):
                sums = session.stepper(
                    session.batch(step),
                    config.objective(delegate=step >= session.delegates_from),
                    seed=config.seed * SEED_STRIDE + step,
                )
                norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
                for optimizer in session.optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            session.step = step + 1
            self._write_row()  # of the window before: this step is under way on the device
            self.meter.add(session.step, rate, sums, norm)
            if config.eval_every and session.step % config.eval_every == 0:
                self._validate()
            if session.step % FINITE_EVERY == 0:
                self._require_finite(*self.meter.peek())
            stop, due = self._agreed(bool(self.asked) or self.console.lost, self._save_is_due())
            if stop and session.step < schedule.total:
                return self._leave()
            if due:
                self._checkpoint(checkpoint_path(config.out, session.step))
                prune(config.out, config.keep)
            if session.step == schedule.decay_start and not config.fork:
                self._checkpoint(config.out / STABLE)
        return self._finish()

    # ---------------------------------------------------------------- numbers

    def _write_row(self) -> None:
        """Read and write the last closed window of the log."""
        row = self.meter.row()
        if row is not None:
            self._require_finite(row["loss"], row["grad_norm"])
            self._record(row)

    def _record(self, row: dict[str, Any]) -> None:
        self.last.update(row)
        if self.run is not None:
            self.run.log(**row)
            self.log(row)
            if "loss" in row:
                self.console.row(row)
                self._tell_shortfall(row)

    def _tell_shortfall(self, row: dict[str, Any]) -> None:
        """Say once that batches gave clearly less than the call rate asks for.

        Where only starts are delegated less is the rule (``check_rate`` says how much); whole
        values leave some room unused.
        """
        session, config = self.session, self.session.config
        exact = config.method != "none" and session.stepper.way != "running"
        exact = exact and config.delegate != "start"
        delegating = row["step"] - config.log_every >= session.delegates_from
        least = 0.95 if config.delegate == "token" else 0.75
        if exact and delegating and not self.short and row["call_rate"] < least * config.call_rate:
            self.short = True
            some = "these batches" if config.rank_within == "batch" else "some sequences"
            why = "fewer marks; all of them were delegated"
            if config.delegate == "value":
                why = "no more values that fit whole"
            self.console.say(
                f"  call rate {row['call_rate']:.1%}, not {config.call_rate:.1%}, by step"
                f" {row['step']:,}: {some} held {why}"
            )

    def _validate(self) -> None:
        """Measure on the held-out rows, where there are any."""
        if not len(self.session.valid_rows):
            return
        self._write_row()
        found, self.choice_BT = validate(self.session, self.choice_BT)
        self._record({"step": self.session.step, **found})
        shown = ", ".join(
            f"{name.removeprefix('valid_').replace('_', ' ')} {value:.3f}"
            for name, value in found.items()
            if value is not None
        )
        self.console.say(f"step {self.session.step:,}  validation: {shown}")

    def _introduce(self, parameters: int) -> None:
        session = self.session
        if session.step == 0:
            total = session.schedule.total
            self.console.say(
                f"{parameters:,} parameters, {total:,} steps of {session.tokens_per_step:,} tokens,"
                f" {session.order.epoch(total):.2f} epochs"
            )
        for reason in session.reasons:
            self.console.say(f"  {reason}")

    # ---------------------------------------------------------------- saving

    def _save_is_due(self) -> bool:
        config, step = self.session.config, self.session.step
        if config.save_every and step % config.save_every == 0:
            return True
        waited = time.perf_counter() - self.saved_at
        return bool(config.save_minutes) and waited >= 60 * config.save_minutes

    def _agreed(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """What any process wants, all do (signals and clocks differ between them)."""
        accelerator = self.session.accelerator
        if accelerator is None:
            return stop, due
        mine = torch.tensor([[stop, due]], device=self.session.device, dtype=torch.int32)
        every: Any = accelerator.gather(mine)
        return bool(every[:, 0].any()), bool(every[:, 1].any())

    def _checkpoint(self, path: Path) -> None:
        """Write a checkpoint, but never one whose loss or gradient was no number."""
        session = self.session
        self._write_row()
        self._require_finite(*self.meter.peek())
        if session.main:
            write_checkpoint(
                path,
                session.model,
                session.tokenizer,
                meta=session.meta(session.step),
                info={
                    "step": session.step,
                    "start": session.schedule.start,
                    "seconds": self.meter.seconds,
                    "data": fingerprint(session.data),
                },
                groups={
                    **saved_groups(session),
                    "meter": self.meter.state(),
                    "choice": {} if self.choice_BT is None else {"mask": self.choice_BT},
                },
            )
        if session.accelerator is not None:
            session.accelerator.wait_for_everyone()
        self.saved_at = time.perf_counter()

    def _leave(self) -> TrainResult:
        """Save and go, because a signal asked for it."""
        session, name = self.session, self.asked[0] if self.asked else "a signal elsewhere"
        if self.console.lost:
            name = CLOSED_OUTPUT
        self._checkpoint(checkpoint_path(session.config.out, session.step))
        prune(session.config.out, session.config.keep)
        self.console.say(
            f"{name}: saved at step {session.step:,}; the same command goes on from there"
        )
        return TrainResult(session.config.out, session.step, False, name, self.last)

    def _finish(self) -> TrainResult:
        """The last numbers, the model, the card."""
        session, config = self.session, self.session.config
        self._write_row()
        self.meter.finish(session.step, session.config.lr * session.schedule.at(session.step - 1))
        self._write_row()
        if not (config.eval_every and session.step % config.eval_every == 0):
            self._validate()
        if self.run is not None:
            facts = card_facts(session, self.last)
            title = f"{config.out.name}: a small language model that knows when to call"
            self.run.card(title, facts, CARD)
            card = self.run.card_file.read_text(encoding="utf-8")
            save_model(config.out / "model", session.model, session.tokenizer,
                 session.meta(session.step), card=card)  # fmt: skip
        where = config.out / "model"
        self.console.say(f"done in {format_duration(self.meter.seconds)}: {where}")
        return TrainResult(config.out, session.step, True, metrics=self.last)

    # ---------------------------------------------------------------- what can go wrong

    def _kept(self) -> str:
        """What is left of the run, in words."""
        latest = newest(self.session.config.out)
        return f"{latest} is whole" if latest is not None else "there was no checkpoint yet"

    def _require_finite(self, loss: float, norm: float) -> None:
        """Raise E47 unless loss and gradient of some steps are numbers."""
        for what, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise LacyError(
                    "E47",
                    what=what,
                    step=self.session.step,
                    value=value,
                    good=self.finite,
                    kept=self._kept(),
                    lr=self.session.config.lr,
                )
        self.finite = self.session.step

    @contextlib.contextmanager
    def _memory_explained(self, step: int) -> Iterator[None]:
        """Too little memory as an error that says what to type."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            config = self.session.config
            raise LacyError(
                "E48",
                step=step,
                rows=config.batch_rows // config.grad_accum,
                context=self.session.data.context,
                more=min(config.batch_rows, config.grad_accum * 2),
                kept=self._kept(),
            ) from error
