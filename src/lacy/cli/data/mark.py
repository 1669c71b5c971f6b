"""``lacy data mark``: mark the fact tokens of texts and pack them for training."""

from __future__ import annotations

import itertools
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.annotate import AnnotateConfig
from lacy.cli.terminal import facts, needs_extra, print_report, say
from lacy.config import Inline, Positional, Rare
from lacy.corpus import ReadReport
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.types import Document

SAMPLE, PAID_SAMPLE = 100, 3
"""Documents that a dry run annotates; fewer if each costs money."""

NAMED = 10
"""Skipped texts listed in the message; the manifest of the marks lists all of them."""

STORED = ("spacy", "live")
"""Annotators whose marks are slow or expensive and therefore kept."""


@dataclass
class Judge:
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
class MarkConfig:
    """Mark the words that carry facts, and pack tokens and marks for training.

    The marks are kept beside the packed data (OUT-marks) and are used again if only the tokenizer
    or the context changes. The same command continues a stopped annotation.
    """

    source: Positional[str]
    """Text, Markdown, HTML, PDF, JSON, CSV or Parquet (a file, compressed or not, or a folder),
    hf:owner/name, a folder of `lacy data world`, or the stored labels of a judge."""
    # [Output]
    out: Path
    """Folder of packed data to write; older packed data in it are replaced."""
    # [Annotation]
    annotator: Literal["spacy", "gold", "judge", "live"] = "spacy"
    """What marks: spaCy with rules, the marks of a made-up world (gold), stored labels of a judge,
    or a language model that is asked now (live)."""
    # [Tokenizer]
    tokenizer: str | None = None
    """Folder or Hub name of a tokenizer; without one, a tokenizer is trained on the texts."""
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
    text_field: Rare[str] = "text"
    """Name of the text field in JSON, CSV and Parquet."""
    id_field: Rare[str] = "id"
    """Name of the id field."""
    encoding: str | None = None
    """Encoding of texts that are not UTF-8 and declare none, such as windows-1252 or shift_jis; by
    default Western European texts are read as windows-1252 and others left out."""
    follow_links: Rare[bool] = False
    """Follow symbolic links to folders, and to files outside the folder."""
    split: Rare[str] = "train"
    """Split of a Hub data set."""
    limit: int | None = None
    """Read only this many documents."""
    only: str | None = None
    """Read only documents for which this field is true, for example is_biography."""
    # [Annotation]
    marks: Rare[Path | None] = None
    """Folder for the marks of spaCy or a live judge; by default OUT-marks."""
    spacy: Inline[AnnotateConfig] = field(default_factory=AnnotateConfig)
    """The spaCy pipeline and its rules."""
    # [Live judge]
    judge: Judge = field(default_factory=Judge)
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
"""Reads the documents from the beginning at each call."""


def run(config: MarkConfig) -> int:
    """Mark and pack the texts."""
    report = [ReadReport()]
    documents = _documents(config, report)
    if config.dry_run:
        _estimate(config, documents)
        print_report(report[-1])
        return 0
    from lacy.annotate import encode_many
    from lacy.corpus import PackedData

    begin = time.perf_counter()
    tokenizer = _tokenizer(config, documents)
    marked = _marked(config, documents)
    packed = PackedData.write(encode_many(marked, tokenizer), tokenizer, config.context, config.out)
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
    """Return a function that reads the documents once for each pass (tokenizer, marks, packing).

    ``report`` contains the report of the last pass.
    """
    from lacy.annotate import read_labels
    from lacy.corpus import read

    if config.annotator == "judge":
        return lambda: read_labels(config.source, limit=config.limit)
    source: str | Path = config.source
    if (Path(source) / "world.json").is_file():
        source = Path(source) / "train.jsonl"

    def documents() -> Iterator[Document]:
        report[:] = [ReadReport()]
        found = read(
            source,
            text_field=config.text_field,
            id_field=config.id_field,
            split=config.split,
            limit=None if config.only else config.limit,
            report=report[0],
            encoding=config.encoding,
            follow_links=config.follow_links,
        )
        if config.only is None:
            return found
        return itertools.islice((d for d in found if d.meta.get(config.only)), config.limit)

    return documents


def _tokenizer(config: MarkConfig, documents: Documents) -> Any:
    from lacy.corpus import load_tokenizer, train_tokenizer

    if config.tokenizer is not None:
        return load_tokenizer(config.tokenizer, begin=config.begin_token, say=_say)
    if config.begin_token is not None:
        why = "a tokenizer that is trained here uses one token as begin and end token"
        do = "leave it out, or give a tokenizer with --tokenizer"
        raise LacyError("E12", key="begin_token", value=config.begin_token, why=why, do=do)
    _say(f"Training a tokenizer of {config.vocab_size:,} entries on the texts.")
    texts = (document.text for document in documents())
    return train_tokenizer(texts, config.vocab_size, kind=config.kind)


def _marked(config: MarkConfig, documents: Documents) -> Iterator[Document]:
    """Return the documents with their marks."""
    if config.annotator not in STORED:
        return _with_own_marks(config, documents())
    from lacy.annotate import annotate_documents, attach_marks

    annotator = _annotator(config)
    folder = config.marks or config.out.with_name(config.out.name + "-marks")
    marked = annotate_documents(
        documents(),
        annotator,
        folder,
        shard_size=config.spacy.shard_size,
        batch_size=config.spacy.batch_size,
        n_process=config.spacy.n_process if config.annotator == "spacy" else 1,
    )
    if marked.slow:
        from lacy.errors import one_line

        few = ", ".join(map(one_line, marked.slow[:NAMED])) + (
            " ..." if marked.slow[NAMED:] else ""
        )
        limit = f"{config.spacy.text_seconds:g} s"
        _say(f"Left out, as marking took longer than {limit}: {len(marked.slow)} ({few})")
    return attach_marks(documents(), folder)


def _annotator(config: MarkConfig) -> Any:
    if config.annotator == "live":
        return _live(config.judge)
    with needs_extra("spacy", "marking by spaCy"):
        from lacy.annotate import SpacyAnnotator
    annotator = SpacyAnnotator(
        config.spacy.pipeline,
        config.spacy.rules,
        batch_size=config.spacy.batch_size,
        seconds=config.spacy.text_seconds,
        announce=_say,
    )
    for switch, why in annotator.inactive.items():
        _say(f"The switch {switch!r} finds nothing: {why}.")
    return annotator


def _live(judge: Judge) -> Any:
    if not judge.model:
        do = "--judge.url http://localhost:8000/v1 --judge.model NAME"
        why = "the endpoint is asked for a model by name"
        raise LacyError("E12", key="judge.model", value="", why=why, do=do)
    with needs_extra("judge", "a live judge"):
        from lacy.annotate import LiveJudge
    return LiveJudge(
        judge.url, judge.model, key_variable=judge.key_variable, concurrency=judge.concurrency
    )


def _with_own_marks(config: MarkConfig, documents: Iterator[Document]) -> Iterator[Document]:
    """Pass documents on; raise an error if none of the first thousand has a mark."""
    first = list(itertools.islice(documents, 1000))
    if not any(document.marks for document in first):
        raise LacyError(
            "E12",
            key="annotator",
            value=config.annotator,
            why=f"the texts of {config.source} have no marks",
            do=f"lacy data mark {config.source} --annotator spacy --out {config.out}",
        )
    return itertools.chain(first, documents)


def _estimate(config: MarkConfig, documents: Documents) -> None:
    """Annotate a sample and print what the whole would take."""
    from lacy.annotate import encode_many
    from lacy.types import MarkFlag

    few = PAID_SAMPLE if config.annotator == "live" else SAMPLE
    sample = list(itertools.islice(documents(), few))
    count = characters = 0
    for document in documents():
        count += 1
        characters += len(document.text)
    share = sum(len(document.text) for document in sample) / max(1, characters)
    tokenizer = _tokenizer(config, lambda: iter(sample))
    begin = time.perf_counter()
    if config.annotator in STORED:
        annotator = _annotator(config)
        begin = time.perf_counter()
        found = annotator.annotate([document.text for document in sample])
        sample = [
            type(document)(document.id, document.text, document.meta, tuple(marks))
            for document, marks in zip(sample, found, strict=True)
        ]
    else:
        sample = list(_with_own_marks(config, iter(sample)))
    encoded = list(encode_many(iter(sample), tokenizer))
    seconds = (time.perf_counter() - begin) / share / max(1, config.spacy.n_process)
    tokens = sum(len(document.input_ids) for document in encoded)
    marked = sum(mark & MarkFlag.FACT > 0 for document in encoded for mark in document.marks)
    total = round(tokens / share)
    counts = {
        "documents": count,
        "characters": characters,
        "tokens, about": total,
        "rows, about": -(-total // config.context),
        "marked FACT, about": f"{marked / max(1, tokens):.1%} of the tokens",
        "disk, about": f"{9 * total / 2**20:,.0f} MiB",
        "minutes, about": round(seconds / 60, 1),
    }
    facts(f"Would write to {config.out} (from a sample of {len(sample)} texts)", counts)


def _say(sentence: str) -> None:
    """Print an automatic choice on standard error."""
    say(sentence, file=sys.stderr)
