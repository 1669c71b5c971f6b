"""Turn documents into packed training data: choose a tokenizer, mark facts, encode and pack."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.annotate.align import encode_many
from lacy.annotate.language import MAX_TEXTS, language_warning
from lacy.annotate.protocol import Annotator
from lacy.annotate.shards import annotate_documents, attach_marks
from lacy.corpus import PackedData, load_tokenizer, train_tokenizer
from lacy.errors import LacyError, one_line
from lacy.types import Document, MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Reader = Callable[[], Iterable[Document]]
"""A function that reads the documents from the beginning at each call."""

SHOWN_IDS = 10
"""Number of skipped texts listed in the message; the manifest of the marks lists all of them."""

_LOOKED_AT = 1000
"""If none of this many documents has a mark, the corpus was probably never annotated."""


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Settings for packing documents into rows of tokens and marks."""

    tokenizer: str | Path | None = None
    """Folder or Hub name of a tokenizer; None trains a new one on the texts."""
    begin_token: str | None = None
    """Token that begins every text; None lets lacy choose."""
    vocab_size: int = 4096
    """Vocabulary size of a tokenizer that is trained here, including both special tokens."""
    kind: Literal["bpe", "unigram"] = "bpe"
    """Type of a tokenizer that is trained here."""
    context: int = 256
    """Tokens per row."""
    shard_size: int = 1000
    """Documents per stored shard of marks."""
    batch_size: int = 64
    """Documents per call of the annotator."""
    n_process: int = 1
    """Worker processes of the annotator."""


def mark_and_pack(
    read_documents: Reader,
    out: str | Path,
    annotator: Annotator | None = None,
    settings: PackSettings | None = None,
    *,
    marks: str | Path | None = None,
    notify: Callable[[str], None] = lambda sentence: None,
) -> PackedData:
    """Mark the facts of documents and pack tokens and marks for training.

    The marks are stored beside the packed data, so changing only the tokenizer or the context
    reuses them. An interrupted annotation continues where it stopped.

    Args:
        read_documents: called once per pass (tokenizer, marks, packing) to read the documents from
            the beginning, for example ``lambda: read("wiki.jsonl")``.
        out: folder for the packed data; older packed data in it are replaced.
        annotator: marks the documents; None keeps the marks they already have (made-up worlds,
            stored labels of a judge).
        settings: tokenizer, row length and worker processes.
        marks: folder for the marks of ``annotator``; by default ``out`` with ``-marks`` appended.
        notify: called with a sentence for each automatic choice, for skipped texts, and if the
            texts are not in the annotator's language.

    Returns:
        The packed data.

    Raises:
        LacyError: E12, no document has marks, or a setting does not fit; the errors of
            ``annotate_documents``, ``load_tokenizer`` and ``PackedData.write``.
    """
    settings = settings or PackSettings()
    out = Path(out)
    _warn_of_languages(read_documents(), annotator, notify)
    tokenizer = _tokenizer(read_documents, settings, notify)
    marked: Iterator[Document]
    if annotator is None:
        marked = _require_marks(read_documents())
    else:
        folder = Path(marks) if marks is not None else out.with_name(out.name + "-marks")
        manifest = annotate_documents(
            read_documents(),
            annotator,
            folder,
            shard_size=settings.shard_size,
            batch_size=settings.batch_size,
            n_process=settings.n_process,
        )
        if manifest.slow:
            ids = ", ".join(map(one_line, manifest.slow[:SHOWN_IDS]))
            more = " ..." if manifest.slow[SHOWN_IDS:] else ""
            limit = getattr(annotator, "seconds", None)
            took = f"longer than {limit:g} s" if limit else "too long"
            notify(f"Skipped because marking took {took}: {len(manifest.slow)} ({ids}{more})")
        marked = attach_marks(read_documents(), folder)
    encoded = encode_many(marked, tokenizer)
    return PackedData.write(encoded, tokenizer, settings.context, out)


@dataclass(frozen=True)
class PackEstimate:
    """Size and duration of packing, estimated from a sample."""

    sample: int
    """Documents in the sample."""
    documents: int
    characters: int
    tokens: int
    fact_share: float
    """Share of fact tokens."""
    seconds: float
    """Seconds that annotation and encoding would take."""


def estimate_packing(
    read_documents: Reader,
    annotator: Annotator | None = None,
    settings: PackSettings | None = None,
    *,
    sample: int = 100,
    notify: Callable[[str], None] = lambda sentence: None,
) -> PackEstimate:
    """Estimate size and duration of ``mark_and_pack`` from a sample, without writing anything."""
    settings = settings or PackSettings()
    documents = list(itertools.islice(read_documents(), sample))
    _warn_of_languages(documents, annotator, notify)
    count = characters = 0
    for document in read_documents():
        count += 1
        characters += len(document.text)
    share = sum(len(document.text) for document in documents) / max(1, characters)
    tokenizer = _tokenizer(lambda: documents, settings, notify)
    begin = time.perf_counter()
    if annotator is None:
        documents = list(_require_marks(documents))
    else:
        marks = annotator.annotate([document.text for document in documents])
        pairs = zip(documents, marks, strict=True)
        documents = [replace(document, marks=tuple(found)) for document, found in pairs]
    encoded = list(encode_many(documents, tokenizer))
    seconds = (time.perf_counter() - begin) / share / max(1, settings.n_process)
    tokens = sum(len(document.input_ids) for document in encoded)
    facts = sum(mark & MarkFlag.FACT > 0 for document in encoded for mark in document.marks)
    total, fact_share = round(tokens / share), facts / max(1, tokens)
    return PackEstimate(len(documents), count, characters, total, fact_share, seconds)


def _warn_of_languages(
    documents: Iterable[Document], annotator: Annotator | None, notify: Callable[[str], None]
) -> None:
    """Warn if the first documents are not in the annotator's language, if it has one."""
    language = getattr(annotator, "language", None)
    if language is None:
        return
    texts = (document.text for document in itertools.islice(documents, MAX_TEXTS))
    if warning := language_warning(texts, language):
        notify(warning)


def _tokenizer(
    read_documents: Reader, settings: PackSettings, notify: Callable[[str], None]
) -> PreTrainedTokenizerFast:
    """Load the tokenizer named in the settings, or train one on the texts."""
    begin = settings.begin_token
    if settings.tokenizer is not None:
        return load_tokenizer(
            settings.tokenizer,
            begin=begin,
            notify=lambda why: notify(f"{why} (--begin-token chooses another)"),
        )
    if begin is not None:
        why = "a tokenizer that is trained here uses one token as begin and end token"
        do = "omit it, or give a tokenizer with --tokenizer"
        raise LacyError("E12", key="begin_token", value=begin, why=why, do=do)
    notify(f"Training a tokenizer of {settings.vocab_size:,} entries on the texts.")
    texts = (document.text for document in read_documents())
    return train_tokenizer(texts, settings.vocab_size, kind=settings.kind)


def _require_marks(documents: Iterable[Document]) -> Iterator[Document]:
    """Yield the documents; raise E12 if none of the first ``_LOOKED_AT`` has a mark."""
    stream = iter(documents)
    first = list(itertools.islice(stream, _LOOKED_AT))
    if not any(document.marks for document in first):
        why, do = "the texts have no marks of their own", "mark them with: --annotator spacy"
        raise LacyError("E12", key="annotator", value=None, why=why, do=do)
    return itertools.chain(first, stream)
