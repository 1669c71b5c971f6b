"""Whom a text means, where it spells the name otherwise: exact, then normalised, then similar.

- **Exact**: ``NameIndex``, as before; where it finds a name, nothing else is asked.
- **Normalised**: equal without case, accents, punctuation and doubled spaces, "Lovelace, Ada" read
  as "Ada Lovelace", "J. R. R." as "JRR".
- **Similar**: a few letters differ. Names that share a third of their letters in a row are found by
  an in-memory full-text index over trigrams (SQLite's FTS5), then compared by edits.

A wrong subject is a wrong fact, so that a doubt means no link: two names that are equally near,
other numbers or first letters, another count of words, a name of few letters.
``benchmarks/linking.py`` measures it, and ``THRESHOLD`` and ``MARGIN`` were chosen by it.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lacy.sources.names import PARAGRAPH, NameIndex, plain

THRESHOLD = 0.9
"""Least similarity (1 - edits / letters) of a name that is taken for another."""

MARGIN = 0.05
"""How much more similar it must be than the second best."""

SHORTEST = 8
"""Letters below which a name is only taken as it is: most short words are similar to some name."""

_EDITS = 2
"""Most edits; three pieces of a name then hold at least one without any."""
_CANDIDATES = 500
"""Names that are compared at most; with their first letters equal there are hardly ever so many."""
_KEPT = 4_096
"""Mentions whose links are kept."""
_WORDS = 8
"""Most words of a name that is looked for in a text by its normal form."""

_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h",
     "'": "", "’": "", "‘": "", "ʼ": "", "`": "", ".": ""}
)  # fmt: skip
_NO_WORD = re.compile(r"[\W_]+")
_TOKEN = re.compile(r"\w+(?:['’\-‐‑–]\w+)*\.?")
_PARTICLES = frozenset(
    "of the de da di du del la le von van der den ten ter bin al el y and".split()
)
_STOP = re.compile(r"[^\s,.()&/–—-]|\.\s*,|,.*,", re.DOTALL)
_ROMAN = re.compile(r"[ivxlcdm]+|.*\d.*")


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
    """Finds names in texts and names that are spelled otherwise.

    Args:
        names: the known names.
        fuzzy: whether anything but exact names counts.
        threshold: least similarity.
        margin: least distance to the second best.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        fuzzy: bool = True,
        threshold: float = THRESHOLD,
        margin: float = MARGIN,
    ) -> None:
        names = list(names)
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
        found = self.exact.find(text)
        if found is not None:
            return Link(found), ""
        if not self.fuzzy:
            return None, ""
        why = ""
        for paragraph in reversed(PARAGRAPH.split(unicodedata.normalize("NFC", text))):
            words = [match for match in _TOKEN.finditer(paragraph)]
            link, doubt = self._normalised_in(paragraph, words)
            if link is not None:
                return link, ""
            why = why or doubt
            for mention in _mentions(paragraph, words):
                link, doubt = self._similar(mention)
                if link is not None or doubt:
                    return link, doubt
        return None, why

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
            for form in {normal(name), normal(name, as_written=True)}:
                if not form:
                    continue
                known = self._forms.setdefault(form, name)
                others = (known,) if isinstance(known, str) else known
                if name not in others and plain(name) not in map(plain, others):
                    self._forms[form] = (*others, name)
        self._first = {form.partition(" ")[0] for form in self._forms}
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE names USING fts5(form, shape, tokenize = 'trigram',"
                " columnsize = 0)"
            )
        except sqlite3.Error:  # an old SQLite: no similar names
            self._db.close()
            return
        long = ((form, _shape(form)) for form in self._forms if len(form) >= SHORTEST)
        self._db.executemany("INSERT INTO names VALUES (?, ?)", long)

    def _form(self, form: str) -> str | tuple[str, ...] | None:
        return self._forms.get(form)

    def _normalised_in(self, text: str, words: list[re.Match[str]]) -> tuple[Link | None, str]:
        """The first mention whose normal form is known, the longest of several."""
        forms = [normal(word.group()) for word in words]
        small = text == text.lower()
        for place, form in enumerate(forms):
            first = form.partition(" ")[0]
            # "J. R. R." is one word of its name, and "Lovelace, Ada" begins with its last one.
            known = first in self._first or len(first) == 1
            if not known and not _has_comma(text, words, place):
                continue
            for count in range(min(_WORDS, len(words) - place), 0, -1):
                span = _span(text, words, place, count)
                if span is None:
                    continue
                found = self._form(normal(span))
                if found is None or not _name_like(span, small):
                    continue
                if isinstance(found, tuple):
                    return None, _either(span, *found[:2])
                return Link(found, "normalised", span), ""
        return None, ""

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
        query = f'shape : "{_shape(form)}" AND form : ({query})'
        with self._lock, suppress(sqlite3.Error):
            found = self._db.execute(
                "SELECT form FROM names WHERE names MATCH ? LIMIT ?", (query, _CANDIDATES)
            )
            return [other for (other,) in found]
        return []


def normal(name: str, *, as_written: bool = False) -> str:
    """A name in small letters without accents and punctuation; "Last, First" in speaking order.

    Args:
        name: as anybody spells it.
        as_written: leaves the order as it is ("Paris, Texas").
    """
    text = name
    if text.count(",") == 1 and not as_written:
        last, first = text.split(",")
        text = f"{first} {last}"
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(c for c in text if not unicodedata.combining(c))
    words = _NO_WORD.sub(" ", text.casefold().translate(_LETTERS)).split()
    return " ".join(_joined(words))


def _joined(words: list[str]) -> Iterator[str]:
    """Words; letters that stand alone beside each other are one: J R R, JRR."""
    letters = ""
    for word in words:
        if len(word) == 1 and word.isalpha():
            letters += word
            continue
        if letters:
            yield letters
            letters = ""
        yield word
    if letters:
        yield letters


def similarity(one: str, other: str) -> float:
    """1 - edits / letters of two normal forms; 0 where they cannot mean the same.

    Edits are letters added, left out, replaced, or two that changed places. Names with other
    numbers, another count of words or other first letters of words mean someone else, and so do
    those that differ in a word of up to three letters.
    """
    words, others = one.split(), other.split()
    if len(words) != len(others):
        return 0.0
    edits = 0
    for a, b in zip(words, others, strict=True):
        if a == b:
            continue
        if a[0] != b[0] or min(len(a), len(b)) <= 3 or _ROMAN.fullmatch(a) or _ROMAN.fullmatch(b):
            return 0.0
        edits += _distance(a, b)
        if edits > _EDITS:
            return 0.0
    return 1.0 - edits / max(len(one), len(other))


def _shape(form: str) -> str:
    """Number of words and their first letters, which similar names share."""
    words = form.split()
    return f"={len(words)}{''.join(word[0] for word in words)}="


def _distance(a: str, b: str) -> int:
    """Edits between two words, ``_EDITS + 1`` for more (optimal string alignment)."""
    if abs(len(a) - len(b)) > _EDITS:
        return _EDITS + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > _EDITS:
            return _EDITS + 1
    return row[-1]


# ------------------------------------------------------------------------------------- mentions


def _mentions(text: str, words: list[re.Match[str]]) -> Iterator[str]:
    """The first run of capitalised words, at least two, and without its first word.

    Only the first: a paragraph is about whom it names first.
    """
    for place, word in enumerate(words):
        if not word.group()[0].isupper():
            continue
        count = 1
        for more in range(2, min(_WORDS, len(words) - place) + 1):
            span = _span(text, words, place, more)
            last = words[place + more - 1].group()
            if span is None or not (last[0].isupper() or last.lower() in _PARTICLES):
                break
            if last[0].isupper():
                count = more
        if count < 2:
            continue
        yield _span(text, words, place, count) or ""
        if count > 2:  # "When Ada Lovelace"
            yield _span(text, words, place + 1, count - 1) or ""
        return


def _span(text: str, words: list[re.Match[str]], place: int, count: int) -> str | None:
    """Some words as the text has them, or None where a sentence or clause ends among them."""
    group = words[place : place + count]
    for one, other in pairwise(group):
        between = text[one.end() : other.start()]
        word = one.group()
        ends = word.endswith(".") and len(word) > 3 and word not in ("Prof.", "Capt.")
        if ends or _STOP.search(between):
            return None
    span = text[group[0].start() : group[-1].end()].rstrip(".")
    if span.count(",") > 1:
        return None
    for ending in ("'s", "’s"):
        span = span.removesuffix(ending)
    return span


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
