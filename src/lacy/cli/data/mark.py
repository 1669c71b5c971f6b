"""``lacy data mark``: mark the fact tokens of texts and pack them for training."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.annotate import AnnotateConfig
from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import facts, needs_extra, print_report, say
from lacy.config import Inline, Positional, Rare
from lacy.corpus import ReadReport
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.annotate import Annotator, PackSettings
    from lacy.types import Document

SAMPLE, PAID_SAMPLE = 100, 3
"""Number of documents that a dry run annotates; fewer if each costs money."""


@dataclass
class LabellingJudge:
    """A language model behind an OpenAI-compatible endpoint that marks facts."""

    url: str = "http://localhost:8000/v1"
    """Base address of the API."""
    model: str = ""
    """Name of the model there."""
    key_variable: Rare[str] = "OPENAI_API_KEY"
    """Environment variable with the API key; without it, no key is sent."""
    concurrency: Rare[int] = 4
    """Number of requests at the same time."""


@dataclass
class MarkConfig(TextOptions):
    """Mark the words that carry facts, and pack tokens and marks for training.

    The marks are kept beside the packed data (OUT-marks) and are used again if only the tokenizer
    or the context changes. The same command continues a stopped annotation.
    """

    source: Positional[str] = field(kw_only=True)
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder),
    hf:owner/name, a folder of `lacy data world`, or the stored labels of a judge."""
    # [Output]
    out: Path = field(kw_only=True)
    """Folder of packed data to write; older packed data in it are replaced."""
    # [Annotation]
    annotator: Literal["spacy", "gold", "judge", "live"] = "spacy"
    """Who marks the facts: spaCy with rules, the made-up world itself (gold), stored labels of a
    judge, or a language model that is asked now (live)."""
    # [Tokenizer]
    tokenizer: str | None = None
    """Folder, Hub name, .gguf file or short name (smollm2) of a tokenizer; without one, a tokenizer
    is trained on the texts."""
    begin_token: Rare[str | None] = None
    """Token before every text; by default the tokenizer's begin token or, if that belongs to the
    chat template or is missing, the token that separates documents."""
    vocab_size: int = 4096
    """Vocabulary size of a tokenizer that is trained here, including both special tokens."""
    kind: Literal["bpe", "unigram"] = "bpe"
    """Type of a tokenizer that is trained here."""
    # [Output]
    context: int = 256
    """Tokens per row; longer documents are cut into several."""
    # [Texts]
    only: str | None = None
    """Read only documents for which this field is true, for example is_biography."""
    # [Annotation]
    marks: Rare[Path | None] = None
    """Folder for the marks of spaCy or a live judge; by default OUT-marks."""
    spacy: Inline[AnnotateConfig] = field(default_factory=AnnotateConfig)
    """The spaCy pipeline and its rules."""
    # [Live judge]
    judge: LabellingJudge = field(default_factory=LabellingJudge)
    """The model for --annotator live."""
    # [Output]
    dry_run: bool = False
    """Annotate a sample, estimate the whole, write nothing."""


FLAGS = MarkConfig
EXAMPLES = """
lacy data mark wiki.jsonl.gz --out data/wiki --vocab-size 8192 --context 512
lacy data mark world --annotator gold --out data/world
"""

Documents = Callable[[], "Iterator[Document]"]
"""A function that reads the documents from the beginning at each call."""


def run(config: MarkConfig) -> int:
    """Mark and pack the texts."""
    report = [ReadReport()]
    documents = _documents(config, report)
    if config.dry_run:
        _print_estimate(config, documents)
        print_report(report[-1])
        return 0
    from lacy.annotate import mark_and_pack

    begin = time.perf_counter()
    packed = mark_and_pack(
        documents,
        config.out,
        _annotator(config),
        _settings(config),
        marks=config.marks,
        notify=_say,
    )
    info = packed.info
    counts = {
        "documents": info.documents,
        "tokens": info.tokens,
        "rows": f"{info.rows:,} of {info.context} tokens, {info.padding:.1%} padding",
        "vocabulary": info.vocab_size,
        **{f"marked {n}": f"{s:.1%} of the tokens" for n, s in info.shares.items() if s},
        "seconds": round(time.perf_counter() - begin, 1),
    }
    facts(f"Packed data in {config.out}", counts)
    print_report(report[-1])
    out = shlex.quote(str(config.out))
    say(f"Next: lacy data check {out}")
    say(f"      lacy train --data {out}")
    return 0


def _documents(config: MarkConfig, report: list[ReadReport]) -> Documents:
    """Return a function that reads the documents, for each pass (tokenizer, marks, packing).

    Each pass replaces the contents of ``report`` by its own report.
    """
    from lacy.annotate import read_labels

    if config.annotator == "judge":
        return lambda: read_labels(config.source, limit=config.limit)

    def documents() -> Iterator[Document]:
        report[:] = [ReadReport()]
        return config.read(config.source, report[0], limit=config.limit, only=config.only)

    return documents


def _settings(config: MarkConfig) -> PackSettings:
    from lacy.annotate import PackSettings

    return PackSettings(
        tokenizer=_tokenizer_folder(config.tokenizer),
        begin_token=config.begin_token,
        vocab_size=config.vocab_size,
        kind=config.kind,
        context=config.context,
        shard_size=config.spacy.shard_size,
        batch_size=config.spacy.batch_size,
        n_process=config.spacy.n_process if config.annotator == "spacy" else 1,
    )


def _tokenizer_folder(name: str | None) -> str | None:
    """Return the folder of the tokenizer of a GGUF file or a short name; other names unchanged."""
    from lacy.model import SHORT_NAMES, resolve

    if name is not None and (name.endswith(".gguf") or name.lower() in SHORT_NAMES):
        return str(resolve(name))
    return name


def _annotator(config: MarkConfig) -> Annotator | None:
    """Return the annotator; None if the texts have their own marks."""
    if config.annotator == "live":
        return _live(config.judge)
    if config.annotator != "spacy":
        return None
    with needs_extra("spacy", "marking by spaCy"):
        from lacy.annotate import SpacyAnnotator
    annotator = SpacyAnnotator(
        config.spacy.pipeline,
        config.spacy.rules,
        batch_size=config.spacy.batch_size,
        seconds=config.spacy.text_seconds,
        notify=_say,
    )
    for switch, why in annotator.inactive.items():
        _say(f"The switch {switch!r} finds nothing: {why}.")
    return annotator


def _live(judge: LabellingJudge) -> Annotator:
    if not judge.model:
        do = "--judge.url http://localhost:8000/v1 --judge.model NAME"
        why = "the endpoint is asked for a model by name"
        raise LacyError("E12", key="judge.model", value="", why=why, do=do)
    with needs_extra("judge", "a live judge"):
        from lacy.annotate import LiveJudge
    return LiveJudge(
        judge.url, judge.model, key_variable=judge.key_variable, concurrency=judge.concurrency
    )


def _print_estimate(config: MarkConfig, documents: Documents) -> None:
    """Print the estimated size and time of the whole job, from a sample."""
    from lacy.annotate import estimate_packing

    sample = PAID_SAMPLE if config.annotator == "live" else SAMPLE
    found = estimate_packing(
        documents, _annotator(config), _settings(config), sample=sample, notify=_say
    )
    counts = {
        "documents": found.documents,
        "characters": found.characters,
        "tokens, about": found.tokens,
        "rows, about": -(-found.tokens // config.context),
        "marked FACT, about": f"{found.fact_share:.1%} of the tokens",
        "disk, about": f"{9 * found.tokens / 2**20:,.0f} MiB",  # 4 + 1 + 4 bytes per token
        "minutes, about": round(found.seconds / 60, 1),
    }
    facts(f"Would write to {config.out} (from a sample of {found.sample} texts)", counts)


def _say(sentence: str) -> None:
    """Print a note on standard error."""
    say(sentence, file=sys.stderr)
