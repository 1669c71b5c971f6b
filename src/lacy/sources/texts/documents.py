"""A folder of texts as a source: the values in the passages that fit are candidates.

No large model reads anything. When texts are indexed, their names, dates and numbers are found once
(by the texts' own marks, else by ``lacy.annotate``). A call looks for passages about the subject
that share words with the sentence so far; the values in them are offered with their place as
evidence, and the SLM ranks them by likelihood, as it does with a ``Database``. What a text says is
data: a value is at most ``MAX_VALUE`` characters of it, and nothing in it is obeyed.

The index is SQLite's own full-text search (FTS5, ranked by its bm25) rather than the package
``bm25s``: it comes with Python, stays on disk, takes new and changed documents one by one in
transactions, binds its parameters, and one file holds words, passages and values; ``bm25s`` keeps
arrays in memory that have to be made anew for every added text.

Texts about the subject answer before others: a passage elsewhere that names it is mostly about
someone else, whose birth date would stand among the candidates.
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
from lacy.sources.texts import index, origins
from lacy.sources.texts.index import FILE, BuildReport, Engine
from lacy.sources.texts.naming import of_this_name, one_word
from lacy.sources.texts.origins import Root
from lacy.sources.texts.passages import EMPTY_LINE, STOP, first_name, plain, wider, words_of
from lacy.sources.texts.words import Fts, Hit, Wanted, Words
from lacy.sources.units import completions
from lacy.types import Candidate, Document, Mark, Reply, Request

if TYPE_CHECKING:
    from lacy.annotate import Annotator
    from lacy.sources.texts.vectors import Vectors

DEFAULT_PASSAGES = 4
"""Passages whose values are offered; those that add nothing new are not counted."""

DEFAULT_CANDIDATES = 24
"""Most candidates of a reply."""

_MORE = 8
"""Passages read for each that is wanted: many may repeat what others say."""

_WORDS = 24
"""Words of the sentence so far that are looked for, the last ones."""

_EXCERPT = 160
"""Characters of a passage shown as evidence."""

_BUSY_SECONDS = 5.0
"""How long to wait for a build that writes."""

_FAINT = 0.5
"""Where nobody is named: share of the best passage's score below which others do not fit."""

Passage = tuple[int, int, int, int]
"""Number, its document's, where it begins and ends in the text."""


class Documents:
    """An index of texts that ``Documents.build`` or ``lacy source build`` wrote.

    Args:
        path: its folder.
        name: who speaks; the folder's name by default.
        passages: how many passages' values are offered.
        candidates: most candidates of a reply.

    Raises:
        LacyError: E70, the folder holds no index that can be read.
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
        self._turns = QueryWorker(self._interrupt)
        try:
            self.names, self.alternatives = self._read()
            self._words, self._vectors = self._searches()
        except sqlite3.Error as error:
            self._db.close()
            raise LacyError("E70", path=self.path, why=str(error)) from error
        except LacyError:
            self._db.close()
            raise
        self._seen = self._version()

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        path: str | Path,
        *,
        extract: Annotator | None = None,
        report: BuildReport | None = None,
        engine: Engine | None = None,
        vectors: str | None = None,
        root: Root | None = None,
    ) -> Documents:
        """Adds documents to the index in a folder and opens it.

        New documents are added, changed ones are replaced by id, and others stay. With ``root``,
        documents from there that are not among ``documents`` are removed. An interrupted build
        keeps what it wrote and resumes when called again.

        Args:
            documents: the texts. The subject of each is ``meta["person"]`` or ``meta["title"]``, or
                else the first name in it. Their marks are the values; the kind of a value is the
                mark's relation, or else its reason.
            path: the folder; created if needed.
            extract: finds the values of texts without marks; spaCy's bundled pipeline by default.
            report: filled with what was done, including documents that cannot be used.
            engine: search engine of a new index; ``"fts5"`` by default.
            vectors: folder or Hub name of a model2vec model, to find passages by meaning as well.
                Vectors can be added to an index later.
            root: the source that contains all the documents, ``Root.of(source)``: a folder, a file
                or a data set.

        Raises:
            LacyError: E16, the folder contains something else; E71, the index cannot be written;
                E100, it has another engine or other vectors; E101, there are no such vectors;
                E11, a package is missing; E30 and E31, errors of the annotator.
        """
        done = report or BuildReport()
        folder = Path(path)
        index.build(documents, folder, extract, done, engine=engine, vectors=vectors, root=root)
        return cls(path)

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Values of the passages that fit each text; an error says why there are none.

        The search runs in a thread of its own, so that a caller's timeout ends it.
        """
        return await self._turns.ask(self._reply, requests)

    def _interrupt(self) -> None:
        with suppress(sqlite3.Error):  # closed
            self._db.interrupt()

    def close(self) -> None:
        """Close the file; asking afterwards gives replies with an error."""
        with self._lock:
            self._words.close()
            if self._vectors is not None:
                self._vectors.close()
            self._db.close()

    def __enter__(self) -> Documents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many documents there are."""
        with self._lock:
            return int(self._db.execute("SELECT COUNT(*) FROM document").fetchone()[0])

    def missing(self) -> list[str]:
        """Files that the index was built from and that no longer exist."""
        with self._lock:
            return origins.missing(self._db)

    def link(self, text: str) -> str | None:
        """Whom a text is about, of those that documents are about: its last paragraph's first."""
        return self.names.find(text)

    def documents(self, limit: int = -1) -> Iterator[Document]:
        """The documents with their values as marks, as calibration reads them."""
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

    # ------------------------------------------------------------------------------- answering

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        linked = self.link(request.text)
        paragraph = _paragraph(request.text.rstrip())
        subject = request.subject or linked or first_name(paragraph) or one_word(paragraph)
        try:
            with self._lock, self._one_state():
                found = self._search(request, subject)
                candidates = self._candidates(request, subject, found)
        except sqlite3.Error as error:
            return self._nothing(str(error), begin, fault=True)
        if candidates:
            return Reply(candidates, ranked=True, seconds=time.perf_counter() - begin)
        about = f"about {subject!r}" if subject else "that fits"
        why = "all that it found has just been said" if found else f"it has no passage {about}"
        return self._nothing(why, begin)

    @contextmanager
    def _one_state(self) -> Iterator[None]:
        """Reads from one state of the file: a build's change comes before all of it, or after."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._db.rollback()

    def _nothing(self, why: str, begin: float, *, fault: bool = False) -> Reply:
        seconds = time.perf_counter() - begin
        return Reply(error=f"{self.name}: {why}", seconds=seconds, fault=fault)

    def _search(self, request: Request, subject: str) -> list[Passage]:
        """Passages that fit, best first."""
        if (version := self._version()) != self._seen:  # somebody has written
            self._words.refresh()
            if self._vectors is not None:
                self._vectors.refresh()
            self._seen = version  # last: a writer may have been in the way
        named = words_of(subject.lower())
        sentence = _sentence(request.text)
        words = dict.fromkeys(words_of(sentence.lower()))
        said = [word for word in words if word not in named][-_WORDS:]
        about = self._about(subject) if subject in self.names else ()
        limit = _MORE * self.passages
        hits = self._words.find(Wanted(said, named, about if named else ()), limit)
        if not named:
            hits = [hit for hit in hits if hit[1] >= _FAINT * hits[0][1]]
        if not about:
            hits = of_this_name(self._db, hits, subject, self.names.false_matches(sentence))
        if self._vectors is not None and said:
            hits = self._fused(sentence, hits, named, limit)
        return self._passages([number for number, _ in hits])

    def _about(self, subject: str) -> Sequence[str]:
        """The spellings under which documents are about a known subject."""
        return self._spellings.get(subject_key(subject)) or (
            plain(self.names.stored_spelling(subject)),
        )

    def _fused(self, sentence: str, hits: list[Hit], named: Sequence[str], limit: int) -> list[Hit]:
        """Hits and their order by meaning as well; who is named must be in them all the same."""
        from lacy.sources.texts.vectors import fused

        assert self._vectors is not None
        among = [number for number, _ in hits] if named else None
        return fused(hits, self._vectors.near(sentence, limit, among))[:limit]

    def _passages(self, numbers: Sequence[int]) -> list[Passage]:
        """Where passages stand, in the order given; those that are gone are left out."""
        found = {}
        query = "SELECT id, document, start, stop FROM passage WHERE id = ?"
        for number in numbers:
            row = self._db.execute(query, (number,)).fetchone()
            if row is not None:
                found[number] = row
        return list(found.values())

    def _version(self) -> int:
        """A number that changes when another process has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _candidates(
        self, request: Request, subject: str, found: Sequence[Passage]
    ) -> tuple[Candidate, ...]:
        """Values of the passages, best passage first, each value of a kind once."""
        offered: dict[tuple[str, str], Candidate] = {}
        used = 0
        for passage, document, start, stop in found:
            if used == self.passages:
                break
            before = len(offered)
            query = "SELECT start, stop, kind, value FROM span WHERE passage = ? ORDER BY start"
            spans = self._db.execute(query, (passage,)).fetchall()
            query = (
                "SELECT document.name, number, text FROM document"
                " JOIN passage ON document.id = document WHERE document.id = ? AND passage.id = ?"
            )
            name, number, text = self._db.execute(query, (document, passage)).fetchone()
            query = "SELECT start FROM page WHERE document = ? ORDER BY start"
            pages = [at for (at,) in self._db.execute(query, (document,))]
            parts = [(a - start, b - start, kind) for a, b, kind, _ in spans]
            whole = wider(text[start:stop], parts)
            for a, b, kind, value in spans:
                page = f"page {bisect_right(pages, a)}, " if pages else ""
                where = f"{self.name}/{one_line(name)}, {page}passage {number}, characters {a}-{b}"
                evidence = f"{where}: {_excerpt(text, start, stop, a, b)}"
                alternatives = self.alternatives.get(kind, 1.0)
                for said in filter(None, (value, whole.get((a - start, b - start)))):
                    for way in completions(request.text, said) if said != subject else ():
                        one = Candidate(way, evidence, kind, alternatives, subject)
                        offered.setdefault((way, kind), one)
            used += len(offered) > before
        return tuple(offered.values())[: self.candidates]

    def _read(self) -> tuple[NameIndex, dict[str, float]]:
        """Whom the documents are about, and the alternatives of each kind."""
        if why := index.unusable(self._db):
            raise sqlite3.DatabaseError(why)
        subjects = self._db.execute("SELECT DISTINCT subject FROM document WHERE subject != ''")
        known = [name for (name,) in subjects]
        names, spellings = NameIndex(known), defaultdict[str, list[str]](list)
        for name in known:
            spellings[subject_key(name)].append(name)
        self._spellings = {one: found for one, found in spellings.items() if len(found) > 1}
        stored = dict(self._db.execute("SELECT name, alternatives FROM kind").fetchall())
        return names, stored or index.alternatives(self._db)  # none stored: a stopped build

    def _searches(self) -> tuple[Words, Vectors | None]:
        """Who searches words, and vectors where the index has some."""
        has = index.settings(self._db)
        words: Words = Fts(self._db)
        if has[index.ENGINE] == "tantivy":
            from lacy.sources.texts.words_tantivy import Tantivy

            words = Tantivy(self.path)
        if index.VECTORS not in has:
            return words, None
        from lacy.sources.texts.vectors import MODEL, Vectors

        made = (self.path / MODEL).exists()  # not yet where a build was stopped
        return words, Vectors(self.path) if made else None


def _open(folder: Path) -> sqlite3.Connection:
    """A read-only connection to an index."""
    file = folder / FILE
    if not file.is_file():
        raise LacyError("E70", path=folder, why=f"there is no {FILE}")
    try:
        if file.with_name(f"{FILE}-journal").exists():  # a killed build is undone by a writer only
            with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as db:
                db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        return open_read_only(file, _BUSY_SECONDS)
    except sqlite3.Error as error:
        raise LacyError("E70", path=folder, why=str(error)) from error


def _paragraph(text: str) -> str:
    """The last paragraph of a text."""
    return EMPTY_LINE.split(text)[-1]


def _sentence(text: str) -> str:
    """The unfinished last sentence of a text."""
    paragraph = _paragraph(text)
    ends = [match.end() for match in STOP.finditer(paragraph)]
    return paragraph[ends[-1] if ends else 0 :]


def _excerpt(text: str, start: int, stop: int, a: int, b: int) -> str:
    """Some characters of the passage ``[start, stop)`` around a value, in one line."""
    side = max(0, (_EXCERPT - (b - a)) // 2)
    first, last = max(start, a - side), min(stop, b + side)
    before, after = "…" * (first > start), "…" * (last < stop)
    return f"{before}{one_line(text[first:last])}{after}"
