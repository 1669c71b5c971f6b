"""``lacy export``: write a model as a file that other engines read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.terminal import facts, say
from lacy.config import Positional
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.model import Loaded


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
    from lacy.model import load_model

    loaded = load_model(config.model)
    name = Path(config.model)
    out = config.out or name.with_name(f"{name.name}.{config.to}")
    if out.is_dir():
        do = f"name a file: --out {out / name.name}.{config.to}"
        raise LacyError("E12", key="out", value=out, why="it is a folder", do=do)
    written = _WRITERS[config.to](loaded, out, config)
    count = sum(p.numel() for p in loaded.model.parameters())
    facts(
        str(written),
        {
            "parameters": count,
            "numbers": config.precision,
            "bytes": written.stat().st_size,
            "tokens": len(loaded.tokenizer),
            "<CALL>": loaded.call_id,
            "context": loaded.context,
        },
    )
    say(f"Serve it: {_SERVE[config.to].format(out=written)}", file=sys.stderr)
    return 0


def _gguf(loaded: Loaded, out: Path, config: ExportConfig) -> Path:
    from lacy.model import write_gguf

    return write_gguf(loaded, out, config.precision)


_WRITERS: dict[str, Callable[[Loaded, Path, ExportConfig], Path]] = {"gguf": _gguf}
"""The writer of each format in ``ExportConfig.to``."""

_SERVE = {"gguf": "python -m llama_cpp.server --model {out}"}
"""Command that serves a file of each format."""
