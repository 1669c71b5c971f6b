"""What a model's folder holds, looked at before any weight is read.

Folders come from many tools: adapters, quantised weights, GGUF, pickles, models that bring their
own code, downloads that were cut. Each of these is named here, with what to do about it.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.errors import LacyError

META = "lacy.json"
"""Beside the weights of our models."""

WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"

_LFS = b"version https://git-lfs"

_LOG = logging.getLogger(__name__)


def resolve(path: str | Path) -> Path | str:
    """The folder that holds the weights: ``path``, its ``model``, or its newest whole checkpoint.

    Where the newest checkpoint of a run is damaged, an older one is taken, with a warning. A text
    that names no folder here is returned as it is: a name on the Hub.

    Raises:
        LacyError: E55 for a folder without a model, E13 for a path that cannot be a Hub name, E131
            for an adapter, E134 for GGUF, E56 if the run's only checkpoints are damaged.
    """
    folder = Path(path)
    if not folder.exists():
        text = str(path)
        if isinstance(path, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise LacyError("E13", path=path, do="check the spelling")
        return text
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    checkpoints = sorted((folder / "checkpoints").glob("step-*/config.json"), reverse=True)
    if checkpoints:
        return newest_whole([config.parent for config in checkpoints])
    refuse_other_kinds(folder)
    why = "it is a file" if folder.is_file() else "no config.json in it"
    do = "give the folder of a model or of a training run"
    raise LacyError("E55", path=path, why=why, do=do)


def newest_whole(checkpoints: list[Path]) -> Path:
    """The first of these checkpoints that is whole; a warning names those that are not.

    Raises:
        LacyError: that of the first one, if none is whole.
    """
    failures: list[LacyError] = []
    for place in checkpoints:
        try:
            check_whole(place)
        except LacyError as error:
            failures.append(error)
            continue
        for failure in failures:
            _LOG.warning("%s; using the older checkpoint %s", failure.what, place)
        return place
    raise failures[0]


def check_whole(place: Path) -> None:
    """Raise unless config and every weight file are there, of their full length, and plain.

    Raises:
        LacyError: E55 no model, E56 damaged, E130 quantised, E131 an adapter, E134 GGUF.
    """
    refuse_other_kinds(place)
    config = read_json(place / "config.json")
    quantised = config.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise LacyError("E130", path=place, method=method or "an unknown method")
    if (place / "generation_config.json").is_file():  # transformers goes on without: no ends
        read_json(place / "generation_config.json")
    for name in sorted(_weight_files(place)):
        _check_file(place, name)


def refuse_other_kinds(place: Path) -> None:
    """Raise for a folder or file whose model we know the kind of, but do not open."""
    if place.is_file():
        with contextlib.suppress(OSError), place.open("rb") as file:
            if place.suffix == ".gguf" or file.read(4) == b"GGUF":
                raise LacyError("E134", path=place)
        return
    if (place / ADAPTER).is_file():
        try:
            base = read_json(place / ADAPTER).get("base_model_name_or_path")
        except LacyError:
            base = None
        named = str(base) if base else "a base model that it does not name"
        raise LacyError("E131", path=place, base=named)
    if any(place.glob("*.safetensors")):
        return
    if any(place.glob("*.gguf")):
        raise LacyError("E134", path=place)
    pickled = [p for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in place.glob(kind)]
    if pickled and not (place / INDEX).is_file():
        do = (
            'convert it where you trust it: python -c "from transformers import '
            f"AutoModelForCausalLM as M; M.from_pretrained('{place}').save_pretrained('NEW')\", "
            "and copy the tokenizer's files to NEW"
        )
        raise LacyError("E55", path=place, why="it holds only pickled weights", do=do)


def read_json(file: Path) -> dict[str, Any]:
    """An object from a file of the model.

    Raises:
        LacyError: E56 if it cannot be read or is no object.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(file.parent, f"{file.name}: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise damaged(file.parent, f"{file.name} is not an object")
    return content


def damaged(place: Path | str, why: str, do: str = "") -> LacyError:
    """E56 with advice that fits where the model comes from."""
    if not do and (Path(place) / META).is_file():
        do = "take another checkpoint of that run, or train again"
    return LacyError("E56", path=place, why=why, do=do or "fetch or copy the model again")


def first_line(error: BaseException) -> str:
    """What an error says, in one short line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _weight_files(place: Path) -> set[str]:
    index = place / INDEX
    if not index.is_file():
        return {WEIGHTS}
    listed = read_json(index).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) else set()
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise damaged(place, f"{INDEX} names no files of this folder")
    return names


def _check_file(place: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with (place / name).open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                why = f"{name} is a git-LFS pointer, not the weights themselves"
                raise damaged(place, why, "fetch them: git lfs pull")
        with safe_open(place / name, framework="pt"):
            pass
    except FileNotFoundError:
        raise damaged(place, f"{name} is missing") from None
    except (SafetensorError, OSError) as error:
        raise damaged(place, f"{name}: {first_line(error)}") from error
