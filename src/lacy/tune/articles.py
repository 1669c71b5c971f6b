"""Read the articles of a tuning: texts of any format, marked if needed, as tokens with marks."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacy.annotate import AnnotateConfig, SpacyAnnotator, annotate_documents, attach_marks, encode
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
"""With fewer articles, the fitted row is weak and its figures are uncertain."""

MIN_ARTICLES = 5
"""Fewer articles cannot be split into groups that are fitted and scored in turn."""

MIN_STARTS = 20
"""Minimum number of value starts in all articles together."""

ENGLISH = frozenset(
    "the of and in to a was is for on as with by he his at from that it an were which her she be "
    "are had this or also has but first after who their its they not one been have".split()
)
"""The commonest English function words. About 40% of the words of English articles are among them,
and fewer than 10% of those of other European languages."""

MIN_ENGLISH = 0.15
"""Minimum share of function words in an English text."""

_WORD = re.compile(r"[^\W\d_]+")


@dataclass
class Articles:
    """Articles as tokens with marks, and how they were read."""

    encoded: list[Encoded]
    annotator: str
    """Who marked them: name and version of an annotator, or ``given``."""
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
        annotate: the annotator's settings.
        report: filled with what was skipped while reading.
        notify: called with a sentence for each automatic choice.
        progress: show a progress bar on a terminal.
        reading: further arguments of ``lacy.corpus.read``.

    Raises:
        LacyError: E162, too few articles; E163, most texts are not English; E164, nothing is
            marked; and the errors of ``read`` and ``PackedData.load``.
    """
    report = ReadReport() if report is None else report
    if isinstance(data, str | Path) and (Path(data) / "lacy_data.json").is_file():
        found = Articles(_packed_articles(data, tokenizer, articles, tokens, seed), "given", report)
    else:
        stream = (
            read(data, report=report, **reading) if isinstance(data, str | Path) else iter(data)
        )
        documents = [_cut(document, tokens) for document in _sample(stream, articles, seed)]
        found = _marked(documents, tokenizer, tokens, marks, annotate, report, notify, progress)
    found.encoded = [article for article in found.encoded if len(article.input_ids) > 2]
    _require_enough(found, data)
    return found


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
    """Cut a text after about twice as many characters as its tokens have, between words."""
    end = CHARACTERS_PER_TOKEN * tokens
    if len(document.text) <= end:
        return document
    end = max(document.text.rfind(" ", 0, end), document.text.rfind("\n", 0, end), end // 2)
    marks = tuple(mark for mark in document.marks if mark.end <= end)
    return replace(document, text=document.text[:end], marks=marks)


def _marked(
    documents: list[Document],
    tokenizer: PreTrainedTokenizerFast,
    tokens: int,
    marks: Path,
    annotate: AnnotateConfig | None,
    report: ReadReport,
    notify: Notify,
    progress: bool,
) -> Articles:
    """Mark the documents without marks, and encode all."""
    given = [d for d in documents if d.marks]
    bare = [d for d in documents if not d.marks]
    notes, name = [], "given"
    if given and bare:
        notes.append(
            f"{len(bare)} of {len(documents)} articles have no marks; they are marked now."
        )
    elif given:
        notes.append(f"Marks: those of the data ({len(given)} marked articles).")
    if bare:
        settings = annotate or AnnotateConfig()
        annotator = SpacyAnnotator(
            settings.pipeline, settings.rules, batch_size=settings.batch_size,
            seconds=settings.text_seconds, notify=lambda sentence: None,
        )  # fmt: skip
        notes.append(f"Marks: {annotator.choice}.")
        if getattr(annotator.nlp, "lang", "") == "en":
            bare = _english(bare, notes)
        bare = _annotated(bare, annotator, marks, settings, progress)
        name = annotator.name if not given else f"given, {annotator.name}"
    for sentence in notes:
        notify(sentence)
    encoded = [encode(document, tokenizer, tokens + 1) for document in [*given, *bare]]
    return Articles(encoded, name, report, notes)


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


def _english(documents: list[Document], notes: list[str]) -> list[Document]:
    """Return the English documents.

    Raises:
        LacyError: E163, fewer than half are English.
    """
    english = [document for document in documents if english_share(document.text) >= MIN_ENGLISH]
    others = len(documents) - len(english)
    if 2 * others >= len(documents):
        raise LacyError("E163", others=others, total=len(documents))
    if others:
        notes.append(f"Left out: {others} of {len(documents)} articles that are not in English.")
    return english


def english_share(text: str) -> float:
    """Return the share of a text's words that are common English function words."""
    words = _WORD.findall(text.lower())
    return sum(word in ENGLISH for word in words) / len(words) if words else 0.0


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


def _require_enough(found: Articles, data: Any) -> None:
    where = data if isinstance(data, str | Path) else "the given documents"
    if len(found) < MIN_ARTICLES:
        raise LacyError("E162", path=where, articles=len(found), least=MIN_ARTICLES)
    if len(found) < FEW_ARTICLES:
        found.notes.append(
            f"Only {len(found)} articles: the row will be weak and its figures uncertain; "
            "with 100 to 200 it is much better."
        )
    if found.starts < MIN_STARTS:
        raise LacyError("E164", path=where, starts=found.starts, articles=len(found))


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
