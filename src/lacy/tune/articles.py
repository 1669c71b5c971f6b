"""Read articles for tuning: texts of any format become tokens with marks."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy.annotate import (
    AnnotateConfig,
    SpacyAnnotator,
    annotate_documents,
    attach_marks,
    encode,
    language_of,
)
from lacy.corpus import Encoded, PackedData, ReadReport, read
from lacy.errors import LacyError
from lacy.types import Document, MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Notify = Callable[[str], object]

CHARACTERS_PER_TOKEN = 8
"""Characters of a text that are read per token: twice the average of English, so that the annotator
does not spend time on text that is not used."""

FEW_ARTICLES = 20
"""With fewer articles, the user is warned: the row will be weak and its figures uncertain."""

MIN_ARTICLES = 5
"""Minimum number of articles for splitting them into groups that are fitted and scored in turn."""

MIN_STARTS = 20
"""Minimum number of value starts in all articles together."""


@dataclass
class Articles:
    """Articles as tokens with marks, and how they were read."""

    encoded: list[Encoded]
    annotator: str
    """Name and version of the annotator that marked them, or ``given``."""
    report: ReadReport = field(default_factory=ReadReport)
    notes: list[str] = field(default_factory=list)
    """Sentences about automatic choices and problems."""

    def __len__(self) -> int:
        return len(self.encoded)

    @property
    def starts(self) -> int:
        """Number of tokens that begin a value."""
        return sum(_count_starts(article) for article in self.encoded)


def read_articles(
    data: str | Path | Iterable[Document],
    tokenizer: PreTrainedTokenizerFast,
    *,
    articles: int,
    tokens: int,
    seed: int,
    marks: Path,
    replay: str | Path | Iterable[Document] | None = None,
    annotate: AnnotateConfig | None = None,
    report: ReadReport | None = None,
    notify: Notify = lambda sentence: None,
    progress: bool = True,
    **reading: Any,
) -> Articles:
    """Read, choose, mark and encode articles.

    Args:
        data: texts as in ``lacy.corpus.read``, a folder of packed data, or documents. Documents
            that have marks are used as they are; the others are marked.
        tokenizer: the model's tokenizer.
        articles: maximum number of articles; more are sampled.
        tokens: maximum number of predicted tokens per article.
        seed: seed of the sample.
        marks: folder in which the annotator's marks are kept.
        replay: further articles, such as those of an earlier tuning; at most as many are added.
        annotate: the annotator's settings.
        report: filled with what was skipped while reading.
        notify: called with a sentence for each automatic choice.
        progress: show a progress bar on a terminal.
        reading: further arguments of ``lacy.corpus.read``.

    Raises:
        LacyError: E12, packed data with ``only``; E162, too few articles; E163, most texts are in
            another language than the annotator's; E164, nothing is marked; and the errors of
            ``read`` and ``PackedData.load``.
    """
    report = ReadReport() if report is None else report
    notes: list[str] = []

    def say(sentence: str) -> None:
        notes.append(sentence)
        notify(sentence)

    def encoded_articles(source: str | Path | Iterable[Document]) -> tuple[list[Encoded], str]:
        if isinstance(source, str | Path) and (Path(source) / "lacy_data.json").is_file():
            _refuse_only(reading.get("only"))
            packed = _packed_articles(source, tokenizer, articles, tokens, seed)
            return _with_tokens(packed), "given"
        stream = (
            read(source, report=report, **reading)
            if isinstance(source, str | Path)
            else iter(source)
        )
        documents = [_cut(document, tokens) for document in _sample(stream, articles, seed)]
        documents, name = mark_documents(
            documents, marks, annotate or AnnotateConfig(), say, progress
        )
        return _with_tokens(encode(d, tokenizer, tokens + 1) for d in documents), name

    encoded, annotator = encoded_articles(data)
    if replay is not None:
        more, name = encoded_articles(replay)
        annotator = name if name == annotator else f"{annotator}; replay: {name}"
        say(f"Replay: {len(more)} articles of {_name_of(replay)} beside {len(encoded)}.")
        encoded += more
    found = Articles(encoded, annotator, report, notes)
    _require_enough(found, data, say)
    return found


def _with_tokens(encoded: Iterable[Encoded]) -> list[Encoded]:
    """Return the articles that have tokens to predict."""
    return [article for article in encoded if len(article.input_ids) > 2]


def _refuse_only(only: str | None) -> None:
    if only is not None:
        why, do = "packed data have no fields", "give it to lacy data mark, which packs the data"
        raise LacyError("E12", key="only", value=only, why=why, do=do)


def _sample(stream: Iterable[Any], size: int, seed: int) -> list[Any]:
    """Return a random sample of a stream, in random order (reservoir sampling)."""
    rng = random.Random(seed)
    kept: list[Any] = []
    for number, item in enumerate(stream):
        if number < size:
            kept.append(item)
        elif (place := rng.randrange(number + 1)) < size:
            kept[place] = item
    rng.shuffle(kept)
    return kept


def _cut(document: Document, tokens: int) -> Document:
    """Cut a text between words, after about twice as many characters as its tokens need."""
    end = CHARACTERS_PER_TOKEN * tokens
    if len(document.text) <= end:
        return document
    end = max(document.text.rfind(" ", 0, end), document.text.rfind("\n", 0, end), end // 2)
    marks = tuple(mark for mark in document.marks if mark.end <= end)
    return replace(document, text=document.text[:end], marks=marks)


def mark_documents(
    documents: list[Document], folder: Path, settings: AnnotateConfig, say: Notify, progress: bool
) -> tuple[list[Document], str]:
    """Mark the documents that have no marks; return all, and the name of the annotator.

    Args:
        documents: the documents; those in another language than the annotator's are left out.
        folder: where the marks are kept, so that an interrupted run continues.
        settings: the annotator's settings.
        say: called with a sentence for each automatic choice.
        progress: show a progress bar on a terminal.

    Raises:
        LacyError: E163, half of the unmarked documents or more are in another language.
    """
    given = [document for document in documents if document.marks]
    bare = [document for document in documents if not document.marks]
    if not bare:
        say(f"Marks: those of the data ({len(given)} marked articles).")
        return given, "given"
    if given:
        say(f"{len(bare)} of {len(documents)} articles have no marks; they are marked now.")
    annotator = SpacyAnnotator(
        settings.pipeline, settings.rules, batch_size=settings.batch_size,
        seconds=settings.text_seconds, notify=lambda sentence: None,
    )  # fmt: skip
    say(f"Marks: {annotator.choice}.")
    bare = _annotated(
        _in_language(bare, annotator.language, say), annotator, folder, settings, progress
    )
    return [*given, *bare], f"given, {annotator.name}" if given else annotator.name


def _annotated(
    documents: list[Document],
    annotator: SpacyAnnotator,
    folder: Path,
    settings: AnnotateConfig,
    progress: bool,
) -> list[Document]:
    """Mark documents; the marks are kept in a folder named after texts and settings."""
    digest = hashlib.blake2b(repr(annotator.settings()).encode(), digest_size=8)
    for document in documents:
        digest.update(f"\0{document.id}\0{document.text}".encode("utf-8", "surrogatepass"))
    place = folder / f"marks-{digest.hexdigest()}"
    annotate_documents(
        documents, annotator, place, shard_size=settings.shard_size,
        batch_size=settings.batch_size, n_process=settings.n_process, progress=progress,
    )  # fmt: skip
    return list(attach_marks(documents, place))


def _in_language(documents: list[Document], language: str, say: Notify) -> list[Document]:
    """Return the documents without those that are in another language.

    Raises:
        LacyError: E163, half of them or more are.
    """
    told = [language_of(document.text) for document in documents]
    kept = [d for d, found in zip(documents, told, strict=True) if found in (None, language)]
    others = len(documents) - len(kept)
    if 2 * others >= len(documents):
        raise LacyError("E163", others=others, total=len(documents), language=language)
    if others:
        say(f"Left out: {others} of {len(documents)} articles in another language.")
    return kept


def _packed_articles(
    data: str | Path, tokenizer: PreTrainedTokenizerFast, articles: int, tokens: int, seed: int
) -> list[Encoded]:
    """Return documents of packed data, which must have the model's tokenizer."""
    packed = PackedData.load(data, tokenizer)

    def segments() -> Iterator[Encoded]:
        for row in range(len(packed)):
            batch = packed.batch([row])
            for number in range(1, int(batch["segments"].max(initial=0)) + 1):
                inside = batch["segments"][0] == number
                ids, marks = batch["input_ids"][0][inside], batch["marks"][0][inside]
                yield Encoded(
                    f"{row}:{number}", ids[: tokens + 1].tolist(), marks[: tokens + 1].tolist()
                )

    return _sample(segments(), articles, seed)


def _require_enough(found: Articles, data: Any, say: Notify) -> None:
    where = _name_of(data)
    if len(found) < MIN_ARTICLES:
        raise LacyError("E162", path=where, articles=len(found), least=MIN_ARTICLES)
    if len(found) < FEW_ARTICLES:
        say(
            f"Only {len(found)} articles: the row will be weak and its figures uncertain; "
            "with 100 to 200 it is much better."
        )
    if found.starts < MIN_STARTS:
        raise LacyError("E164", path=where, starts=found.starts, articles=len(found))


def _name_of(data: Any) -> str:
    return str(data) if isinstance(data, str | Path) else "the given documents"


def _count_starts(article: Encoded) -> int:
    marks = np.asarray(article.marks[1:], np.uint8)
    return int(((marks & MarkFlag.START) > 0).sum())


def texts_digest(articles: Sequence[Encoded]) -> str:
    """Return a digest of the tokens and marks of articles."""
    digest = hashlib.blake2b(digest_size=8)
    for article in articles:
        digest.update(np.asarray(article.input_ids, np.int32).tobytes())
        digest.update(np.asarray(article.marks, np.uint8).tobytes())
    return digest.hexdigest()
