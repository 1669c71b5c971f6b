"""``lacy export``: write a model as a file that other engines read."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lacy.cli.terminal import facts, say
from lacy.config import Positional
from lacy.errors import LacyError


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
    precision: Literal["f32", "f16", "q8_0"] = "f16"
    """Precision of the weights; f32 is exact, f16 nearly so, q8_0 half the size of f16."""


FLAGS = ExportConfig
EXAMPLES = """
lacy export runs/mine --to gguf --out mine.gguf
"""


def run(config: ExportConfig) -> int:
    """Write the file and print what is in it."""
    from lacy.model import load_model, write_gguf

    loaded = load_model(config.model)
    name = Path(config.model)
    out = config.out or name.with_name(f"{name.name}.{config.to}")
    if out.is_dir():
        do = f"name a file: --out {out / name.name}.{config.to}"
        raise LacyError("E12", key="out", value=out, why="it is a folder", do=do)
    written = write_gguf(loaded, out, config.precision)
    values = {
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "precision": config.precision,
        "bytes": written.stat().st_size,
        "tokens": len(loaded.tokenizer),
        "<CALL>": loaded.call_id,
        "context": loaded.context,
    }
    facts(str(written), values)
    say(f"Serve it with llama.cpp: llama-server --model {written}", file=sys.stderr)
    return 0
