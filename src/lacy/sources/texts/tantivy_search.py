"""Search passages by words with tantivy; equivalent to ``FtsSearch`` but for large collections.

This index contains only the words and is derived from the SQLite file (``schema``). It skips rows
that cannot be among the best, so frequent words need not be ignored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lacy._require import require_package
from lacy.errors import LacyError
from lacy.sources.texts.passages import search_words
from lacy.sources.texts.schema import PassageText
from lacy.sources.texts.search import SUBJECT_WEIGHT, Hit, SearchQuery

TANTIVY_FOLDER = "words.tantivy"

_WRITER_BYTES = 64 << 20
"""Memory of the writer in bytes."""

_ANALYZER = "lacy"
_BREAK = ". "
"""Separator between repetitions of the subject; no phrase can match across it."""

_BUSY_SECONDS = 60.0
"""Seconds to wait while another process is writing."""


def import_tantivy() -> Any:
    """Import the package tantivy.

    Raises:
        LacyError: E11, it is not installed.
    """
    return require_package("tantivy", "fast", "an index with the engine tantivy")


def _analyzer(tantivy: Any) -> Any:
    """Return an analyzer similar to FTS5's: lower case, without accents, English stems."""
    filters = tantivy.Filter
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace())
    for one in (filters.lowercase(), filters.ascii_fold(), filters.stemmer("english")):
        builder = builder.filter(one)
    return builder.build()


def _schema(tantivy: Any) -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    builder.add_text_field("about", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", tokenizer_name=_ANALYZER)
    return builder.build()


def _indexed_words(subject: str, text: str) -> str:
    """Return the words of a passage with the words of its subject repeated, to give them weight.

    Both are in one field, because bm25 measures the rarity of a word per field, and "the" is rare
    in subjects.
    """
    about = " ".join([*search_words(subject), _BREAK])
    return about * int(SUBJECT_WEIGHT) + " ".join(search_words(text))


class TantivySearch:
    """A tantivy index of the passages' words, in a folder next to the SQLite file.

    Args:
        folder: folder of the index of documents.
        create: create the tantivy index if there is none.

    Raises:
        LacyError: E11, tantivy is not installed; E70, the index cannot be read.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self._tantivy = tantivy = import_tantivy()
        place = folder / TANTIVY_FOLDER
        self._schema = _schema(tantivy)
        self._analyzer = _analyzer(tantivy)
        try:
            if create:
                place.mkdir(exist_ok=True)
            elif not tantivy.Index.exists(str(place)):
                raise ValueError(f"there is no {TANTIVY_FOLDER}; build again")
            self._index = tantivy.Index(self._schema, str(place), reuse=True)
            self._index.register_tokenizer(_ANALYZER, self._analyzer)
            self._index.config_reader("manual")
            self.refresh()
        except (ValueError, OSError) as error:
            raise LacyError("E70", path=folder, why=str(error)) from error

    def refresh(self) -> None:
        """Load the changes of other processes."""
        self._index.reload()
        self._searcher = self._index.searcher()

    def close(self) -> None:
        """Close the index."""
        self._searcher = None

    def find(self, query: SearchQuery, limit: int) -> list[Hit]:
        """Return the best passages, best first."""
        words = [self._phrase([word]) for word in query.words]
        if not query.subject:
            return self._search([], words, limit)
        phrase = self._phrase(query.subject)
        if query.documents_about:
            make, any_of = self._tantivy.Query, self._tantivy.Occur.Should
            terms = [make.term_query(self._schema, "about", one) for one in query.documents_about]
            about = make.boolean_query([(any_of, term) for term in terms])
            about = make.const_score_query(about, 0.0)
            return self._search([about], [phrase, *words], limit)
        every = [self._phrase([word]) for word in query.subject]  # "Lovelace, Ada"
        return self._search([phrase], words, limit) or self._search(every, words, limit)

    def _search(self, must: Sequence[Any], should: Sequence[Any], limit: int) -> list[Hit]:
        occur = self._tantivy.Occur
        parts = [(occur.Must, one) for one in must] + [(occur.Should, one) for one in should]
        if not parts or self._searcher is None:
            return []
        query = self._tantivy.Query.boolean_query(parts)
        hits = self._searcher.search(query, limit, count=False).hits
        places = [place for _, place in hits]
        numbers = self._searcher.fast_field_values("id", places) if hits else []
        found = [(number, score) for number, (score, _) in zip(numbers, hits, strict=True)]
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))

    def _phrase(self, words: Sequence[str]) -> Any:
        query = self._tantivy.Query
        stems = self._analyzer.analyze(" ".join(words))
        if len(stems) < 2:
            one = stems[0] if stems else ""
            return query.term_query(self._schema, "text", one) if one else query.empty_query()
        return query.phrase_query(self._schema, "text", stems)

    def write(self, removed: Iterable[int], added: Iterable[PassageText]) -> None:
        """Remove and add passages in one atomic commit; see ``DerivedIndex``."""
        writer = self._writer()
        try:
            for number in removed:
                writer.delete_documents_by_term("id", number)
            for number, subject, text in added:
                document = self._tantivy.Document()
                document.add_unsigned("id", number)
                document.add_text("about", subject)
                document.add_text("text", _indexed_words(subject, text))
                writer.add_document(document)
            writer.commit()
        finally:
            writer.wait_merging_threads()
        self.refresh()

    def _writer(self) -> Any:
        begin = time.monotonic()
        while True:
            try:
                return self._index.writer(_WRITER_BYTES, 1)
            except ValueError as error:
                locked = "lock" in str(error).lower()
                if not locked or time.monotonic() - begin > _BUSY_SECONDS:
                    raise LacyError("E71", path=TANTIVY_FOLDER, why=str(error)) from error
                time.sleep(0.1)
