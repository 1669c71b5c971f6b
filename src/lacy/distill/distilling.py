"""Distil a student: prepare data and teacher, train with ``lacy.train``, and open the result."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lacy.annotate import encode_many
from lacy.config import Rare, read_yaml
from lacy.corpus import Encoded, PackedData, read
from lacy.distill.loss import DistillLoss
from lacy.distill.settings import DistillSettings, Divergence, Imitate
from lacy.distill.stored import StoredTeacher
from lacy.distill.teachers import LiveTeacher, Teacher, require_same_tokens
from lacy.errors import LacyError
from lacy.model import Loaded, load_model, model_fingerprint, require_context, save_model
from lacy.objective import Objective
from lacy.train import During, TrainConfig, dry_run, train
from lacy.types import Document, MarkFlag

Notify = Callable[[str], object]

Data = str | Path | PackedData | Iterable[Document] | Sequence[Tensor]
"""Texts: packed data or its folder, files as in ``lacy.corpus.read``, documents, or token ids as
tensors ids_BT (``lacy.layerwise.text_rows``), which have no marks."""


@dataclass
class DistillRun(TrainConfig):
    """The settings of a run; those of distillation are stored with it."""

    # [Distillation]
    teacher: str = ""
    """Fingerprint of the teacher's weights."""
    divergence: Rare[Divergence] = "forward"
    """Divergence to minimise."""
    temperature: Rare[float] = 1.0
    """Temperature of both distributions."""
    weight: Rare[float] = 1.0
    """Weight of the teacher."""
    imitate: Rare[Imitate] = "all"
    """Where the teacher is imitated."""
    fact_weight: Rare[float] = 0.0
    """Weight of the teacher where it would not be imitated."""
    top: Rare[int] = 0
    """Number of stored tokens per position; 0 for a teacher that runs beside the student."""


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
        stored: folder of stored predictions (``store_teacher``), for packed data.
        settings: divergence, weights, and where the teacher is imitated.
        objective: the loss beside the teacher and what is delegated; None teaches text only and
            leaves the ``<CALL>`` row as it is.
        tokens: positions to train on; None for one pass over the data.
        lr: learning rate; None for one that suits depth and size (``lacy train``).
        depth: ``full``, ``last=N`` or ``lora``.
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
            student, teacher, data, work=work, stored=stored, settings=settings,
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


@dataclass(frozen=True)
class Prepared:
    """A run before its first step."""

    run: DistillRun
    extra: DistillLoss | None
    context: int
    """Tokens per row."""

    def dry_run(self) -> str:
        """Return a report on data, memory and time; nothing is trained."""
        return str(dry_run(self.run, extra=self.extra))


def prepare(
    student: str | Path | Loaded,
    teacher: str | Path | Loaded | None,
    data: Data,
    *,
    work: Path,
    stored: str | Path | None,
    settings: DistillSettings | None,
    objective: Objective | None,
    context: int,
    notify: Notify,
    run: dict[str, Any],
) -> Prepared:
    """Check everything, write what a run starts from, and open the teacher (see ``distill``)."""
    settings = settings or DistillSettings()
    settings.check()
    opened = _open(student)
    guide = None if teacher is None else _open(teacher)
    _require_teacher(opened, guide, stored, settings)
    packed = _pack(data, opened, min(context, opened.context), work)
    imitate = _where(settings, packed, objective, notify)
    extra, used = None, {"teacher": "", "top": 0}
    if settings.weight > 0:
        found: Teacher
        if stored is not None:
            found = StoredTeacher(stored, packed)
            used = {"teacher": found.kind.fingerprint, "top": found.kind.top}
            settings = replace(settings, temperature=found.temperature)
        else:
            assert guide is not None
            require_context(guide.model, packed.context, guide.name or "the teacher")
            found = LiveTeacher(guide.model, settings.temperature)
            used = {"teacher": model_fingerprint(guide.model), "top": 0}
        extra = DistillLoss(found, replace(settings, imitate=imitate))
    trains_calls = objective is not None and objective.delegates
    if opened.calls and not trains_calls:
        notify("The row of <CALL> is not trained; fit it again afterwards: lacy tune.")
    start = work / "student"
    save_model(start, opened.model.cpu(), opened.tokenizer, _kept(opened))  # type: ignore[arg-type]
    chosen = objective if objective is not None else Objective(method="none")
    shared = {entry.name: getattr(chosen, entry.name) for entry in fields(Objective)}
    own = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    config = DistillRun(
        **{**shared, **own, **used, "imitate": imitate, "data": packed.path, "model": str(start),
           **run}
    )  # fmt: skip
    config.check()
    return Prepared(config, extra, packed.context)


def _kept(opened: Loaded) -> dict[str, Any]:
    """Return what ``lacy.json`` says of a model's origin; what depends on its weights is left."""
    return {key: value for key, value in opened.meta.items() if key in ("preset", "training")}


@contextlib.contextmanager
def _places(out: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield the folders of the run and of what it starts from; temporary ones without ``out``."""
    if out is not None:
        yield Path(out), Path(out).with_name(f"{Path(out).name}-work")
        return
    with tempfile.TemporaryDirectory(prefix="lacy-distill-") as folder:
        yield Path(folder) / "run", Path(folder) / "work"


def _open(model: str | Path | Loaded) -> Loaded:
    return model if isinstance(model, Loaded) else load_model(model, verify=False)


def _require_teacher(
    student: Loaded, teacher: Loaded | None, stored: str | Path | None, settings: DistillSettings
) -> None:
    """Raise E306 without a teacher, E300 for one with other tokens."""
    if settings.weight == 0:
        return
    if teacher is None and stored is None:
        raise LacyError("E306", why="none is given")
    if teacher is not None:
        if teacher.model is student.model:
            raise LacyError("E306", why="the one that is given is the student itself")
        require_same_tokens(student, teacher)


def _where(
    settings: DistillSettings, data: PackedData, objective: Objective | None, notify: Notify
) -> Imitate:
    """Return where the teacher is imitated.

    Raises:
        LacyError: E305, the data lack the marks that this needs; E12, nothing is delegated.
    """
    marked = data.info.flags.get(str(MarkFlag.FACT.name), 0)
    imitate = settings.imitate
    if imitate is None and marked:
        facts = f"{data.info.shares['FACT']:.1%} of the tokens are facts"
        notify(f"Imitate: unmarked, because {facts}.")
        return "unmarked"
    if imitate is None:
        notify("Imitate: all, because the data have no marks.")
        return "all"
    if imitate != "all" and not marked:
        raise LacyError("E305", imitate=imitate)
    if imitate == "undelegated" and (objective is None or not objective.delegates):
        why, do = "nothing is delegated", "give a method that delegates, or choose unmarked"
        raise LacyError("E12", key="imitate", value=imitate, why=why, do=do)
    return imitate


def _pack(data: Data, student: Loaded, context: int, work: Path) -> PackedData:
    """Open packed data, or pack texts or token ids into ``work/packed``.

    Raises:
        LacyError: E26, the data have another tokenizer; E59, their rows are too long.
    """
    tokenizer = student.tokenizer
    if isinstance(data, str | Path):
        if (Path(data) / "lacy_data.json").is_file():
            data = PackedData.load(data, tokenizer)
        else:
            data = read(data)
    if isinstance(data, PackedData):
        do = "mark the texts again with --context {longest} or less"
        require_context(student.model, data.context, student.name or "the student", do)
        return data
    encoded: Iterable[Encoded]
    if isinstance(data, Sequence) and data and isinstance(data[0], Tensor):
        rows = [row for ids_BT in data for row in ids_BT.tolist()]  # type: ignore[union-attr]
        context = min(student.context, max(context, *map(len, rows)))
        encoded = (Encoded(str(n), row, [0] * len(row)) for n, row in enumerate(rows))
    else:
        encoded = encode_many(data, tokenizer)  # type: ignore[arg-type]
    return PackedData.write(encoded, tokenizer, context, work / "packed")
