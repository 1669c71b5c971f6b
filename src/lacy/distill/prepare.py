"""Check and open everything that a distillation needs before its first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacy._text import format_bytes
from lacy.annotate import encode_many
from lacy.config import Rare
from lacy.corpus import Encoded, PackedData, read
from lacy.distill.loss import DistillLoss
from lacy.distill.settings import DistillSettings, Divergence, Imitate
from lacy.distill.stored import StoredTeacher, store_teacher
from lacy.distill.teachers import LiveTeacher, Teacher, require_same_tokens
from lacy.errors import LacyError
from lacy.model import (
    Loaded,
    bf16_is_fast,
    load_model,
    model_fingerprint,
    origin_of,
    require_context,
    require_unquantized,
    save_model,
)
from lacy.objective import Objective
from lacy.train import TrainConfig, dry_run
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
class Prepared:
    """A run before its first step."""

    run: DistillRun
    extra: DistillLoss | None
    context: int
    """Tokens per row."""

    def dry_run(self) -> str:
        """Return a report on data, memory and time; nothing is trained."""
        report = str(dry_run(self.run, extra=self.extra))
        teacher = self.extra.teacher if self.extra is not None else None
        if not isinstance(teacher, LiveTeacher):
            return report
        weights = sum(p.numel() for p in teacher.model.parameters())
        size = format_bytes(4 * weights)
        return f"{report}\n{'teacher':<12}{weights:,} parameters, {size} more memory"


def prepare(
    student: str | Path | Loaded,
    teacher: str | Path | Loaded | None,
    data: Data,
    *,
    work: Path,
    stored: str | Path | None,
    top: int,
    settings: DistillSettings | None,
    objective: Objective | None,
    context: int,
    notify: Notify,
    run: dict[str, Any],
) -> Prepared:
    """Check everything, write what a run starts from, and open the teacher (see ``distill``)."""
    settings = settings or DistillSettings()
    settings.check()
    start = work / "student"
    chosen = objective if objective is not None else Objective(method="none")
    shared = {entry.name: getattr(chosen, entry.name) for entry in fields(Objective)}
    config = DistillRun(**{**shared, "data": work / "packed", "model": str(start), **run})
    config.check()
    opened = _open(student)
    require_unquantized(opened.model, opened.name or "the student", "trained")
    guide = None if teacher is None else _open(teacher)
    _require_teacher(opened, guide, stored, settings)
    packed = _pack(data, opened, min(context, opened.context), work)
    imitate = _where(settings, packed, objective, notify)
    extra: DistillLoss | None = None
    used: dict[str, Any] = {"teacher": "", "top": 0}
    if settings.weight > 0:
        found: Teacher
        if stored is not None:
            found = _stored(guide, packed, stored, settings, top, run.get("device"), notify)
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
    save_model(start, opened.model.cpu(), opened.tokenizer, origin_of(opened.meta))  # type: ignore[arg-type]
    own = {entry.name: getattr(settings, entry.name) for entry in fields(settings)}
    complete = replace(config, data=packed.path, **{**own, **used, "imitate": imitate})
    return Prepared(complete, extra, packed.context)


def _stored(
    teacher: Loaded | None,
    data: PackedData,
    folder: str | Path,
    settings: DistillSettings,
    top: int,
    device: str | None,
    notify: Notify,
) -> StoredTeacher:
    """Open stored predictions; with a teacher, compute those that are missing."""
    if teacher is None:
        return StoredTeacher(folder, data)
    on = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    teacher.model.to(on)  # type: ignore[arg-type]
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        before, done = done * 10 // len(data), done + rows
        if done * 10 // len(data) > before:
            notify(f"Predictions of the teacher: {done:,} of {len(data):,} rows.")

    fast, _ = bf16_is_fast(teacher.model.device)
    return store_teacher(
        teacher, data, folder, top=top, temperature=settings.temperature, bf16=fast, advance=advance
    )


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
