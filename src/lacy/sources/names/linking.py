"""Link a name in a text to a known name: by exact match, then normalized form, then similarity.

- **Exact**: ``NameIndex``; if it finds a name, the other steps are skipped.
- **Normalized**: equal without case, accents, punctuation and double spaces; "Lovelace, Ada" is
  read as "Ada Lovelace" and "J. R. R." as "JRR". Symbols are not punctuation: "C#" is not "C".
- **Similar**: a few letters differ. An in-memory full-text index of trigrams (SQLite's FTS5) finds
  names that share a third of their letters in a row; these are compared by edit distance.

A wrong subject leads to a wrong fact, so doubtful names are not linked: if two known names are
equally similar, if numbers, first letters or the number of words differ, or if the name is short.
``THRESHOLD`` and ``MARGIN`` were chosen with ``benchmarks/linking.py``.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from lacy.sources.names.boundaries import (
    follows_preposition,
    is_complete_name,
    unify_characters,
)
from lacy.sources.names.index import (
    PARAGRAPH,
    NameIndex,
    PartialMatch,
    canonical,
    unify_unicode,
)
from lacy.sources.names.spelling import normalize, signature, similarity

THRESHOLD = 0.9
"""Minimum similarity (1 - edits / letters) for linking a misspelled name."""

MARGIN = 0.05
"""Minimum lead over the second most similar name."""

SHORTEST = 8
"""Shorter names must match exactly, because most short words are similar to some name."""

_CANDIDATES = 500
"""Maximum number of names compared; rarely reached, because first letters must be equal."""
_CACHE_SIZE = 4_096
"""Number of mentions for which the link is cached."""
_WORDS = 8
"""Maximum number of words of a name that is searched in its normalized form."""

_TOKEN = re.compile(r"\w+(?:['\-–]\w+)*\.?")
_SIGNS = re.compile(r"[^\w\s()\[\]{}\"“”„«»,;:]+")
"""Symbols that may be attached to a word as part of a name: "C++", "Yahoo!"."""
_PARTICLES = frozenset(
    "of the de da di du del la le von van der den ten ter bin al el y and".split()
)
_LETTERS = re.compile(r"[^\W_]+")
_STOP = re.compile(r"[^\s,.()&/–—-]|\.\s*,|,.*,", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EntityLink:
    """The known name that a mention refers to.

    Args:
        name: the name as the database spells it.
        stage: the step that found it.
        mention: the name as the text spells it.
        similarity: below 1 only if the stage is ``similar``.
    """

    name: str
    stage: Literal["exact", "normalised", "similar"] = "exact"
    mention: str = ""
    similarity: float = 1.0

    @property
    def note(self) -> str:
        """Return a note for the evidence, or "" for an exact match."""
        if self.stage == "exact":
            return ""
        much = f", similarity {self.similarity:.2f}" if self.stage == "similar" else ""
        return f"{self.mention!r} read as {self.name!r}{much}"


class EntityLinker:
    """Finds known names in texts, including other spellings of them.

    Args:
        names: the known names.
        fuzzy: True accepts names that do not match exactly.
        threshold: minimum similarity.
        margin: minimum lead over the second most similar name.
        key: a function that returns the same value for all spellings of one name.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        fuzzy: bool = True,
        threshold: float = THRESHOLD,
        margin: float = MARGIN,
        key: Callable[[str], str] = canonical,
    ) -> None:
        names = list(names)
        self._key = key
        self.exact = NameIndex(names)
        self.fuzzy, self.threshold, self.margin = fuzzy, threshold, margin
        self._forms: dict[str, tuple[str, ...]] = {}
        self._first: set[str] = set()
        self._lock = threading.Lock()
        # Cached because texts repeat names.
        self._most_similar_cached = lru_cache(_CACHE_SIZE)(self._most_similar)
        if fuzzy:
            self._index_names(names)

    def find(self, text: str) -> tuple[EntityLink | None, str]:
        """Return the subject of a text, or None and the reason.

        The subject is the first name in the last paragraph that contains one. An exact match
        anywhere in the text takes precedence.
        """
        exact = self.exact.search(text)
        if isinstance(exact, str):
            return EntityLink(exact), ""
        if not self.fuzzy:
            return None, exact.why if exact else ""
        why = ""
        for paragraph in reversed(PARAGRAPH.split(unify_unicode(text))):
            # A name after an unknown longer name is not the paragraph's subject.
            last = exact.start if exact and exact.paragraph == paragraph else len(paragraph)
            words = list(_TOKEN.finditer(unify_characters(paragraph)))
            link, problem = self._normalised_in(paragraph, words, last)
            if link is not None or isinstance(problem, PartialMatch):
                return link, problem.why if isinstance(problem, PartialMatch) else ""
            why = why or problem
            for mention in _mentions(paragraph, words):
                link, ambiguity = self._similar(mention)
                if link is not None or ambiguity:
                    return link, ambiguity
            if last < len(paragraph) and exact:
                return None, why or exact.why
        return None, why

    def mentions_known_name(self, text: str) -> bool:
        """True if a text contains a known name in its exact or normalized form."""
        return any(True for _ in self.exact.names_in(text)) or self.find(text)[0] is not None

    def resolve(self, name: str) -> tuple[EntityLink | None, str]:
        """Return the link from this spelling to a known name, or None and the reason."""
        if name in self.exact:
            return EntityLink(self.exact.stored_spelling(name)), ""
        if not self.fuzzy:
            return None, ""
        found = self._forms.get(normalize(name), ())
        if len(found) == 1:
            return EntityLink(found[0], "normalised", name), ""
        return (None, _ambiguous(name, *found[:2])) if found else self._similar(name)

    # ------------------------------------------------------------------------------ normalized

    def _index_names(self, names: Iterable[str]) -> None:
        """Build the table of normalized forms and the trigram index."""
        for name in names:
            forms = {normalize(name)}
            if "," in name:
                forms.add(normalize(name, keep_order=True))
            for form in filter(None, forms):
                known = self._forms.get(form, ())
                if self._key(name) not in map(self._key, known):
                    self._forms[form] = (*known, name)
        self._first = {match.group() for form in self._forms if (match := _LETTERS.search(form))}
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._db.execute(
                "CREATE VIRTUAL TABLE names USING fts5(form, signature, tokenize = 'trigram',"
                " columnsize = 0)"
            )
        except (
            sqlite3.Error
        ):  # an old SQLite without trigram tokenizer: skip matching by similarity
            self._db.close()
            return
        long = ((form, signature(form)) for form in self._forms if len(form) >= SHORTEST)
        self._db.executemany("INSERT INTO names VALUES (?, ?)", long)

    def _normalised_in(
        self, text: str, words: list[re.Match[str]], last: int
    ) -> tuple[EntityLink | None, str | PartialMatch]:
        """Return the first mention with a known normalized form; the longest one wins a tie.

        Args:
            text: one paragraph.
            words: its words.
            last: the last position at which a mention may begin.
        """
        forms = [normalize(text[word.start() : word.end()]) for word in words]
        lower_case = text == text.lower()
        for place, form in enumerate(forms):
            if words[place].start() > last:
                break
            first = form.partition(" ")[0]
            # Normalizing changes words: "J. R. R." becomes one word, "Lovelace, Ada" is swapped.
            known = first in self._first or len(first) == 1
            if not known and not _has_comma(text, words, place):
                continue
            partial: PartialMatch | None = None
            for count in range(min(_WORDS, len(words) - place), 0, -1):
                link, why = self._normalised_at(text, words[place : place + count], lower_case)
                if link is not None or isinstance(why, str):
                    return link, why or ""
                partial = partial or why
            if partial is not None and not follows_preposition(text, partial.start):
                return None, partial
        return None, ""

    def _normalised_at(
        self, text: str, group: list[re.Match[str]], lower_case: bool
    ) -> tuple[EntityLink | None, str | PartialMatch | None]:
        """Return the known name for a group of words, why it is ambiguous, or a partial match."""
        partial = None
        for start, end in _spans(text, group):
            span = text[start:end]
            found = self._forms.get(normalize(span))
            if found is None or not _is_name_like(span, lower_case):
                continue
            if not is_complete_name(text, start, end, lower_case=span == span.lower()):
                partial = PartialMatch(text, start, span)
            elif len(found) > 1:
                return None, _ambiguous(span, *found[:2])
            else:
                return EntityLink(found[0], "normalised", span), None
        return None, partial

    # --------------------------------------------------------------------------------- similar

    def _similar(self, mention: str) -> tuple[EntityLink | None, str]:
        """Return the only known name that is similar enough to ``mention``, or None and why."""
        return self._most_similar_cached(mention, self.threshold, self.margin)

    def _most_similar(
        self, mention: str, threshold: float, margin: float
    ) -> tuple[EntityLink | None, str]:
        best: dict[str, float] = {}
        form = normalize(mention)
        for other in self._candidates(form):
            value = similarity(form, other)
            if value >= threshold - margin:
                for name in self._forms[other]:
                    best[name] = max(value, best.get(name, 0.0))
        order = sorted(best, key=lambda name: (-best[name], name))
        if not order or best[order[0]] < threshold:
            return None, ""
        if len(order) > 1 and best[order[0]] - best[order[1]] < margin:
            return None, _ambiguous(mention, order[0], order[1])
        return EntityLink(order[0], "similar", mention, best[order[0]]), ""

    def _candidates(self, form: str) -> list[str]:
        """Return known forms that contain one third (one half of short names) of this form."""
        if len(form) < SHORTEST:
            return []
        count = 3 if len(form) >= 9 else 2
        cuts = [round(len(form) * n / count) for n in range(count + 1)]
        # Forms and signatures consist of letters, digits, spaces and "=", so quoting is safe.
        query = " OR ".join(f'"{form[a:b]}"' for a, b in pairwise(cuts))
        query = f'signature : "{signature(form)}" AND form : ({query})'
        with self._lock, suppress(sqlite3.Error):
            found = self._db.execute(
                "SELECT form FROM names WHERE names MATCH ? LIMIT ?", (query, _CANDIDATES)
            )
            return [other for (other,) in found]
        return []


# ------------------------------------------------------------------------------------- mentions


def _mentions(text: str, words: list[re.Match[str]]) -> Iterator[str]:
    """Yield the first run of at least two capitalised words, and that run without its first word.

    Later runs are ignored, because a paragraph names its subject first.
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
                if is_complete_name(text, start, end):
                    yield text[start:end]
        return


def _spans(text: str, group: list[re.Match[str]]) -> list[tuple[int, int]]:
    """Return possible spans of a name with these words; spans with attached symbols come first."""
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
    """True if the next words contain a comma: "Lovelace, Ada"."""
    last = words[min(place + 3, len(words) - 1)]
    return "," in text[words[place].end() : last.start()]


def _is_name_like(span: str, lower_case: bool) -> bool:
    """True if the span has a capital, or has several words in a text without capitals."""
    if " " not in span.strip():
        return len(span) > 3 and span[0].isupper()
    return lower_case or span != span.lower()


def _ambiguous(mention: str, one: str, other: str) -> str:
    return f"{mention!r} may mean {one!r} or {other!r}"
