"""``lacy export``: write a model as a file that other engines read."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.cli.terminal import facts, say
from lacy.config import Positional
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.model import Loaded

_TEXTS = 256
"""Maximum number of texts that are read for a separate gate."""


@dataclass
class ExportConfig:
    """Write a model in the format of another engine."""

    model: Positional[str]
    """Folder of a model or a run."""
    to: Literal["gguf", "safetensors", "onnx"] = "gguf"
    """Format: gguf for llama.cpp and engines built on it; safetensors for transformers, torchao and
    vLLM; onnx for ONNX Runtime."""
    out: Path | None = None
    """File (gguf) or folder to write; by default beside the model."""
    precision: str | None = None
    """Precision of the weights. gguf: f32 is exact, f16 (the default) nearly exact, q8_0 has half
    the size of f16; q5_1, q5_0, q4_1, iq4_nl and q4_0 have about a third of it, with embedding
    and head in q8_0. safetensors: bf16 (the default), f16, f32, int8, int8_dynamic. onnx: f32 (the
    default), int8."""
    texts: Path | None = None
    """For gguf and a model with a separate gate: texts like those that it will write (a file or a
    folder), so that a server reports the gate's tokens; by default made-up biographies."""


FLAGS = ExportConfig
EXAMPLES = """
lacy export runs/mine --to gguf --out mine.gguf
lacy export runs/mine --to onnx --precision int8
"""


def run(config: ExportConfig) -> int:
    """Write the file or folder and print what is in it."""
    from lacy.model import load_model

    export = EXPORTS[config.to]
    precision = config.precision or export.precision
    name = Path(config.model)
    out = config.out or name.with_name(f"{name.name}{export.suffix.format(precision=precision)}")
    if export.is_file and out.is_dir():
        do = f"name a file: --out {out / name.name}.{config.to}"
        raise LacyError("E12", key="out", value=out, why="it is a folder", do=do)
    loaded = load_model(config.model)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    call = f"{loaded.call_id}, {_how_it_calls(loaded, config.to)}"
    written, hint = export.write(loaded, out, precision, config)
    values = {
        "parameters": parameters,
        "precision": precision,
        "bytes": _bytes(written),
        "tokens": len(loaded.tokenizer),
        "<CALL>": call,
        "context": loaded.context,
    }
    facts(str(written), values)
    say(hint, file=sys.stderr)
    return 0


@dataclass(frozen=True)
class Export:
    """How one format is written."""

    write: Callable[[Loaded, Path, Any, ExportConfig], tuple[Path, str]]
    """Writes the model; returns what it wrote, and a sentence about how to use it."""
    precision: str
    """The default precision."""
    suffix: str
    """What is added to the model's name by default."""
    is_file: bool = False


def _gguf(loaded: Loaded, out: Path, precision: Any, config: ExportConfig) -> tuple[Path, str]:
    from lacy.model import gate_of, write_gguf

    gated = gate_of(loaded.model) == "sigmoid"
    if gated:
        say("Reading texts to make the gate readable through a server ...", file=sys.stderr)
    written = write_gguf(loaded, out, precision, _texts(config.texts) if gated else ())
    return (
        written,
        f"Serve it with llama.cpp (pip install 'lacy[llamacpp]'):\n{_serve(written)}",
    )


def _safetensors(
    loaded: Loaded, out: Path, precision: Any, config: ExportConfig
) -> tuple[Path, str]:
    from lacy.runtimes import write_safetensors

    written = write_safetensors(loaded, out, precision)
    return written, f"Use it like any model: lacy generate {shlex.quote(str(written))} TEXT"


def _onnx(loaded: Loaded, out: Path, precision: Any, config: ExportConfig) -> tuple[Path, str]:
    from lacy.runtimes import write_onnx

    written = write_onnx(loaded, out, precision, notify=lambda text: say(text, file=sys.stderr))
    where = shlex.quote(str(written))
    return written, f"ONNX Runtime computes it in: lacy generate {where} TEXT"


EXPORTS = {
    "gguf": Export(_gguf, "f16", ".gguf", is_file=True),
    "safetensors": Export(_safetensors, "bf16", "-{precision}"),
    "onnx": Export(_onnx, "f32", "-onnx-{precision}"),
}
"""The formats by their names."""


def _how_it_calls(loaded: Loaded, to: str) -> str:
    from lacy.model import gate_of

    if not loaded.calls:
        return "only added, never written; lacy tune teaches the model to call"
    if gate_of(loaded.model) == "sigmoid":
        return "a separate gate"
    return "ends generation" if to == "gguf" else "the likeliest token where it calls"


def _bytes(written: Path) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    files = [written] if written.is_file() else [f for f in written.iterdir() if f.is_file()]
    return sum(file.stat().st_size for file in files)


def _texts(path: Path | None) -> list[str]:
    """Return the beginnings of the texts in a file or folder."""
    from lacy.corpus import read

    if path is None:
        return []
    return [document.text for document in itertools.islice(read(path), _TEXTS)]


def _serve(path: Path) -> str:
    """Return the command that serves a GGUF file with the llama.cpp of xllamacpp."""
    code = (
        "import xllamacpp as x; p = x.CommonParams(); "
        f"p.model.path, p.n_ctx, p.n_parallel, p.port = {str(path)!r}, 8192, 4, 8000; "
        "s = x.Server(p); input(s.listening_address + '/v1; Enter stops it ')"
    )
    return f"python -c {shlex.quote(code)}"
