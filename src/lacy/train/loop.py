"""The training loop, from top to bottom.

    fit: forward, loss, backward, update -> metrics -> validate -> checkpoint

``setup`` prepares everything, and ``fit`` runs the steps. The loop decides when to log, validate
and save, and it makes sure that a run can be resumed after a signal, a NaN loss or too little
memory.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacy._text import format_duration
from lacy.config import to_dict
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.model import save_model
from lacy.run import Run, replace_folder
from lacy.train.batches import ExtraLoss
from lacy.train.checkpoint import (
    STABLE,
    checkpoint_path,
    data_fingerprint,
    newest,
    prune,
    put_aside,
    random_state,
    write_checkpoint,
)
from lacy.train.config import TrainConfig
from lacy.train.console import CARD, Console, TrackerLog, card_facts, trackers
from lacy.train.earlier import TrainResult, finished_before, keep_choices
from lacy.train.fitting import FitState, fit
from lacy.train.meter import Meter, validate
from lacy.train.processes import Processes, first_process, naming_lost, rows_at_once
from lacy.train.setup import Session, prepare_session
from lacy.train.stopping import CLOSED_OUTPUT, is_out_of_memory, signals

During = Callable[[FitState], contextlib.AbstractContextManager[Any]]
"""Makes a context in which all steps of a run are done."""

FINITE_EVERY = 50
"""Maximum number of steps between checks for a NaN or infinite loss, even if logging is rarer."""


def train(
    config: TrainConfig, *, extra: ExtraLoss | None = None, during: During | None = None
) -> TrainResult:
    """Train a model, or resume an interrupted run.

    Args:
        config: the settings; those of a subclass are stored with the run as well.
        extra: a loss beside the objective, such as that of distillation.
        during: makes a context for all steps, such as ``lacy.prune.holding_zeros``.

    Returns:
        The result. With ``dry_run``, nothing is written and ``step`` is 0.

    Raises:
        LacyError: E45, settings are invalid; E17, the folder belongs to another run; E150, another
            process uses it; E46, the call rate exceeds the share of marks; E47, loss or gradient is
            NaN or infinite; E48, out of memory; E49, the checkpoint cannot be used; E19, the disk
            is full; or errors of data and model. Earlier checkpoints stay intact.
    """
    config.check()
    if config.dry_run:
        from lacy.train.dry import dry_run

        report = dry_run(config, extra=extra)
        if first_process():
            print(report)
        return TrainResult(config.out, 0, finished=False, stopped="dry run")
    processes = Processes.join(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(naming_lost())
        done = None
        with processes.together():
            if processes.first:
                stack.enter_context(lock(config.out))
            config = keep_choices(config)
            if processes.first:
                done = finished_before(config)
        done = processes.objects(done)[0]
        if done is not None:
            return done
        with processes.together():
            session = prepare_session(config, processes)
        session.join()
        session.extra = extra
        if during is not None:
            stack.enter_context(during(session.state))
        run = _open_run(session) if session.main else None
        names = config.trackers if session.main else ()
        log = stack.enter_context(trackers(names, config.out, to_dict(config)))
        silent = config.quiet or not session.main
        total = session.schedule.total
        console = stack.enter_context(Console(total, session.state.step, silent=silent))
        received = stack.enter_context(signals())
        return _Loop(session, run, log, console, received).go()


def _open_run(session: Session) -> Run:
    """Open the run folder and drop metrics after the step at which the run resumes."""
    run = Run(session.config.out, session.config, may_differ=session.config.may_differ)
    for path in session.unreadable:
        put_aside(path)
    run.write_environment(
        reasons=session.reasons,
        torch_threads=torch.get_num_threads(),
        processes=session.processes.count,
    )
    run.rewind(session.state.step)
    return run


@dataclass
class _Loop:
    """A run in progress."""

    session: Session
    run: Run | None
    log: TrackerLog
    console: Console
    received: list[str]
    """List with the name of the signal that stops the run; empty until it arrives."""
    last: dict[str, Any] = field(default_factory=dict)
    choice_BT: Tensor | None = None
    """Mask of the targets that the last validation would have delegated."""
    noted_shortfall: bool = False
    """True after the user was told that batches contain too few marks."""
    finite: int = 0
    """The last step at which loss and gradient were known to be finite."""

    def __post_init__(self) -> None:
        session = self.session
        saved = session.saved
        seconds = float(saved.info["seconds"]) if saved is not None else 0.0
        rows = round(session.mixture.rows_per_epoch * session.data.context)
        self.meter = Meter(session.config.log_every, session.tokens_per_step, rows, seconds)
        self.saved_at = time.perf_counter()
        self.finite = session.state.step
        if saved is not None:
            self.meter.load_state(saved.group("meter"), session.device)
            self.choice_BT = saved.group("choice").get("mask")

    def go(self) -> TrainResult:
        """Run all remaining steps."""
        session, state, config = self.session, self.session.state, self.session.config
        schedule = session.schedule
        self._print_start(sum(p.numel() for p in state.parameters()))
        if state.step == 0 and not config.new_model:  # to show what training changes
            self._validate()
        steps = fit(
            state, session.batches(), session.objective,
            lr=session.lr, clip=config.clip, seed=config.seed, extra=session.extra,
        )  # fmt: skip

        while state.step < schedule.total:
            with self._explain_memory(state.step):
                done = next(steps)
            self._write_row()  # write the previous window while this step is running on the device
            self.meter.add(done)
            if config.eval_every and state.step % config.eval_every == 0:
                self._validate()
            if state.step % FINITE_EVERY == 0:
                self._require_finite(*self.meter.peek())
            stop, due = session.processes.any(  # signals and clocks differ
                bool(self.received) or self.console.closed, self._save_is_due()
            )
            if stop and state.step < schedule.total:
                return self._stop_early()
            if due:
                self._checkpoint(checkpoint_path(config.out, state.step))
                self._prune()
            if state.step == schedule.decay_start and not config.fork:
                self._checkpoint(config.out / STABLE)
        return self._finish()

    # ---------------------------------------------------------------- metrics

    def _write_row(self) -> None:
        """Write the last closed window of metrics."""
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
                self.console.metrics(row)
                self._note_shortfall(row)

    def _note_shortfall(self, row: dict[str, Any]) -> None:
        """Tell the user once if batches delegate clearly less than the call rate.

        Not for ``delegate: start``, where this is normal and ``check_rate`` reports it. With
        ``delegate: value``, some of the rate stays unused because only whole values are delegated.
        """
        session, config = self.session, self.session.config
        exact = config.method != "none" and session.state.quantile is None
        exact = exact and config.delegate != "start"
        delegating = row["step"] - config.log_every >= session.delegates_from
        min_share = 0.95 if config.delegate == "token" else 0.75
        if not (exact and delegating) or row["call_rate"] >= min_share * config.call_rate:
            return
        if not self.noted_shortfall:
            self.noted_shortfall = True
            some = "these batches" if config.rank_within == "batch" else "some sequences"
            why = "fewer marks; all of them were delegated"
            if config.delegate == "value":
                why = "no more values that fit completely"
            self.console.line(
                f"  call rate {row['call_rate']:.1%}, not {config.call_rate:.1%}, by step"
                f" {row['step']:,}: {some} contained {why}"
            )

    def _validate(self) -> None:
        """Measure the model on the validation rows, if there are any."""
        if not len(self.session.valid_rows) and self.session.general is None:
            return
        self._write_row()
        found, self.choice_BT = validate(self.session, self.choice_BT)
        self._record({"step": self.session.state.step, **found})
        shown = ", ".join(
            f"{name.removeprefix('valid_').replace('_', ' ')} {value:.3f}"
            for name, value in found.items()
            if value is not None
        )
        self.console.line(f"step {self.session.state.step:,}  validation: {shown}")

    def _print_start(self, parameters: int) -> None:
        """Print the size of the run and the automatic choices."""
        session = self.session
        if session.state.step == 0:
            total = session.schedule.total
            of = sum(p.numel() for p in session.state.model.parameters())
            part = "" if session.trained.depth == "full" else f"of {of:,} "
            self.console.line(
                f"{parameters:,} {part}parameters, {total:,} steps of {session.tokens_per_step:,}"
                f" tokens, {session.mixture.epoch(total):.2f} epochs"
            )
        for reason in session.reasons:
            self.console.line(f"  {reason}")

    # ---------------------------------------------------------------- saving

    def _save_is_due(self) -> bool:
        config, step = self.session.config, self.session.state.step
        if config.save_every and step % config.save_every == 0:
            return True
        elapsed = time.perf_counter() - self.saved_at
        return bool(config.save_minutes) and elapsed >= 60 * config.save_minutes

    def _prune(self) -> None:
        """Delete old checkpoints."""
        if self.session.main:
            prune(self.session.config.out, self.session.config.keep)

    def _checkpoint(self, path: Path) -> None:
        """Write a checkpoint unless the loss or gradient is NaN or infinite."""
        session = self.session
        self._write_row()
        self._require_finite(*self.meter.peek())
        random, weights = random_state(session.processes), session.weights()
        groups = session.saved_groups() if session.saves else {}
        if session.main:
            write_checkpoint(
                path,
                session.trained,
                session.data.tokenizer,
                meta=session.meta(),
                info={
                    "step": session.state.step,
                    "start": session.schedule.start,
                    "seconds": self.meter.seconds,
                    "data": data_fingerprint(session.data, session.mixture.replay),
                },
                groups={
                    **groups,
                    "random": random,
                    "meter": self.meter.state(),
                    "choice": {} if self.choice_BT is None else {"mask": self.choice_BT},
                },
                weights=weights,
            )
        session.processes.wait()
        self.saved_at = time.perf_counter()

    def _stop_early(self) -> TrainResult:
        """Save and stop after a signal or a closed output."""
        session, step = self.session, self.session.state.step
        name = self.received[0] if self.received else "a signal elsewhere"
        if self.console.closed:
            name = CLOSED_OUTPUT
        self._checkpoint(checkpoint_path(session.config.out, step))
        self._prune()
        self.console.line(f"{name}: saved at step {step:,}; the same command resumes there")
        return TrainResult(session.config.out, step, False, name, self.last)

    def _finish(self) -> TrainResult:
        """Write the last metrics, the model and the model card."""
        session, config, step = self.session, self.session.config, self.session.state.step
        self._write_row()
        self.meter.finish(step, session.lr(step - 1))
        self._write_row()
        if not (config.eval_every and step % config.eval_every == 0):
            self._validate()
        weights = session.weights()
        if self.run is not None:
            if session.trained.depth in ("lora", "row"):
                with replace_folder(config.out / "adapter") as folder:
                    session.trained.write(folder, session.data.tokenizer, session.meta())
            session.trained.merge()
            facts = card_facts(session, self.last)
            title = f"{config.out.name}: a small language model that knows when to call"
            self.run.card(title, facts, CARD)
            card = self.run.card_file.read_text(encoding="utf-8")
            save_model(config.out / "model", session.state.model, session.data.tokenizer,
                       session.meta(), card=card, weights=weights)  # fmt: skip
        session.processes.wait()
        where = config.out / "model"
        self.console.line(f"done in {format_duration(self.meter.seconds)}: {where}")
        return TrainResult(config.out, step, True, metrics=self.last)

    # ---------------------------------------------------------------- errors

    def _intact(self) -> str:
        """Return a clause for error messages that names the last intact checkpoint."""
        latest = newest(self.session.config.out)
        return f"{latest} is intact" if latest is not None else "there was no checkpoint yet"

    def _require_finite(self, loss: float, norm: float) -> None:
        """Raise E47 if a loss or a gradient norm is NaN or infinite."""
        for what, value in (("loss", loss), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise LacyError(
                    "E47",
                    what=what,
                    step=self.session.state.step,
                    value=value,
                    good=self.finite,
                    kept=self._intact(),
                    lr=self.session.config.lr,
                )
        self.finite = self.session.state.step

    @contextlib.contextmanager
    def _explain_memory(self, step: int) -> Iterator[None]:
        """Convert an out-of-memory error to E48, which suggests smaller micro-batches."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            config = self.session.config
            raise LacyError(
                "E48",
                step=step,
                rows=rows_at_once(config),
                context=self.session.data.context,
                more=min(config.batch_rows, config.grad_accum * 2),
                kept=self._intact(),
            ) from error
