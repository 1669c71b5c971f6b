"""Links a name in a text to a known name: by exact match, then normal form, then similarity.

- **Exact**: ``NameIndex``; if it finds a name, the other steps are skipped.
- **Normalised**: equal without case, accents, punctuation and double spaces; "Lovelace, Ada" is
  read as "Ada Lovelace" and "J. R. R." as "JRR". Symbols are not punctuation: "C#" is not "C".
- **Similar**: a few letters differ. Names that share a third of their letters in a row are found
  with an in-memory full-text index of trigrams (SQLite's FTS5), then compared by edit distance.

A wrong subject gives a wrong fact, so a doubtful name is not linked: two names that are equally
near, different numbers or first letters, a different number of words, or a short name.
``THRESHOLD`` and ``MARGIN`` were chosen with ``benchmarks/linking.py``.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lacy.sources.names.boundaries import alone, introduced, shadow
from lacy.sources.names.index import PARAGRAPH, Doubt, NameIndex, alike, plain
from lacy.sources.names.spelling import normal, shape, similarity

__all__ = ["Link", "Linker", "normal", "similarity"]

THRESHOLD = 0.9
"""Least similarity (1 - edits / letters) of a name that is taken for another."""

MARGIN = 0.05
"""How much more similar it must be than the second best."""

SHORTEST = 8
"""Letters below which a name is only taken as it is: most short words are similar to some name."""

_CANDIDATES = 500
"""Names that are compared at most; with their first letters equal there are hardly ever so many."""
_KEPT = 4_096
"""Mentions whose links are kept."""
_WORDS = 8
"""Most words of a name that is looked for in a text by its normal form."""

_TOKEN = re.compile(r"\w+(?:['\-–]\w+)*\.?")
_SIGNS = re.compile(r"[^\w\s()\[\]{}\"“”„«»,;:]+")
"""Symbols that may be attached to a word as part of a name: "C++", "Yahoo!"."""
_PARTICLES = frozenset(
    "of the de da di du del la le von van der den ten ter bin al el y and".split()
)
_LETTERS = re.compile(r"[^\W_]+")
_STOP = re.compile(r"[^\s,.()&/–—-]|\.\s*,|,.*,", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Link:
    """Whom a mention was taken for.

    Args:
        name: as the database spells it.
        stage: how it was found.
        mention: as the text spells it.
        similarity: 1 unless the stage is ``similar``.
    """

    name: str
    stage: Literal["exact", "normalised", "similar"] = "exact"
    mention: str = ""
    similarity: float = 1.0

    @property
    def note(self) -> str:
        """What evidence says of it; nothing for an exact name."""
        if self.stage == "exact":
            return ""
        much = f", similarity {self.similarity:.2f}" if self.stage == "similar" else ""
        return f"{self.mention!r} taken for {self.name!r}{much}"


class Linker:
    """Finds known names in texts, including other spellings of them.

    Args:
        names: the known names.
        fuzzy: whether to accept names that are not exact.
        threshold: least similarity.
        margin: least distance to the second best.
        same: returns the same value for all spellings of one name.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        fuzzy: bool = True,
        threshold: float = THRESHOLD,
        margin: float = MARGIN,
        same: Callable[[str], str] = plain,
    ) -> None:
        names = list(names)
        self._same = same
        self.exact = NameIndex(names)
        self.fuzzy, self.threshold, self.margin = fuzzy, threshold, margin
        self._forms: dict[str, str | tuple[str, ...]] = {}
        self._first: set[str] = set()
        self._kept: dict[tuple[str, float, float], tuple[Link | None, str]] = {}
        self._lock = threading.Lock()
        if fuzzy:
            self._read(names)

    def find(self, text: str) -> tuple[Link | None, str]:
        """Whom a text is about, or None and why.

        The last paragraph that names someone counts, and whom it names first; a name spelled
        exactly, anywhere, counts before all others.
        """
        exact = self.exact.search(text)
        if isinstance(exact, str):
            return Link(exact), ""
        if not self.fuzzy:
            return None, exact.why if exact else ""
        why = ""
        for paragraph in reversed(PARAGRAPH.split(alike(text))):
            # A name after an unknown longer name is not the subject of the paragraph.
            last = exact.start if exact and exact.paragraph == paragraph else len(paragraph)
            words = list(_TOKEN.finditer(shadow(paragraph)))
            link, doubt = self._normalised_in(paragraph, words, last)
            if link is not None or isinstance(doubt, Doubt):
                return link, doubt.why if isinstance(doubt, Doubt) else ""
            why = why or doubt
            for mention in _mentions(paragraph, words):
                link, said = self._similar(mention)
                if link is not None or said:
                    return link, said
            if last < len(paragraph) and exact:
                return None, why or exact.why
        return None, why

    def mentioned(self, text: str) -> bool:
        """Whether a text contains a known name, exactly or in its normal form."""
        return any(True for _ in self.exact.names_in(text)) or self.find(text)[0] is not None

    def resolve(self, name: str) -> tuple[Link | None, str]:
        """Whom a name means that is spelled as a caller spells it, or None and why."""
        if name in self.exact:
            return Link(self.exact.spelled(name)), ""
        if not self.fuzzy:
            return None, ""
        found = self._form(normal(name))
        if isinstance(found, str):
            return Link(found, "normalised", name), ""
        return self._similar(name) if found is None else (None, _either(name, *found[:2]))

    # ---------------------------------------------------------------------------------- normal

    def _read(self, names: Iterable[str]) -> None:
        """Normal forms of all names, and the index of their trigrams."""
        for name in names:
            forms = {normal(name)} | ({normal(name, as_written=True)} if "," in name else set())
            for form in forms:
                if not form:
                    continue
                known = self._forms.setdefault(form, name)
                others = (known,) if isinstance(known, str) else known
                if name not in others and self._same(name) not in map(self._same, others):
                    self._forms[form] = (*others, name)
        self._first = {found.group() for form in self._forms if (found := _LETTERS.search(form))}
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE names USING fts5(form, shape, tokenize = 'trigram',"
                " columnsize = 0)"
            )
        except sqlite3.Error:  # an old SQLite: no similar names
            self._db.close()
            return
        long = ((form, shape(form)) for form in self._forms if len(form) >= SHORTEST)
        self._db.executemany("INSERT INTO names VALUES (?, ?)", long)

    def _form(self, form: str) -> str | tuple[str, ...] | None:
        return self._forms.get(form)

    def _normalised_in(
        self, text: str, words: list[re.Match[str]], last: int
    ) -> tuple[Link | None, str | Doubt]:
        """The first mention whose normal form is known; the longest if several begin there.

        Args:
            text: one paragraph.
            words: its words.
            last: the last position at which a mention may begin.
        """
        forms = [normal(text[word.start() : word.end()]) for word in words]
        small = text == text.lower()
        for place, form in enumerate(forms):
            if words[place].start() > last:
                break
            first = form.partition(" ")[0]
            # "J. R. R." is one word of its name, and "Lovelace, Ada" begins with its last one.
            known = first in self._first or len(first) == 1
            if not known and not _has_comma(text, words, place):
                continue
            doubt: Doubt | None = None
            for count in range(min(_WORDS, len(words) - place), 0, -1):
                link, why = self._normalised_at(text, words[place : place + count], small)
                if link is not None or isinstance(why, str):
                    return link, why or ""
                doubt = doubt or why
            if doubt is not None and not introduced(text, doubt.start):
                return None, doubt
        return None, ""

    def _normalised_at(
        self, text: str, group: list[re.Match[str]], small: bool
    ) -> tuple[Link | None, str | Doubt | None]:
        """The known name for some words; a reason if ambiguous, a doubt if the name is longer."""
        doubt = None
        for start, end in _spans(text, group):
            span = text[start:end]
            found = self._form(normal(span))
            if found is None or not _name_like(span, small):
                continue
            if not alone(text, start, end, small=span == span.lower()):
                doubt = Doubt(text, start, span)
            elif isinstance(found, tuple):
                return None, _either(span, *found[:2])
            else:
                return Link(found, "normalised", span), None
        return None, doubt

    # --------------------------------------------------------------------------------- similar

    def _similar(self, mention: str) -> tuple[Link | None, str]:
        """The one known name that a mention is similar enough to.

        What was found is kept: a text asks again and again about the same.
        """
        asked = (mention, self.threshold, self.margin)
        with self._lock:
            if asked in self._kept:
                return self._kept[asked]
        found = self._compared(mention)
        with self._lock:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[asked] = found
        return found

    def _compared(self, mention: str) -> tuple[Link | None, str]:
        best: dict[str, float] = {}
        form = normal(mention)
        for other in self._candidates(form):
            much = similarity(form, other)
            if much >= self.threshold - self.margin:
                known = self._forms[other]
                for name in (known,) if isinstance(known, str) else known:
                    best[name] = max(much, best.get(name, 0.0))
        order = sorted(best, key=lambda name: (-best[name], name))
        if not order or best[order[0]] < self.threshold:
            return None, ""
        if len(order) > 1 and best[order[0]] - best[order[1]] < self.margin:
            return None, _either(mention, order[0], order[1])
        return Link(order[0], "similar", mention, best[order[0]]), ""

    def _candidates(self, form: str) -> list[str]:
        """Known forms that hold a third (of short ones, a half) of this one as it is."""
        if len(form) < SHORTEST:
            return []
        count = 3 if len(form) >= 9 else 2
        cuts = [round(len(form) * n / count) for n in range(count + 1)]
        pieces = [form[a:b] for a, b in pairwise(cuts)]
        # Quoted: forms and shapes hold letters, digits, spaces and "=" only.
        query = " OR ".join(f'"{piece}"' for piece in pieces)
        query = f'shape : "{shape(form)}" AND form : ({query})'
        with self._lock, suppress(sqlite3.Error):
            found = self._db.execute(
                "SELECT form FROM names WHERE names MATCH ? LIMIT ?", (query, _CANDIDATES)
            )
            return [other for (other,) in found]
        return []


# ------------------------------------------------------------------------------------- mentions


def _mentions(text: str, words: list[re.Match[str]]) -> Iterator[str]:
    """The first run of capitalised words, at least two, and without its first word.

    Only the first: a paragraph is about whom it names first.
    """
    for place, word in enumerate(words):
        if not text[word.start()].isupper():
            continue
        count = 1
        for more in range(2, min(_WORDS, len(words) - place) + 1):
            last = text[words[place + more - 1].start() : words[place + more - 1].end()]
            if not _spans(text, words[place : place + more]):
                break
            if not (last[0].isupper() or last.lower() in _PARTICLES):
                break
            if last[0].isupper():
                count = more
        if count < 2:
            continue
        runs = [words[place : place + count]]
        if count > 2:  # "When Ada Lovelace"
            runs.append(words[place + 1 : place + count])
        for run in runs:
            for start, end in _spans(text, run):
                if alone(text, start, end):
                    yield text[start:end]
        return


def _spans(text: str, group: list[re.Match[str]]) -> list[tuple[int, int]]:
    """Possible spans of a name of these words, with symbols first; none across a full stop."""
    for one, other in pairwise(group):
        word = text[one.start() : one.end()]
        ends = word.endswith(".") and len(word) > 3 and word not in ("Prof.", "Capt.")
        if ends or _STOP.search(text[one.end() : other.start()]):
            return []
    start, end = group[0].start(), group[-1].end()
    if text[start:end].count(",") > 1:
        return []
    behind = _SIGNS.match(text, end)
    found = [(start, behind.end())] if behind else []
    end -= text[start:end].endswith(".")
    found.append((start, end))
    if re.search("['’]s$", text[start:end]):
        found.append((start, end - 2))
    front = start
    while front and _SIGNS.match(text[front - 1]):
        front -= 1
    return [(front, stop) for _, stop in found if front < start] + found


def _has_comma(text: str, words: list[re.Match[str]], place: int) -> bool:
    """Whether a comma follows within the next words: "Lovelace, Ada"."""
    last = words[min(place + 3, len(words) - 1)]
    return "," in text[words[place].end() : last.start()]


def _name_like(span: str, small: bool) -> bool:
    """Whether a span may be a name: it has a capital, or is several words of a ``small`` text."""
    if " " not in span.strip():
        return len(span) > 3 and span[0].isupper()
    return small or span != span.lower()


def _either(mention: str, one: str, other: str) -> str:
    return f"{mention!r} may mean {one!r} or {other!r}"
