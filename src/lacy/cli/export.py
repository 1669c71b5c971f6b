"""``lacy export``: write a model as a file that other engines read."""

from __future__ import annotations

import itertools
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lacy.cli.terminal import facts, say
from lacy.config import Positional
from lacy.errors import LacyError

_TEXTS = 256
"""Maximum number of texts that are read for a separate gate."""


@dataclass
class ExportConfig:
    """Write a model in the format of another engine."""

    model: Positional[str]
    """Folder of a model or a run."""
    to: Literal["gguf"] = "gguf"
    """Format: gguf for llama.cpp and engines built on it; vLLM and transformers read the model's
    folder as it is."""
    out: Path | None = None
    """File to write; by default MODEL.gguf beside the model."""
    precision: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "iq4_nl", "q4_0"] = (
        "f16"
    )
    """Precision of the weights: f32 is exact, f16 nearly exact, q8_0 has half the size of f16; 5
    and 4 bits have about a third of it, with embedding and head in q8_0."""
    texts: Path | None = None
    """For a model with a separate gate: texts like those that it will write (a file or a folder),
    so that a server reports the gate's tokens; by default made-up biographies."""


FLAGS = ExportConfig
EXAMPLES = """
lacy export runs/mine --to gguf --out mine.gguf
"""


def run(config: ExportConfig) -> int:
    """Write the file and print what is in it."""
    from lacy.model import gate_of, load_model, write_gguf

    loaded = load_model(config.model)
    name = Path(config.model)
    out = config.out or name.with_name(f"{name.name}.{config.to}")
    if out.is_dir():
        do = f"name a file: --out {out / name.name}.{config.to}"
        raise LacyError("E12", key="out", value=out, why="it is a folder", do=do)
    gated = gate_of(loaded.model) == "sigmoid"
    if gated:
        say("Reading texts to make the gate readable through a server ...", file=sys.stderr)
    written = write_gguf(loaded, out, config.precision, _texts(config.texts) if gated else ())
    values = {
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "precision": config.precision,
        "bytes": written.stat().st_size,
        "tokens": len(loaded.tokenizer),
        "<CALL>": f"{loaded.call_id}, {'a separate gate' if gated else 'ends generation'}",
        "context": loaded.context,
    }
    facts(str(written), values)
    say(
        f"Serve it with llama.cpp (pip install 'lacy[llamacpp]'):\n{_serve(written)}",
        file=sys.stderr,
    )
    return 0


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
