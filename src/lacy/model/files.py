"""Check the files in a model folder before any weights are read.

Folders come from many tools and may contain adapters, quantised weights, GGUF, pickles, custom code
or truncated downloads. The errors raised here name the problem and what to do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._parse import parse_json
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.quantized import require_readable

if TYPE_CHECKING:
    import torch

META = "lacy.json"
"""File that lacy writes beside the weights."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

ONNX = "model.onnx"
"""File with the graph of a model that ``lacy.runtimes`` exported for ONNX Runtime."""

GENERATION = "generation_config.json"
"""Settings of ``generate``, including the tokens at which a model stops."""

PACKED = ("I8", "U8", "F8_E4M3", "F8_E5M2", "I32", "U32", "I4", "F4")
"""Dtypes of quantised weights; they are useless without their scales."""

OTHERS = ("*.safetensors", "*.h5", "*.msgpack", "*.onnx", "*.bin", "*.pt", "*.pth")
"""Patterns of weight files of other programs or with other names."""

_LFS = b"version https://git-lfs"

_LOG = logging.getLogger(__name__)


def newest_complete(checkpoints: list[Path]) -> Path:
    """Return the first complete checkpoint of a list; log a warning about damaged ones.

    Raises:
        LacyError: if none is complete, the error of the first one.
    """
    failures: list[LacyError] = []
    for place in checkpoints:
        try:
            check_complete(place)
        except LacyError as error:
            failures.append(error)
            continue
        for failure in failures:
            _LOG.warning("%s; using the older checkpoint %s", failure.what, place)
        return place
    raise failures[0]


def check_complete(place: Path) -> None:
    """Raise an error unless config and all weight files are present, complete and readable.

    Raises:
        LacyError: E11, torchao is missing; E55, no model; E56, damaged; E130, quantised otherwise
            than to int8 by torchao; E131, an adapter; E310, an export for another runtime.
    """
    reject_other_formats(place)
    config = read_model_json(place / "config.json")
    quantised = config.get("quantization_config")
    if quantised is not None:
        require_readable(place, quantised)
    if (place / GENERATION).is_file():  # check it, because transformers ignores a damaged one
        read_model_json(place / GENERATION)
    for name in sorted(_weight_files(place)):
        _check_file(place, name)
    for name, (kind, shape) in stored_tensors(place).items():
        if kind in PACKED and len(shape) > 1 and name.endswith("weight"):
            raise LacyError("E130", path=place, method=f"{name} holds {kind} numbers")


def stored_tensors(place: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype (``F32``, ``BF16``, ...) and shape of all weights by name from the headers."""
    from safetensors import safe_open

    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file in sorted(_weight_files(place)):
        with safe_open(place / file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                part = opened.get_slice(name)
                found[name] = (part.get_dtype(), tuple(part.get_shape()))
    return found


def stored_rows(
    place: Path, choose: Callable[[str, Sequence[int]], list[int]]
) -> Iterator[tuple[str, tuple[int, ...], torch.Tensor]]:
    """Yield name, shape and some rows of all weights, without reading the others.

    Args:
        place: a complete model folder.
        choose: returns the indices of the rows to read, given the name and the shape.
    """
    import torch
    from safetensors import safe_open

    for file in sorted(_weight_files(place)):
        with safe_open(place / file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                part = opened.get_slice(name)
                shape = tuple(part.get_shape())
                rows = choose(name, shape)
                if rows == list(range(len(rows))):
                    yield name, shape, part[: len(rows)] if shape else opened.get_tensor(name)
                else:
                    yield name, shape, torch.cat([part[row : row + 1] for row in rows])


def reject_other_formats(place: Path) -> None:
    """Raise an error for a folder in a known format that lacy does not read."""
    if (place / ADAPTER).is_file():
        try:
            base = read_model_json(place / ADAPTER).get("base_model_name_or_path")
        except LacyError:
            base = None
        named = str(base) if base else "a base model that it does not name"
        raise LacyError("E131", path=place, base=named)
    if any(place.glob("*.safetensors")):
        return
    if (place / ONNX).is_file():
        raise LacyError("E310", path=place, runtime="ONNX Runtime")
    pickled = [p for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in place.glob(kind)]
    if pickled and not (place / INDEX).is_file():
        do = (
            'if you trust it, convert it: python -c "from transformers import '
            f"AutoModelForCausalLM as M; M.from_pretrained('{place}').save_pretrained('NEW')\", "
            "and copy the tokenizer's files to NEW"
        )
        raise LacyError("E55", path=place, why="it holds only pickled weights", do=do)


def read_model_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file of the model.

    Raises:
        LacyError: E56, it cannot be read or is not an object.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged_model(file.parent, f"{file.name}: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise damaged_model(file.parent, f"{file.name} is not an object")
    return content


def damaged_model(place: Path | str, why: str, do: str = "") -> LacyError:
    """Return the error E56 with advice that depends on the model's origin."""
    if not do and (Path(place) / META).is_file():
        do = "use another checkpoint of that run, or train again"
    return LacyError("E56", path=place, why=why, do=do or "download or copy the model again")


def _weight_files(place: Path) -> set[str]:
    index = place / INDEX
    if not index.is_file() or (place / WEIGHTS).is_file():  # same precedence as transformers
        return {WEIGHTS}
    listed = read_model_json(index).get("weight_map")
    names = set(listed.values()) if isinstance(listed, dict) else set()
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise damaged_model(place, f"{INDEX} names no files of this folder")
    return names


def _missing(place: Path, name: str) -> LacyError:
    """Return the error E56 for a missing weight file; it names the files that exist instead."""
    others = sorted(file.name for kind in OTHERS for file in place.glob(kind))
    why = f"{name} is missing"
    if not others or name != WEIGHTS:
        return damaged_model(place, why)
    if any(re.fullmatch(r"model-\d+-of-\d+\.safetensors", other) for other in others):
        return damaged_model(
            place, f"{INDEX} is missing, which names its {len(others)} weight files"
        )
    do = f"save it as {name} with transformers (save_pretrained), or fetch that file"
    return damaged_model(place, f"{why}; there is {', '.join(others[:3])}", do)


def _check_file(place: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with (place / name).open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                why = f"{name} is a git-LFS pointer, not the weights themselves"
                raise damaged_model(place, why, "fetch them: git lfs pull")
        with safe_open(place / name, framework="pt"):
            pass
    except FileNotFoundError:
        raise _missing(place, name) from None
    except (SafetensorError, OSError) as error:
        raise damaged_model(place, f"{name}: {first_line(error)}") from error
