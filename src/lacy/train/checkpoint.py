"""Checkpoints: a model folder with the trainer's state beside it, whole or absent.

``checkpoints/step-00000100/`` opens like any model (``load_model``, plain ``transformers``);
``trainer.safetensors`` and ``trainer.json`` hold what going on bit for bit needs: optimizer,
running quantile, torch's random state, half-filled log window. The position in the data and the
learning rate are functions of the step. A folder takes its name only when all of it is on the disk,
so a process that is killed while writing leaves nothing that looks like a checkpoint.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.model import newest_whole, write_model
from lacy.run import replace_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

STABLE = "stable"
"""The folder of the checkpoint before the decay, which forks start from."""
FOLDER = "checkpoints"
"""The folder of checkpoints in a run folder."""
TENSORS, INFO = "trainer.safetensors", "trainer.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Saved:
    """What lies beside the weights: numbers, and tensors by group and name."""

    path: Path
    info: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.info["step"])

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group, as they were given to ``write_checkpoint``."""
        prefix = f"{name}|"
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def write_checkpoint(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    meta: dict[str, Any],
    info: dict[str, Any],
    groups: dict[str, dict[str, Tensor]],
) -> None:
    """Write a checkpoint as a whole.

    Args:
        path: its folder.
        model: the weights.
        tokenizer: beside them.
        meta: for ``lacy.json``.
        info: numbers, ``step`` among them.
        groups: tensors by group (``optimizer``, ``selector``, ...) and name.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{group}|{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    with replace_folder(path) as folder:
        write_model(folder, model, tokenizer, meta)
        save_file(tensors, folder / TENSORS)
        content = json.dumps({"format": FORMAT, **info}, indent=2) + "\n"
        (folder / INFO).write_text(content, encoding="utf-8")


def read_checkpoint(path: Path) -> Saved:
    """What lies beside the weights (these are read by ``lacy.model.io.read_model``).

    Raises:
        LacyError: E49 if it is missing, damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        info = parse_json((path / INFO).read_text(encoding="utf-8"))
        tensors = load_file(path / TENSORS)
        known = info["format"] == FORMAT and int(info["step"]) >= 0
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        why = f"its trainer state is missing or damaged ({str(error).splitlines()[0][:120]})"
        raise LacyError("E49", path=path, why=why, do=_INSTEAD) from error
    if not known:
        why = f"it has format {info['format']}, this version reads {FORMAT}"
        raise LacyError("E49", path=path, why=why, do=_INSTEAD)
    return Saved(path, info, tensors)


_INSTEAD = "take another checkpoint; its weights alone can be used with --init-from"


def checkpoint_path(out: Path, step: int) -> Path:
    """Where the checkpoint of a step lies; names sort by step."""
    return out / FOLDER / f"step-{step:08d}"


def checkpoints(out: Path) -> list[Path]:
    """All whole checkpoints of a run, oldest first."""
    return sorted(path for path in (out / FOLDER).glob("step-*") if (path / INFO).is_file())


def candidates(out: Path) -> list[Path]:
    """Checkpoints from which a run may resume, best first; the one before its decay is last."""
    stable = out / STABLE
    return [*reversed(checkpoints(out)), *([stable] if (stable / INFO).is_file() else [])]


def newest(out: Path) -> Path | None:
    """The newest checkpoint of a run, or ``None``."""
    found = checkpoints(out)
    return found[-1] if found else None


def put_aside(path: Path) -> None:
    """Rename an unreadable checkpoint, so that it no longer counts as one of the newest."""
    aside = path.with_name(f"unreadable-{path.name}")
    if path.is_dir() and path.parent.name == FOLDER:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)


def prune(out: Path, keep: int) -> None:
    """Delete all but the newest; each leaves its name first, so that no half one is ever seen."""
    for path in checkpoints(out)[:-keep]:
        gone = path.with_name(f".{path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def fork_source(path: Path) -> Path:
    """The checkpoint that ``--fork PATH`` means: itself, or a run's last one before its decay.

    Raises:
        LacyError: E49 if there is none.
    """
    for place in (path, path / STABLE):
        if (place / INFO).is_file():
            return place
    found = checkpoints(path)
    if found:
        return newest_whole(found[::-1])
    why = "there is no checkpoint in it" if path.exists() else "there is no such folder"
    do = "give a run's folder, or one of its checkpoints/step-*"
    raise LacyError("E49", path=path, why=why, do=do)


def random_state() -> dict[str, Tensor]:
    """Random states of torch (dropout draws from them)."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Go on with the random states of ``random_state``."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
