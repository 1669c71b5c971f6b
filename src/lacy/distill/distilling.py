"""Distil a student: train it with ``lacy.train`` beside its teacher, and open the result."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lacy.config import read_yaml
from lacy.distill.prepare import Data, DistillRun, Notify, prepare
from lacy.distill.settings import DistillSettings
from lacy.distill.stored import TOP
from lacy.model import Loaded, load_model
from lacy.objective import Objective
from lacy.train import During, train


@dataclass(frozen=True)
class Distilled:
    """A distilled model, and how it was made."""

    loaded: Loaded
    """The trained student. Its ``<CALL>`` row is that of before, unless an objective trained it."""
    run: DistillRun
    """All settings, including the automatic ones."""
    steps: int
    tokens: int
    """Positions that the student was trained on."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The last metrics: ``loss``, ``text_loss``, and ``valid_*`` if texts were held out."""

    def record(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, and the length, as plain data."""
        names = ("teacher", "divergence", "temperature", "weight", "imitate", "fact_weight", "top",
                 "depth", "lr", "batch_rows", "method", "seed")  # fmt: skip
        return {**{name: getattr(self.run, name) for name in names},
                "steps": self.steps, "tokens": self.tokens}  # fmt: skip


def distill(
    student: str | Path | Loaded,
    teacher: str | Path | Loaded | None,
    data: Data,
    *,
    out: str | Path | None = None,
    stored: str | Path | None = None,
    top: int = TOP,
    settings: DistillSettings | None = None,
    objective: Objective | None = None,
    tokens: int | None = None,
    lr: float | None = None,
    depth: str = "full",
    context: int = 256,
    batch_rows: int = 8,
    hold_out: float = 0.0,
    seed: int = 0,
    device: Literal["auto", "cpu"] = "auto",
    threads: int | None = None,
    during: During | None = None,
    quiet: bool = True,
    notify: Notify = lambda sentence: None,
    **training: Any,
) -> Distilled:
    """Train a student on a teacher's predictions, and return it.

    With ``out``, the run has checkpoints, and the same call resumes it if it was stopped. The
    folder ``out`` with ``-work`` keeps the student as it was before and the packed texts.

    Args:
        student: the model to train, or its name; an open one must not be used afterwards.
        teacher: a model with the same tokens, or its name; None if its predictions are stored.
        data: texts, see ``Data``; their marks tell where the student may call.
        out: folder of the run; the model is in ``out/model``. None for a temporary one.
        stored: folder of stored predictions (``store_teacher``); those that are missing are
            computed first, if there is a teacher.
        top: number of stored tokens per position.
        settings: divergence, weights, and where the teacher is imitated.
        objective: the loss beside the teacher and what is delegated; None teaches text only and
            leaves the ``<CALL>`` row as it is.
        tokens: positions to train on; None for one pass over the data.
        lr: learning rate; None for one that suits depth and size (``lacy train``).
        depth: ``full``, ``last=N``, ``norms`` or ``lora``.
        context: tokens per row of texts that are not packed yet.
        batch_rows: rows per step.
        hold_out: share of the rows on which the losses are measured before and after.
        seed: seed of the order of the rows.
        device: ``auto`` or ``cpu``.
        threads: number of CPU threads.
        during: makes a context for all steps, such as ``lacy.prune.holding_zeros``.
        quiet: show no progress.
        notify: called with a sentence for each automatic choice.
        training: further settings of ``TrainConfig``.

    Raises:
        LacyError: E300, student and teacher have different tokens; E301, E302, stored predictions
            are missing; E305, the data have no marks that are needed; E306, no teacher; E12, a
            setting is invalid; E17, ``out`` belongs to a run with other settings; and the errors
            of ``load_model``, ``read`` and ``train``.
        KeyboardInterrupt: the training was stopped by a signal.
    """
    with _places(out) as (folder, work):
        prepared = prepare(
            student, teacher, data, work=work, stored=stored, top=top, settings=settings,
            objective=objective, context=context, notify=notify,
            run={
                "out": folder, "tokens": tokens, "lr": lr, "depth": depth, "hold_out": hold_out,
                "batch_rows": batch_rows, "seed": seed, "device": device, "quiet": quiet,
                "threads": threads or 0, **({"epochs": 1.0} if tokens is None else {}), **training,
            },
        )  # fmt: skip
        result = train(prepared.run, extra=prepared.extra, during=during)
        if not result.finished:
            raise KeyboardInterrupt
        loaded = load_model(folder)
        loaded.model.eval()
        run = replace(prepared.run, lr=read_yaml(folder / "config.yaml")[0]["lr"])
    per_step = run.batch_rows * prepared.context
    return Distilled(loaded, run, result.step, result.step * per_step, result.metrics)


def estimate(
    student: str | Path | Loaded,
    teacher: str | Path | Loaded | None,
    data: Data,
    *,
    settings: DistillSettings | None = None,
    objective: Objective | None = None,
    stored: str | Path | None = None,
    context: int = 256,
    notify: Notify = lambda sentence: None,
    **training: Any,
) -> str:
    """Return a report on data, memory and time of a run, and keep nothing.

    Args:
        student: as in ``distill``, which has more about all arguments.
        teacher: as in ``distill``; if it is given, nothing is stored.
        data: texts.
        settings: divergence, weights, and where the teacher is imitated.
        objective: the loss beside the teacher and what is delegated.
        stored: folder of stored predictions, without a teacher.
        context: tokens per row of texts that are not packed yet.
        notify: called with a sentence for each automatic choice.
        training: further settings of ``TrainConfig``.

    Raises:
        LacyError: the errors of ``distill`` before its first step.
    """
    if training.get("tokens") is None:
        training["epochs"] = 1.0
    with _places(None) as (folder, work):
        return prepare(
            student, teacher, data, work=work, stored=None if teacher is not None else stored,
            top=TOP, settings=settings, objective=objective, context=context, notify=notify,
            run={"out": folder, **training},
        ).dry_run()  # fmt: skip


@contextlib.contextmanager
def _places(out: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield the folders of the run and of what it starts from; temporary ones without ``out``."""
    if out is not None:
        yield Path(out), Path(out).with_name(f"{Path(out).name}-work")
        return
    with tempfile.TemporaryDirectory(prefix="lacy-distill-") as folder:
        yield Path(folder) / "run", Path(folder) / "work"
