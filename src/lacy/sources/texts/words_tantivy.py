"""Passages by their words, by tantivy: the same search as FTS5's, for large collections.

Only the words stand here; texts, passages and values stay in SQLite, which this index follows
(``following``). It skips what cannot be among the best, so no word need be left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.sources.texts.passages import words_of
from lacy.sources.texts.words import SUBJECT_WEIGHT, Hit, Wanted

FOLDER = "words.tantivy"

HEAP = 64 << 20
"""Bytes of memory while writing."""

_ANALYZER = "lacy"
_BREAK = ". "
"""A word that no phrase holds."""

_PATIENCE = 60.0
"""Seconds to wait for another process that writes."""


def package() -> Any:
    """The module ``tantivy``.

    Raises:
        LacyError: E11, it is not installed.
    """
    try:
        import tantivy
    except ImportError as error:
        what = "an index with the engine tantivy"
        raise LacyError("E11", extra_for=what, package="tantivy", extra="fast") from error
    return tantivy


def _analyzer(tantivy: Any) -> Any:
    """Words at spaces, lower case, without accents, English stems: close to FTS5's tokenizer."""
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


def _searched(subject: str, text: str) -> str:
    """The words of a passage, those of whom it is about several times.

    One field for both, as bm25 counts how rare a word is in each field by itself: "the" is rare
    among subjects.
    """
    about = " ".join([*words_of(subject), _BREAK])
    return about * int(SUBJECT_WEIGHT) + " ".join(words_of(text))


class Tantivy:
    """The words of an index in a folder beside its file.

    Args:
        folder: the index of documents.
        make: whether to make the folder of words where there is none.

    Raises:
        LacyError: E11, tantivy is not installed; E70, the words cannot be read.
    """

    def __init__(self, folder: Path, *, make: bool = False) -> None:
        self._tantivy = tantivy = package()
        place = folder / FOLDER
        self._schema = _schema(tantivy)
        self._analyzer = _analyzer(tantivy)
        try:
            if make:
                place.mkdir(exist_ok=True)
            elif not tantivy.Index.exists(str(place)):
                raise ValueError(f"there is no {FOLDER}; build again")
            self._index = tantivy.Index(self._schema, str(place), reuse=True)
            self._index.register_tokenizer(_ANALYZER, self._analyzer)
            self._index.config_reader("manual")
            self.refresh()
        except (ValueError, OSError) as error:
            raise LacyError("E70", path=folder, why=str(error)) from error

    def refresh(self) -> None:
        """Sees what others have written since."""
        self._index.reload()
        self._searcher = self._index.searcher()

    def close(self) -> None:
        """Lets go of the files."""
        self._searcher = None

    # ---------------------------------------------------------------------------------- search

    def find(self, wanted: Wanted, limit: int) -> list[Hit]:
        """The best passages, best first."""
        said = [self._word(word) for word in wanted.said]
        if not wanted.named:
            return self._search([], said, limit)
        phrase = self._phrase(wanted.named)
        if wanted.about:
            query, any_of = self._tantivy.Query, self._tantivy.Occur.Should
            terms = [query.term_query(self._schema, "about", one) for one in wanted.about]
            about = query.boolean_query([(any_of, term) for term in terms])
            about = query.const_score_query(about, 0.0)
            return self._search([about], [phrase, *said], limit)
        every = [self._word(word) for word in wanted.named]  # "Lovelace, Ada"
        return self._search([phrase], said, limit) or self._search(every, said, limit)

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

    def _word(self, word: str) -> Any:
        return self._phrase([word])

    def _phrase(self, words: Sequence[str]) -> Any:
        query = self._tantivy.Query
        stems = self._analyzer.analyze(" ".join(words))
        if len(stems) < 2:
            one = stems[0] if stems else ""
            return query.term_query(self._schema, "text", one) if one else query.empty_query()
        return query.phrase_query(self._schema, "text", stems)

    # --------------------------------------------------------------------------------- writing

    def write(self, gone: Iterable[int], there: Iterable[tuple[int, str, str]]) -> None:
        """Removes passages and adds others (number, subject, text) in one step, or not at all."""
        writer = self._writer()
        try:
            for number in gone:
                writer.delete_documents_by_term("id", number)
            for number, subject, text in there:
                made = self._tantivy.Document()
                made.add_unsigned("id", number)
                made.add_text("about", subject)
                made.add_text("text", _searched(subject, text))
                writer.add_document(made)
            writer.commit()
        finally:
            writer.wait_merging_threads()
        self.refresh()

    def _writer(self) -> Any:
        begin = time.monotonic()
        while True:
            try:
                return self._index.writer(HEAP, 1)
            except ValueError as error:
                locked = "lock" in str(error).lower()
                if not locked or time.monotonic() - begin > _PATIENCE:
                    raise LacyError("E71", path=FOLDER, why=str(error)) from error
                time.sleep(0.1)
