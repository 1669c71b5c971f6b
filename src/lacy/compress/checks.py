"""Check before any work that a plan can be carried out on a model and this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lacy._text import format_bytes
from lacy.compress.settings import (
    CompressPlan,
    GgufOutput,
    Int8Output,
    LayersStep,
    OnnxOutput,
    Planned,
    RecoverStep,
    SparsityStep,
    VocabularyStep,
    WidthStep,
    planned,
)
from lacy.errors import LacyError

BYTES_PER_WEIGHT = 4
"""Bytes per weight of a stored step."""

COPIES_IN_TRAINING = 8
"""Copies of the weights on disk while a step trains: the model before and after, and two
checkpoints with the two moments of the optimizer. They are deleted when the step is done."""


def check_before_work(loaded: Any, plan: CompressPlan, out: Path, model: str | Path) -> None:
    """Check packages, architecture, sizes, folders and disk space.

    Args:
        loaded: the original model.
        plan: the plan.
        out: folder of the results.
        model: name of the original model.

    Raises:
        LacyError: E311, the model has int8 weights; E323, ``out`` and the model are in each other;
            E324, the disk is too small; E11, a package is not installed; and the errors of the
            steps that cannot be applied.
    """
    from lacy.model import require_unquantized

    require_unquantized(loaded.model, str(model), "compressed")
    _check_folders(out, model)
    steps = planned(plan)
    now = _Model(loaded, loaded.model)
    for step in steps:
        _check_step(step, now)
    _check_space(steps, loaded, out)


def _check_folders(out: Path, model: str | Path) -> None:
    """Raise E323 if the results would be written into the model's own folder, or around it."""
    place = Path(model)
    if not place.exists():
        return  # a short name or a name on the Hub
    source, target = place.resolve(), out.resolve()
    folder = source if source.is_dir() else source.parent
    inside = target == folder or (source.is_dir() and target.is_relative_to(folder))
    if inside or source.is_relative_to(target):
        raise LacyError("E323", out=out, model=model)


@dataclass
class _Model:
    """What is known of the model at a step before any work is done."""

    loaded: Any
    """The original."""
    structure: Any
    """A model with the shapes at this step; its values do not matter."""
    blocks: int = 0
    """Number of its blocks; 0 until a step removes some."""


def _check_step(step: Planned, now: _Model) -> None:
    """Check a step or output against the model before it, and note what the step changes."""
    match step.settings:
        case VocabularyStep():
            from lacy.vocabulary import check_trim

            check_trim(now.loaded)
        case LayersStep(remove=remove):
            from lacy.layerwise import find_blocks

            now.blocks = now.blocks or len(find_blocks(now.loaded.model))
            number = int(remove * now.blocks if remove < 1 else remove)
            if not 0 < number < now.blocks:
                some = "at least one must remain" if number else "at least one must be removed"
                raise LacyError("E290", number=number, blocks=now.blocks, why=some)
            now.blocks -= number
        case WidthStep(neurons=neurons, heads=heads, channels=channels):
            from lacy.prune import check_width, width_of_shares

            shares = {"neurons": neurons, "heads": heads, "channels": channels}
            now.structure = check_width(now.structure, **width_of_shares(now.structure, **shares))
        case SparsityStep(share=share, pattern=pattern):
            from lacy.prune import check_weights

            check_weights(now.structure, sparsity=share, pattern=pattern or None)
        case GgufOutput():
            from lacy.model import check_gguf
            from lacy.quantize import check_quantize

            check_gguf(now.loaded)
            if step.settings.rounds:
                check_quantize(replace(now.loaded, model=now.structure))
        case Int8Output():
            from lacy.runtimes import check_int8

            check_int8(now.loaded)
        case OnnxOutput():
            from lacy.runtimes import check_onnx

            check_onnx(now.loaded)
        case _:
            pass


def _check_space(steps: list[Planned], loaded: Any, out: Path) -> None:
    """Raise E324 if the results do not fit on the disk."""
    whole = BYTES_PER_WEIGHT * sum(p.numel() for p in loaded.model.parameters())
    copies = 1 + sum(1.0 if not step.is_output else 0.5 for step in steps)
    if any(isinstance(step.settings, RecoverStep) for step in steps):
        copies += COPIES_IN_TRAINING
    needed = whole * copies
    place = out if out.exists() else next(p for p in out.resolve().parents if p.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise LacyError("E324", out=out, needed=format_bytes(needed), free=format_bytes(free))
