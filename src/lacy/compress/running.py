"""Carry out a plan: apply steps, write outputs, measure every stage; stop and go on any time.

A stage is stored under a key that is a hash of the original weights, the texts, and all settings up
to it. If a folder has a stage with that key, it is not made or measured again. Every step opens the
files that the step before it wrote, so a stage that was measured is known to load.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.compress.checks import check_before_work
from lacy.compress.measuring import StageMeasured
from lacy.compress.settings import CompressPlan, Planned, check_compress_plan, planned
from lacy.compress.stages import (
    TRAINING,
    Context,
    apply_step,
    measure_files,
    write_output_files,
)
from lacy.compress.texts import read_texts
from lacy.disk import OWNER_FILE, can_replace, lock, write_atomic
from lacy.errors import LacyError
from lacy.results import answer_key

Notify = Callable[[str], object]

STAGE_FILE, MEASURED_FILE = "stage.json", "measured.json"
BEGUN_FILE = "begun.json"
"""File with the key of the stage that was started in a folder."""

ORIGINAL = "original"
"""Name of the stage that is the model as it was given."""

REPORT_FILE = "compression.json"
"""File with everything that was done and measured."""


@dataclass(frozen=True)
class Stage:
    """The original model, the model after a step, or an output."""

    name: str
    kind: str
    path: Path
    """A folder, or a GGUF file."""
    bytes: int
    """Bytes of the files with weights."""
    did: Mapping[str, Any]
    """What the step reports about itself."""
    measured: StageMeasured
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Compression:
    """A plan that was carried out."""

    model: str
    stages: tuple[Stage, ...]
    """The original first, then steps and outputs in order."""
    environment: Mapping[str, Any]
    plan: Mapping[str, Any]
    texts: Mapping[str, Any]

    @property
    def original(self) -> Stage:
        """The model as it was given."""
        return self.stages[0]


def compress(
    model: str | Path,
    data: str | Path,
    plan: CompressPlan,
    out: str | Path,
    *,
    held_out: str | Path | None = None,
    only: str | None = None,
    notify: Notify = lambda sentence: None,
    on_stage: Callable[[Stage, Stage], object] = lambda original, stage: None,
) -> Compression:
    """Compress a model by a plan, and measure every stage. The original is only read.

    Args:
        model: name of a model as in ``lacy.model.load_model``.
        data: texts of the domain, as in ``lacy.corpus.read``.
        plan: steps and outputs.
        out: folder of the results; the same call continues a stopped one.
        held_out: other texts for measuring; by default a fifth of ``data``.
        only: use only texts for which this field is true.
        notify: receives sentences about what is done.
        on_stage: called with the original stage and each stage that is done, old ones included.

    Raises:
        LacyError: E320, the plan cannot be carried out; E150, another process writes to ``out``;
            E323, ``out`` and the model are in each other; E19 and E324, there is no disk space; and
            the errors of ``load_model``, ``read`` and the steps.
    """
    from lacy.model import load_model
    from lacy.run import environment
    from lacy.scorecard import weights_of

    check_compress_plan(plan)
    out = Path(out)
    loaded = load_model(model)
    check_before_work(loaded, plan, out, model)
    with lock(out):
        texts = read_texts(data, held_out, loaded.tokenizer, plan, only=only, notify=notify)
        context = Context(plan, texts, out, notify)
        _empty(context.scratch, "Temporary files of lacy compress.\n")
        key = answer_key(weights_of(loaded), texts.digest(), _common(plan))
        done = [_original(loaded, model, out, key, context)]
        on_stage(done[0], done[0])
        current, before, context.teacher = str(model), key, str(model)
        for step in planned(plan):
            stage_key = step.key(before)
            stage = _stage(step, current, stage_key, out, context)
            if not step.is_output:
                current, before = str(stage.path), stage_key
            if step.kind == "vocabulary":
                context.teacher = current  # a teacher needs the same tokens as its student
            done.append(stage)
            on_stage(done[0], stage)
        found = Compression(
            Path(str(model)).name, tuple(done), environment(), asdict(plan),
            {"fit": len(texts.fit), "held_out": len(texts.held_out)},
        )  # fmt: skip
        write_atomic(out / REPORT_FILE, json.dumps(compression_data(found), indent=2) + "\n")
        shutil.rmtree(context.scratch, ignore_errors=True)
    return found


def compression_data(done: Compression) -> dict[str, Any]:
    """Return a compression as plain data, without folders of this machine."""
    stages = [
        {
            "name": s.name, "kind": s.kind, "bytes": s.bytes, "settings": dict(s.settings),
            "did": dict(s.did), "seconds": s.seconds, "measured": s.measured.to_data(),
        }
        for s in done.stages
    ]  # fmt: skip
    return {
        "model": done.model, "environment": dict(done.environment), "plan": dict(done.plan),
        "texts": dict(done.texts), "stages": stages,
    }  # fmt: skip


def _common(plan: CompressPlan) -> dict[str, Any]:
    """Return the settings that every stage depends on."""
    values = asdict(plan)
    return {key: value for key, value in values.items() if key not in ("steps", "outputs")}


def _original(loaded: Any, model: str | Path, out: Path, key: str, context: Context) -> Stage:
    """Measure the model as it was given."""
    folder = out / ORIGINAL
    place = loaded.path or Path(model)
    shown = Path(model) if Path(model).suffix == ".gguf" else place
    measured = _read_measured(folder, key)
    if measured is None:
        context.notify("Original model")
        measured = measure_files(ORIGINAL, place, loaded, context)
        _write_measured(folder, key, measured)
    return Stage(ORIGINAL, ORIGINAL, shown, _weight_bytes(shown), {}, measured)


def _stage(step: Planned, before: str, key: str, out: Path, context: Context) -> Stage:
    """Return a stage: the stored one, or a new one."""
    folder = out / ("outputs" if step.is_output else "steps") / step.name
    record = _read(folder / STAGE_FILE)
    if record is None or record["key"] != key or not (folder / record["files"]).exists():
        context.notify(f"{step.name}: {step.described()}".removesuffix(": "))
        _begin(folder, key)
        begin = time.perf_counter()
        apply = write_output_files if step.is_output else apply_step
        path, did = apply(step, before, folder, context)
        record = {
            "key": key, "files": path.name, "did": did, "settings": asdict(step.settings),
            "seconds": round(time.perf_counter() - begin, 1),
        }  # fmt: skip
        write_atomic(folder / STAGE_FILE, json.dumps(record, indent=2) + "\n")
    else:
        context.notify(f"{step.name}: done already")
    shutil.rmtree(folder / TRAINING, ignore_errors=True)
    path = folder / record["files"]
    measured = _read_measured(folder, key)
    if measured is None:
        measured = measure_files(step.kind, path, None, context)
        _write_measured(folder, key, measured)
    return Stage(
        step.name, step.kind, path, _weight_bytes(path), record["did"], measured,
        record["settings"], record["seconds"],
    )  # fmt: skip


def _begin(folder: Path, key: str) -> None:
    """Replace an older stage with an empty folder, unless this stage was begun there and stopped.

    Raises:
        LacyError: E16, the folder contains something that lacy did not write.
    """
    if (_read(folder / BEGUN_FILE) or {}).get("key") == key:
        return
    _empty(folder, "A stage of lacy compress; replaced as a whole.\n")
    write_atomic(folder / BEGUN_FILE, json.dumps({"key": key}) + "\n")


def _empty(folder: Path, owner: str) -> None:
    """Make an empty folder; one that lacy wrote there before is deleted.

    Raises:
        LacyError: E16, the folder contains something that lacy did not write.
    """
    if folder.exists():
        if not can_replace(folder):
            raise LacyError("E16", path=folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_atomic(folder / OWNER_FILE, owner)


def _weight_bytes(path: Path) -> int:
    """Return the bytes of the files with weights."""
    from lacy.efficiency import file_sizes

    return file_sizes(path).weights


def _read(path: Path) -> dict[str, Any] | None:
    """Read a record; None if there is none or it is damaged."""
    with suppress(OSError, LacyError, ValueError):
        found = parse_json(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _read_measured(folder: Path, key: str) -> StageMeasured | None:
    record = _read(folder / MEASURED_FILE)
    if record is None or record.get("key") != key:
        return None
    with suppress(KeyError, TypeError, ValueError):
        return StageMeasured.from_data(record["measured"])
    return None


def _write_measured(folder: Path, key: str, measured: StageMeasured) -> None:
    text = json.dumps({"key": key, "measured": measured.to_data()}) + "\n"
    write_atomic(folder / MEASURED_FILE, text)
