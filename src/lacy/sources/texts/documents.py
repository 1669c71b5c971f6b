"""Use texts as a source: the values in passages that match the text so far are candidates.

No large model reads anything. Names, dates and numbers are found once, when the texts are indexed
(from the texts' own marks, or else by ``lacy.annotate``). A call searches for passages about the
subject that share words with the sentence so far. The values in them are the candidates, with the
passage as evidence, and the SLM ranks them by likelihood, as with a ``Database``. A text is only
data: a value has at most ``LONGEST_MARK`` characters, and nothing is executed or obeyed.

The index uses SQLite's full-text search (FTS5, ranked by bm25), not the package ``bm25s``. FTS5
comes with Python, stays on disk, updates single documents in transactions, and keeps words,
passages and values in one file; ``bm25s`` holds arrays in memory that must be rebuilt for every
added text.

Documents about the subject rank first. A passage in another document that names the subject is
mostly about someone else, and that person's birth date would become a candidate.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.errors import LacyError, one_line
from lacy.sources.db import QueryWorker
from lacy.sources.db.stores import open_read_only
from lacy.sources.names import NameIndex, subject_key
from lacy.sources.protocol import error_reply
from lacy.sources.texts import indexing, origins, schema
from lacy.sources.texts.asked import AskedNames, rank_by_question, with_first_passage
from lacy.sources.texts.indexing import BuildReport
from lacy.sources.texts.origins import Origin
from lacy.sources.texts.passages import extended_values, search_words
from lacy.sources.texts.schema import INDEX_FILE, SearchEngine
from lacy.sources.texts.search import FtsSearch, Hit, SearchQuery, WordSearch
from lacy.sources.texts.subjects import (
    clean_name,
    first_name,
    hits_naming,
    last_paragraph,
    last_sentence,
    single_word_name,
)
from lacy.sources.units import completions
from lacy.types import Candidate, Document, Mark, Reply, Request

if TYPE_CHECKING:
    from lacy.annotate import Annotator
    from lacy.sources.texts.vectors import VectorSearch

DEFAULT_PASSAGES = 4
"""Number of passages that supply candidates; passages without a new value do not count."""

DEFAULT_CANDIDATES = 24
"""Maximum number of candidates of a reply."""

_HITS_PER_PASSAGE = 8
"""Number of search hits to fetch per passage; many hits only repeat values of others."""

_SENTENCE_WORDS = 24
"""Number of last words of the sentence so far that are searched for."""

_EXCERPT = 160
"""Number of characters of a passage that are shown as evidence."""

_BUSY_SECONDS = 5.0
"""Seconds to wait while a build is writing."""

_LOWEST_SCORE = 0.5
"""Without a named subject, hits below this share of the best hit's score are dropped."""


class Documents:
    """An index of texts written by ``Documents.build`` or ``lacy source build``.

    Args:
        path: folder of the index.
        name: the speaker in spans; by default the folder's name.
        passages: number of passages that supply candidates.
        candidates: maximum number of candidates of a reply.

    Raises:
        LacyError: E70, the folder contains no readable index.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        passages: int = DEFAULT_PASSAGES,
        candidates: int = DEFAULT_CANDIDATES,
    ) -> None:
        self.path = Path(path)
        self.name = name or self.path.resolve().name
        self.passages = passages
        self.candidates = candidates
        self._lock = threading.Lock()
        self._db = _open(self.path)
        self._worker = QueryWorker(self._interrupt)
        try:
            self.names, self.alternatives = self._read()
            self._asked = AskedNames(self.names)
            self._words, self._vectors = self._open_searches()
        except (sqlite3.Error, LacyError) as error:
            self._db.close()
            if isinstance(error, LacyError):
                raise
            raise LacyError("E70", path=self.path, why=str(error)) from error
        self._version = self._data_version()

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        path: str | Path,
        *,
        annotator: Annotator | None = None,
        report: BuildReport | None = None,
        engine: SearchEngine | None = None,
        vectors: str | None = None,
        origin: Origin | None = None,
    ) -> Documents:
        """Add documents to the index in a folder and open it.

        New documents are added, changed ones (by id) are replaced, and others stay. With
        ``origin``, documents from this origin that are not among ``documents`` are removed. An
        interrupted build keeps what it wrote and resumes when called again.

        Args:
            documents: the texts. The subject of a document is ``meta["person"]`` or
                ``meta["title"]``, or else the first name in it. Its marks are the values; the kind
                of a value is the mark's relation, or else its reason.
            path: the folder; created if needed.
            annotator: finds the values in texts without marks; by default the bundled spaCy
                pipeline.
            report: filled with the results, including documents that cannot be used.
            engine: search engine of a new index; ``"fts5"`` by default.
            vectors: folder or Hub name of a model2vec model, to search passages by meaning as well.
                Vectors can be added to an existing index.
            origin: where all documents come from (a folder, file or data set), as
                ``Origin(source)``.

        Raises:
            LacyError: E16, the folder contains something else; E71, the index cannot be written;
                E100, it has another engine or other vectors; E101, there are no such vectors;
                E11, a package is missing; E30 and E31, errors of the annotator.
        """
        indexing.build_index(
            documents, Path(path), annotator, report or BuildReport(),
            engine=engine, vectors=vectors, origin=origin,
        )  # fmt: skip
        return cls(path)

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the values of the passages that match each text; without any, ``error`` says why.

        The search runs in a thread, so that a caller's timeout can end it.
        """
        return await self._worker.ask(self._reply, requests)

    def _interrupt(self) -> None:
        with suppress(sqlite3.Error):  # already closed
            self._db.interrupt()

    def close(self) -> None:
        """Close the index; asking afterwards gives replies with an error."""
        with self._lock:
            for search in self._searches():
                search.close()
            self._db.close()

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of documents."""
        with self._lock:
            return int(self._db.execute("SELECT COUNT(*) FROM document").fetchone()[0])

    def missing(self) -> list[str]:
        """Return the files of the index that no longer exist."""
        with self._lock:
            return origins.missing_files(self._db)

    def link(self, text: str) -> str | None:
        """Return the subject of a text if documents are about it; see ``NameIndex.find``."""
        return self.names.find(text)

    def documents(self, limit: int = -1) -> Iterator[Document]:
        """Yield the documents with their values as marks; a calibration can read them."""
        with self._lock:
            query = "SELECT id, name, subject, text FROM document ORDER BY id LIMIT ?"
            found = self._db.execute(query, (limit,)).fetchall()
        for number, name, subject, text in found:
            with self._lock:
                query = (
                    "SELECT span.start, span.stop, kind FROM span"
                    " JOIN passage ON passage.id = passage WHERE document = ? ORDER BY span.start"
                )
                spans = self._db.execute(query, (number,)).fetchall()
            marks = tuple(Mark(start, stop, "VALUE", kind) for start, stop, kind in spans)
            yield Document(name, text, {"title": subject} if subject else {}, marks)

    def subjects(self) -> list[str]:
        """Return what the documents are about, without repetitions."""
        query = "SELECT DISTINCT subject FROM document WHERE subject != '' ORDER BY subject"
        with self._lock:
            return [subject for (subject,) in self._db.execute(query)]

    def texts_about(self, subject: str) -> list[str]:
        """Return the texts of all documents with exactly this subject."""
        query = "SELECT text FROM document WHERE subject = ? ORDER BY id"
        with self._lock:
            return [text for (text,) in self._db.execute(query, (subject,))]

    # ------------------------------------------------------------------------------- answering

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        paragraph = last_paragraph((request.question or request.text).rstrip())
        subject = request.subject or self.names.find(request.text)
        if not subject and request.question:
            subject = self._asked.find(request.question)
        subject = subject or first_name(paragraph) or single_word_name(paragraph)
        try:
            with self._lock, self._read_transaction():
                hits = self._search(request, subject)
                candidates = self._candidates(request, subject, hits)
        except sqlite3.Error as error:
            return error_reply(self, str(error), begin, fault=True)
        if candidates:
            return Reply(candidates, ranked=True, seconds=time.perf_counter() - begin)
        about = f"about {subject!r}" if subject else "that fits"
        why = "the text has just given all that it found" if hits else f"it has no passage {about}"
        return error_reply(self, why, begin)

    @contextmanager
    def _read_transaction(self) -> Iterator[None]:
        """Open a transaction, so that all reads see the same state even if a build is writing."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._db.rollback()

    def _search(self, request: Request, subject: str) -> list[Hit]:
        """Return the passages that match the request, best first."""
        if (version := self._data_version()) != self._version:  # another process has written
            for search in self._searches():
                search.refresh()
            self._version = version  # last, because a refresh may fail while a build is writing
        named = search_words(subject.lower())
        sentence = last_sentence(request.question or request.text)
        words = dict.fromkeys(search_words(sentence.lower()))
        others = [word for word in words if word not in named][-_SENTENCE_WORDS:]
        about = self._known_spellings(subject) if subject in self.names else ()
        limit = _HITS_PER_PASSAGE * self.passages
        hits = self._words.find(SearchQuery(others, named, about if named else ()), limit)
        if not named:
            hits = [hit for hit in hits if hit[1] >= _LOWEST_SCORE * hits[0][1]]
        if not about:
            hits = hits_naming(self._db, hits, subject, self.names.false_matches(sentence))
        if request.question and about:
            hits = rank_by_question(self._db, hits, request.question, subject)
            hits = with_first_passage(self._db, hits, about)
        if self._vectors is not None and others:
            from lacy.sources.texts.vectors import fuse_rankings

            # A passage must contain a named subject, however similar the meaning of others is.
            among = [number for number, _ in hits] if named else None
            hits = fuse_rankings(hits, self._vectors.near(sentence, limit, among))[:limit]
        return hits

    def _known_spellings(self, subject: str) -> Sequence[str]:
        """Return all spellings of a known subject in the documents."""
        known = self._spellings.get(subject_key(subject))
        return known or (clean_name(self.names.stored_spelling(subject)),)

    def _data_version(self) -> int:
        """Return a number that changes whenever another process writes."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _candidates(
        self, request: Request, subject: str, hits: Sequence[Hit]
    ) -> tuple[Candidate, ...]:
        """Return the distinct values of the passages as candidates, best passage first."""
        found: dict[tuple[str, str], Candidate] = {}
        used = 0
        for passage, _ in hits:
            before = len(found)
            for value, kind, evidence, context in self._values(passage):
                alternatives = self.alternatives.get(kind, 1.0)
                for text in completions(request.text, value) if value != subject else ():
                    candidate = Candidate(text, evidence, kind, alternatives, subject, context)
                    found.setdefault((text, kind), candidate)
            used += len(found) > before
            if used == self.passages:
                break
        return tuple(found.values())[: self.candidates]

    def _values(self, passage: int) -> Iterator[tuple[str, str, str, str]]:
        """Yield value, kind, evidence and context of each value in a passage, if it exists."""
        query = (
            "SELECT document.id, name, subject, number, start, stop, text FROM passage"
            " JOIN document ON document.id = document WHERE passage.id = ?"
        )
        row = self._db.execute(query, (passage,)).fetchone()
        if row is None:
            return
        document, name, about, number, start, stop, text = row
        context = one_line(text[start:stop])
        if about and about not in context:
            context = f"{about}: {context}"
        query = "SELECT start FROM page WHERE document = ? ORDER BY start"
        pages = [at for (at,) in self._db.execute(query, (document,))]
        query = "SELECT start, stop, kind, value FROM span WHERE passage = ? ORDER BY start"
        spans = self._db.execute(query, (passage,)).fetchall()
        places = [(a - start, b - start, kind) for a, b, kind, _ in spans]
        extended = extended_values(text[start:stop], places)
        for a, b, kind, value in spans:
            page = f"page {bisect_right(pages, a)}, " if pages else ""
            where = f"{self.name}/{one_line(name)}, {page}passage {number}, characters {a}-{b}"
            evidence = f"{where}: {_excerpt(text, start, stop, a, b)}"
            yield value, kind, evidence, context
            if longer := extended.get((a - start, b - start)):
                yield longer, kind, evidence, context

    def _read(self) -> tuple[NameIndex, dict[str, float]]:
        """Return the subjects of the documents, and the effective number of values of each kind."""
        if why := schema.format_problem(self._db):
            raise sqlite3.DatabaseError(why)
        subjects = self._db.execute("SELECT DISTINCT subject FROM document WHERE subject != ''")
        known = [name for (name,) in subjects]
        names, spellings = NameIndex(known), defaultdict[str, list[str]](list)
        for name in known:
            spellings[subject_key(name)].append(name)
        self._spellings = {key: found for key, found in spellings.items() if len(found) > 1}
        stored = dict(self._db.execute("SELECT name, alternatives FROM kind").fetchall())
        # An interrupted build has not stored these counts.
        return names, stored or schema.count_alternatives(self._db)

    def _open_searches(self) -> tuple[WordSearch, VectorSearch | None]:
        """Open the search by words, and the search by vectors if the index has vectors."""
        settings = schema.index_settings(self._db)
        words: WordSearch = FtsSearch(self._db)
        if settings[schema.ENGINE] == "tantivy":
            from lacy.sources.texts.tantivy_search import TantivySearch

            words = TantivySearch(self.path)
        if schema.VECTORS not in settings:
            return words, None
        from lacy.sources.texts.vectors import MODEL_FOLDER, VectorSearch

        exists = (self.path / MODEL_FOLDER).exists()  # an interrupted build has not copied it yet
        return words, VectorSearch(self.path) if exists else None

    def _searches(self) -> Iterator[WordSearch | VectorSearch]:
        yield self._words
        if self._vectors is not None:
            yield self._vectors


def _open(folder: Path) -> sqlite3.Connection:
    """Return a read-only connection to an index."""
    file = folder / INDEX_FILE
    if not file.is_file():
        raise LacyError("E70", path=folder, why=f"there is no {INDEX_FILE}")
    try:
        if file.with_name(
            f"{INDEX_FILE}-journal"
        ).exists():  # only a writer can roll back a killed build
            with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as db:
                db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        return open_read_only(file, _BUSY_SECONDS)
    except sqlite3.Error as error:
        raise LacyError("E70", path=folder, why=str(error)) from error


def _excerpt(text: str, start: int, stop: int, a: int, b: int) -> str:
    """Return an excerpt of the passage ``[start, stop)`` around the value ``[a, b)``."""
    margin = max(0, (_EXCERPT - (b - a)) // 2)
    first, last = max(start, a - margin), min(stop, b + margin)
    before, after = "…" * (first > start), "…" * (last < stop)
    return f"{before}{one_line(text[first:last])}{after}"
