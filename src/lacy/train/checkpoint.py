"""Write and read checkpoints: what has been trained, and the trainer's state.

``checkpoints/step-00000100/`` of a full training can be loaded like any model (``load_model``,
plain ``transformers``). If only a part of a model is trained, it contains only this part
(``Trained``). ``trainer.safetensors`` and ``trainer.json`` contain everything needed to resume bit
for bit: optimizers, running quantile, torch's random state, and the open window of metrics. The
position in the data and the learning rate are functions of the step. A folder gets its name only
when all of it is on disk, so a killed process leaves nothing that looks like a checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.model import META, newest_complete
from lacy.run import replace_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from lacy.corpus import PackedData
    from lacy.train.config import TrainConfig
    from lacy.train.processes import Processes
    from lacy.train.trained import Trained

STABLE = "stable"
"""Name of the folder of the checkpoint before the decay; forks start from it."""
FOLDER = "checkpoints"
"""Name of the folder of checkpoints in a run folder."""
TENSORS, INFO = "trainer.safetensors", "trainer.json"
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Saved:
    """The trainer's state in a checkpoint: numbers, and tensors by group and name."""

    path: Path
    info: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.info["step"])

    def group(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one group as passed to ``write_checkpoint``."""
        prefix = f"{name}|"
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run that wrote the checkpoint; empty if they are unknown."""
        try:
            return dict(self._meta()["training"]["settings"])
        except (KeyError, TypeError):
            return {}

    def preset(self) -> str | None:
        """Return the preset of a model that began with new weights; None for any other."""
        name = self._meta().get("preset")
        return name if isinstance(name, str) else None

    def _meta(self) -> dict[str, Any]:
        """Return ``lacy.json``; empty if it cannot be read."""
        try:
            return dict(parse_json((self.path / META).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}


def write_checkpoint(
    path: Path,
    trained: Trained,
    tokenizer: PreTrainedTokenizerFast,
    *,
    meta: dict[str, Any],
    info: dict[str, Any],
    groups: dict[str, dict[str, Tensor]],
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: folder of the checkpoint.
        trained: the model, and which part of it is trained.
        tokenizer: its tokenizer.
        meta: entries of ``lacy.json``.
        info: numbers, including ``step``.
        groups: tensors by group (``optimizer``, ``quantile``, ...) and name.
        weights: the whole weights, if the model has only parts of them.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{group}|{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    about: dict[str, Any] = {"format": FORMAT, "depth": trained.depth}
    if trained.base is not None:
        about["base"] = asdict(trained.base)
    with replace_folder(path) as folder:
        trained.write(folder, tokenizer, meta, weights)
        save_file(tensors, folder / TENSORS)
        content = json.dumps({**about, **info}, indent=2) + "\n"
        (folder / INFO).write_text(content, encoding="utf-8")


def read_checkpoint(path: Path) -> Saved:
    """Read the trainer's state of a checkpoint (``setup`` reads the weights).

    Raises:
        LacyError: E49, it is missing, damaged or has another format.
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


_INSTEAD = "use another checkpoint; the weights of this one can be used with --model"


def checkpoint_path(out: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint; names sort by step."""
    return out / FOLDER / f"step-{step:08d}"


def checkpoints(out: Path) -> list[Path]:
    """Return all complete checkpoints of a run, oldest first."""
    return sorted(path for path in (out / FOLDER).glob("step-*") if (path / INFO).is_file())


def resume_candidates(out: Path) -> list[Path]:
    """Return the checkpoints to resume from, best first; the one before the decay is last."""
    stable = out / STABLE
    return [*reversed(checkpoints(out)), *([stable] if (stable / INFO).is_file() else [])]


def newest(out: Path) -> Path | None:
    """Return the newest checkpoint of a run, or None."""
    found = checkpoints(out)
    return found[-1] if found else None


def put_aside(path: Path) -> None:
    """Rename an unreadable checkpoint, so that it no longer counts as a checkpoint."""
    aside = path.with_name(f"unreadable-{path.name}")
    if path.is_dir() and path.parent.name == FOLDER:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)


def prune(out: Path, keep: int) -> None:
    """Delete all but the newest ``keep``; rename first, so that no partial one is ever visible."""
    for path in checkpoints(out)[:-keep]:
        gone = path.with_name(f".{path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def fork_source(path: Path) -> Path:
    """Return the checkpoint for ``--fork PATH``: PATH itself, or the run's last before its decay.

    Raises:
        LacyError: E49, there is none.
    """
    for place in (path, path / STABLE):
        if (place / INFO).is_file():
            return place
    found = checkpoints(path)
    if found:
        complete = [place for place in found if (place / "config.json").is_file()]
        return newest_complete(complete[::-1]) if complete else found[-1]
    why = "there is no checkpoint in it" if path.exists() else "there is no such folder"
    do = "give a run's folder, or one of its checkpoints/step-*"
    raise LacyError("E49", path=path, why=why, do=do)


@dataclass
class StartingPoint:
    """The checkpoint that a run starts from: its own, one that it is forked from, or none."""

    saved: Saved | None = None
    forked: Saved | None = None
    trained: Trained | None = None
    """The model of ``saved``."""
    unreadable: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_start(
    config: TrainConfig,
    data: dict[str, Any],
    open_model: Callable[[Saved], Trained],
    *,
    resume: bool,
) -> StartingPoint:
    """Find the newest readable checkpoint of this run, or the one that it is forked from.

    Args:
        config: the settings of the run.
        data: ``data_fingerprint`` of its training data.
        open_model: loads the model of a checkpoint; if this fails, the checkpoint is unreadable.
        resume: True looks for checkpoints of this run.

    Raises:
        LacyError: E49, the run has checkpoints but none is readable, or the data have changed.
    """
    start = StartingPoint()
    first: LacyError | None = None
    for path in resume_candidates(config.out) if resume else ():
        try:
            saved = read_checkpoint(path)
            same_data = saved.info.get("data") == data
            start.trained = open_model(saved) if same_data else None
        except LacyError as error:
            if error.code == "E172":  # the checkpoint is intact, but its base is not
                raise
            first = first or error
            start.unreadable.append(path)
            start.notes.append(f"{path} cannot be read and was renamed: {error.what}")
            continue
        if not same_data:
            why = "the data have changed since it was written"
            do = "restore the old data, or start again in another folder (--out)"
            raise LacyError("E49", path=path, why=why, do=do)
        start.saved = saved
        return start
    if first is not None:
        raise first
    if config.fork is not None:
        start.forked = read_checkpoint(fork_source(config.fork))
    return start


def data_fingerprint(data: PackedData, replay: PackedData | None = None) -> dict[str, Any]:
    """Return values that identify the data; they must be equal when a run is resumed."""
    info = data.info
    more = {} if replay is None else {"replay": data_fingerprint(replay)}
    return {**more, "tokenizer": info.tokenizer, "context": info.context, "rows": info.rows,
            "tokens": info.tokens, "flags": info.flags,
            **({"digests": info.digests} if info.digests else {})}  # fmt: skip


def random_state(processes: Processes) -> dict[str, Tensor]:
    """Return the states of torch's random generators in all processes, which dropout uses."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    every = processes.objects(state)
    return {_of_rank(k, rank): each[k] for rank, each in enumerate(every) for k in each}


def set_random_state(state: dict[str, Tensor], rank: int = 0, seed: int = 0) -> None:
    """Restore the state returned by ``random_state``.

    Args:
        state: the state of a run with any number of processes.
        rank: this process; one that did not exist then gets a new state.
        seed: the seed of the run.
    """
    cpu, cuda = state.get(_of_rank("cpu", rank)), state.get(_of_rank("cuda", rank))
    if cpu is None and rank:
        torch.manual_seed((seed + rank) % 2**63)
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)


def _of_rank(name: str, rank: int) -> str:
    """Return the name of a state of a process; that of the first is the name itself."""
    return f"{name}.{rank}" if rank else name
