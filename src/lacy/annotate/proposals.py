"""Each marking switch proposes spans of tokens with a reason.

Works on numpy arrays and integer hashes of words, because a loop over spaCy's token objects would
take as long as parsing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from spacy import attrs
from spacy.strings import hash_string  # type: ignore[attr-defined]
from spacy.symbols import ADJ, ADV, DET, INTJ, NOUN, NUM, PRON, PROPN, VERB, X

from lacy.annotate.config import Rules
from lacy.annotate.grammar import is_unspaced
from lacy.types import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spacy.tokens import Doc

COLUMNS = (
    attrs.IDX, attrs.LENGTH, attrs.LOWER, attrs.POS, attrs.ENT_IOB, attrs.ENT_TYPE,
    attrs.LIKE_NUM, attrs.IS_PUNCT, attrs.IS_SPACE, attrs.IS_TITLE, attrs.IS_UPPER,
)  # fmt: skip

TYPE_REASON: dict[str, Reason] = {
    **dict.fromkeys(("DATE", "TIME"), "DATE"),
    **dict.fromkeys(("CARDINAL", "ORDINAL", "MONEY", "PERCENT", "QUANTITY"), "NUMBER"),
}
"""Reason for each entity type that is not a name."""

DIGITS = re.compile(r"\d+")

OPEN_CLASS = np.array([NOUN, VERB, ADJ, ADV, PROPN, NUM, INTJ, X])
ARTICLES = np.array([hash_string(word) for word in ("the", "a", "an")], dtype=np.uint64)
MONTH_OR_MODAL = np.array([hash_string("may")], dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens ``[start, end)`` that a rule proposes to mark."""

    start: int
    end: int
    reason: Reason
    label: str | None = None
    """The entity type, if any."""


class TokenTable:
    """The tokens of a text as arrays of length T, which the rules read."""

    def __init__(self, doc: Doc, text: str) -> None:
        self.text = text
        self.strings = doc.vocab.strings
        columns = doc.to_array(list(COLUMNS)).astype(np.uint64).reshape(len(doc), len(COLUMNS))
        start, length, self.lower, self.pos, self.iob, self.type, *flags = columns.T
        number, punct, space, title, upper = (flag.astype(bool) for flag in flags)
        self.start = start.astype(np.int64)
        self.end = self.start + length.astype(np.int64)
        self.like_num, self.gap, self.blank = number, space, punct | space
        self.capital = title | upper
        # "May 1900" and "Will Smith" are not modal verbs; "The Hague" keeps its article outside
        name = self.capital & ((self.pos == PROPN) | np.isin(self.lower, MONTH_OR_MODAL))
        name &= ~np.isin(self.lower, ARTICLES)
        self.function = self.blank | (_in_word_list(self.lower, "function_words") & ~name)

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """Return the range of tokens that overlap characters ``[start, end)``."""
        first = int(np.searchsorted(self.end, start, side="right"))
        last = int(np.searchsorted(self.start, end, side="left"))
        return first, last


@cache
def word_list(name: str) -> frozenset[str]:
    """Return a word list of ``keywords.json`` in lower case.

    The lists are ``professions``, ``nationalities``, ``titles``, ``function_words``, and
    ``joiners`` (words inside names, as in "University *of* Pavia").
    """
    text = resources.files(__package__).joinpath("keywords.json").read_text(encoding="utf-8")
    return frozenset(word.lower() for word in json.loads(text)[name])


@cache
def _hashes(name: str) -> NDArray[np.uint64]:
    return np.array(sorted(hash_string(word) for word in word_list(name)), dtype=np.uint64)


def _in_word_list(values: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    """Return a mask of the hashes that are in a word list."""
    known = _hashes(name)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == values
    return found


def true_runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield maximal runs of true values as ``[start, end)``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _entities(table: TokenTable, rules: Rules) -> Iterator[Proposal]:
    """Propose the recognised entities of the types in ``rules``."""
    begins = np.flatnonzero(table.iob == 3)
    inside = table.iob == 1
    for start in begins.tolist():
        end = start + 1
        while end < len(inside) and inside[end]:
            end += 1
        label = table.strings[int(table.type[start])]
        if label in rules.entity_types:
            yield Proposal(start, end, TYPE_REASON.get(label, "ENTITY"), label)


def _numbers(table: TokenTable) -> Iterator[Proposal]:
    """Propose words with the tag NUM, other number words except pronouns ("one"), and digits."""
    chosen = table.like_num & (table.pos != PRON) & (table.pos != DET)
    chosen |= table.pos == NUM
    for match in DIGITS.finditer(table.text):
        first, last = table.tokens(*match.span())
        if last - first > 1 or not is_unspaced(table.text[table.start[first] : table.end[first]]):
            chosen[first:last] = True  # in scripts without spaces, a token may be a sentence
    for start, end in true_runs(chosen & ~table.blank):
        yield Proposal(start, end, "NUMBER")


def _proper_nouns(table: TokenTable) -> Iterator[Proposal]:
    """Propose runs of proper nouns, including up to two joiners ("of the") between them."""
    names = (table.pos == PROPN) & ~table.blank
    joiner = _in_word_list(table.lower, "joiners") & ~names
    runs = list(true_runs(names))
    index = 0
    while index < len(runs):
        start, end = runs[index]
        index += 1
        while index < len(runs):
            after = runs[index][0]
            if after - end > 2 or not joiner[end:after].all():
                break
            end = runs[index][1]
            index += 1
        yield Proposal(start, end, "ENTITY")


def _keywords(table: TokenTable) -> Iterator[Proposal]:
    """Propose words from the lists; a profession includes preceding nouns ("basketball player")."""
    lower = table.lower
    capital = (
        _in_word_list(lower, "nationalities") | _in_word_list(lower, "titles")
    ) & table.capital
    for place in np.flatnonzero(capital).tolist():
        yield Proposal(place, place + 1, "KEYWORD")
    for place in np.flatnonzero(_in_word_list(lower, "professions") & ~table.capital).tolist():
        start = place
        while start > 0 and table.pos[start - 1] == NOUN:
            start -= 1
        yield Proposal(start, place + 1, "KEYWORD")


def _learned(threshold: float, scores_TL: NDArray[np.float32]) -> Iterator[Proposal]:
    """Propose the spans of the learned tagger; its columns are B-FACT, I-FACT and O."""
    chosen = 1.0 - scores_TL[:, 2] >= threshold
    begins = scores_TL[:, 0] > scores_TL[:, 1]
    for start, end in true_runs(chosen):
        cuts = [start, *(place for place in range(start + 1, end) if begins[place]), end]
        for first, last in pairwise(cuts):
            yield Proposal(first, last, "VALUE")


def propose(
    table: TokenTable, rules: Rules, scores_TL: NDArray[np.float32] | None
) -> Iterator[Proposal]:
    """Yield the spans that the marking switches of ``rules`` propose; they may overlap."""
    if rules.entities:
        yield from _entities(table, rules)
    if rules.numbers:
        yield from _numbers(table)
    if rules.proper_nouns:
        yield from _proper_nouns(table)
    if rules.keywords:
        yield from _keywords(table)
    if rules.learned and scores_TL is not None:
        yield from _learned(rules.learned_threshold, scores_TL)
