"""``lacy data check``: check texts, packed data or a model before spending time on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import facts, note, print_report
from lacy.config import Positional
from lacy.errors import LacyError

MODEL_FILES = ("config.json", "adapter_config.json", "model/config.json", "checkpoints")
"""If a folder has one of these, it is a model or a training run."""


@dataclass
class CheckConfig(TextOptions):
    """Check texts, packed data or a model.

    Texts are read to their end; skipped ones are listed with their place. For packed data, and for
    texts with --tokenizer, the command shows the shares of marked tokens and coloured samples. A
    model must be complete; the command shows the tokens that begin and end its texts.
    """

    path: Positional[str] = field(kw_only=True)
    """A folder of `lacy data mark`, a model (a folder, a .gguf file or smollm2), a run, or texts:
    Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder), or
    hf:owner/name."""
    # [Check]
    what: Literal["auto", "texts", "marks", "model"] = "auto"
    """Type of PATH; by default determined from its files."""
    tokenizer: str | None = None
    """Check the marks of texts, counted in tokens of this tokenizer (a folder or a Hub name)."""
    samples: int = 3
    """Number of marked texts to show."""


FLAGS = CheckConfig
EXAMPLES = """
lacy data check wiki.jsonl.gz
lacy data check data/wiki --samples 5
lacy data check runs/mine
lacy data check smollm2
"""


def run(config: CheckConfig) -> int:
    """Check the path; return 3 if marks do not fit their tokens."""
    what = _kind(config) if config.what == "auto" else config.what
    if what == "marks":
        return _check_marks(config)
    if what == "model":
        _check_model(config.path)
    else:
        _check_texts(config)
    return 0


def _kind(config: CheckConfig) -> str:
    path = Path(config.path)
    if config.tokenizer is not None or (path / "lacy_data.json").exists():
        return "marks"
    if not path.exists():
        from lacy.model import SHORT_NAMES

        return "model" if config.path.lower() in SHORT_NAMES else "texts"
    is_model = path.suffix == ".gguf" or any((path / name).exists() for name in MODEL_FILES)
    return "model" if is_model or any(path.glob("*.gguf")) else "texts"


def _check_marks(config: CheckConfig) -> int:
    from rich.console import Console

    from lacy.annotate import check_marks
    from lacy.corpus import PackedData, ReadReport, load_tokenizer

    path = Path(config.path)
    if path.is_dir() and (path / "lacy_data.json").exists():
        found = check_marks(PackedData.load(path), samples=config.samples)
    elif config.tokenizer is None:
        do = f"lacy data check {path} --tokenizer FOLDER"
        why = "the marks of texts are counted in tokens of a tokenizer"
        raise LacyError("E12", key="tokenizer", value=None, why=why, do=do)
    else:
        tokenizer = load_tokenizer(config.tokenizer)
        documents = config.read(config.path, ReadReport(), limit=config.limit)
        found = check_marks(documents, tokenizer, samples=config.samples)
    Console().print(found)
    return 0 if found.sound else 3


def _check_texts(config: CheckConfig) -> None:
    from lacy.corpus import ReadReport

    report = ReadReport()
    marked = marks = 0
    for document in config.read(config.path, report, limit=config.limit):
        marked += bool(document.marks)
        marks += len(document.marks)
    counts = {
        "documents": report.documents,
        "characters": report.characters,
        "characters per document": round(report.characters / max(1, report.documents)),
        "documents with marks": marked,
        "marks": marks,
        "repeated ids": report.renamed,
    }
    facts(f"Texts of {config.path}", counts)
    print_report(report, sys.stdout)


def _check_model(path: str) -> None:
    from lacy.corpus import begin_end
    from lacy.model import end_ids, load_model

    loaded = load_model(path)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    begin, end = loaded.tokenizer.convert_ids_to_tokens(list(begin_end(loaded.tokenizer)))
    ends = loaded.tokenizer.convert_ids_to_tokens(sorted(end_ids(loaded.tokenizer, loaded.model)))
    taught = "taught to call" if loaded.calls else "added in memory, not taught to call"
    values = {
        "folder": loaded.path,
        "kind": type(loaded.model).__name__,
        "parameters": parameters,
        "context": loaded.context,
        "tokens": len(loaded.tokenizer),
        "<CALL>": f"id {loaded.call_id}, the last; {taught}",
        "a text begins with": begin,
        "a text ends with": end,
        "generation stops at": " ".join(ends),
        "memory to generate": f"{4 * parameters / 2**20:,.0f} MiB",
    }
    names = ("preset", "method", "steps", "call_rate")
    values |= {name: loaded.meta[name] for name in names if name in loaded.meta}
    facts("The model is complete", values)
    for sentence in loaded.notes:
        note(sentence)
