"""From a parsed text to marks: the rules themselves, on arrays of token attributes.

Every marking switch proposes spans of tokens with a reason. The ends of the spans are trimmed,
overlapping spans become one, and what can be copied from the text so far is taken away again.
Scores, spans and words are handled as numpy arrays and ints, because a loop over spaCy's token
objects would cost as much as the parse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy import attrs
from spacy.strings import hash_string  # type: ignore[attr-defined]
from spacy.symbols import ADJ, ADV, DET, INTJ, NOUN, NUM, PRON, PROPN, VERB, X

from ..types import Mark, Reason
from .config import Rules
from .protocol import STRENGTH as JUDGED
from .words import word_list

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
"""Reasons of the entity types that are no names."""

MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan\.?|Feb\.?|Mar\.?|Apr\.?|Jun\.?|Jul\.?|Aug\.?|Sept?\.?|Oct\.?|Nov\.?|Dec\.?)"
)
DAY = r"(?:[0-3]?\d(?:st|nd|rd|th)?)"
YEAR = r"(?:1\d{3}|20\d{2})"
DATE = re.compile(
    rf"""\b(?:
      {DAY}\ (?:of\ )?{MONTH}(?:,?\ {YEAR})?          # 12 March 1879, 12th of March
    | {MONTH}\ {DAY}(?:,?\ {YEAR})?                   # March 12, 1879
    | {MONTH},?\ {YEAR}                               # March 1879
    | {YEAR}-[01]\d-[0-3]\d                           # 1879-03-12
    | (?:(?:early|mid|late)[ -])?{YEAR[:-1]}|\d{{2}})s # 1870s, late 1870s
    | \d{{1,2}}(?:st|nd|rd|th)[ -]centur(?:y|ies)     # 19th century
    | {YEAR}(?:[–/-]\d{{2,4}})?                       # 1879, 1879–81
    | (?:January|February|April|June|July|August|September|October|November|December)
    | (?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day
    )(?!\w)(?!,\d{{3}})""",
    re.VERBOSE,
)
"""Written shapes of dates. Bare "May" and "March" are left out: they are words as well."""

STRENGTH = {**JUDGED, "VALUE": JUDGED["KEYWORD"]}
"""A learned span says less than a date or name of the same length: no judge has seen this text."""

OPEN_CLASS = np.array([NOUN, VERB, ADJ, ADV, PROPN, NUM, INTJ, X])
ARTICLES = np.array([hash_string(word) for word in ("the", "a", "an")], dtype=np.uint64)
MONTH_OR_MODAL = np.array([hash_string("may")], dtype=np.uint64)

LONGEST_NAME = 6
"""Words of the longest part of a name that counts as seen; names are rarely longer (ours)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens ``[start, end)`` that a rule would mark."""

    start: int
    end: int
    reason: Reason


class Table:
    """A text's tokens as arrays of length T; each rule adds proposals from it."""

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
        # "May 1900" and "Will Smith" are no modal verbs; "The Hague" keeps its article outside
        name = self.capital & ((self.pos == PROPN) | np.isin(self.lower, MONTH_OR_MODAL))
        name &= ~np.isin(self.lower, ARTICLES)
        self.function = self.blank | (_among(self.lower, "function_words") & ~name)

    def tokens(self, start: int, end: int) -> tuple[int, int]:
        """The tokens that characters ``[start, end)`` touch."""
        first = int(np.searchsorted(self.end, start, side="right"))
        last = int(np.searchsorted(self.start, end, side="left"))
        return first, last


@cache
def _hashes(name: str) -> NDArray[np.uint64]:
    return np.array(sorted(hash_string(word) for word in word_list(name)), dtype=np.uint64)


def _among(values: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    """Which values are in a word list."""
    known = _hashes(name)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == values
    return found


def _runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Maximal runs of true values as ``[start, end)``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


# ----------------------------------------------------------------------------------- proposals


def _entities(table: Table, rules: Rules) -> Iterator[Proposal]:
    """Spans of the named-entity recogniser, of the types that count."""
    begins = np.flatnonzero(table.iob == 3)
    inside = table.iob == 1
    for start in begins.tolist():
        end = start + 1
        while end < len(inside) and inside[end]:
            end += 1
        label = table.strings[int(table.type[start])]
        if label in rules.entity_types:
            yield Proposal(start, end, TYPE_REASON.get(label, "ENTITY"))


def _dates(table: Table) -> Iterator[Proposal]:
    for match in DATE.finditer(table.text):
        start, end = table.tokens(*match.span())
        if end > start:
            yield Proposal(start, end, "DATE")


def _numbers(table: Table) -> Iterator[Proposal]:
    """Numerals: number-like words that are no pronoun ("one"), the tag NUM, any digit."""
    chosen = table.like_num & (table.pos != PRON) & (table.pos != DET)
    chosen |= table.pos == NUM
    for match in re.finditer(r"\d", table.text):
        first, last = table.tokens(*match.span())
        chosen[first:last] = True
    for start, end in _runs(chosen & ~table.blank):
        yield Proposal(start, end, "NUMBER")


def _proper_nouns(table: Table) -> Iterator[Proposal]:
    """Runs of PROPN; one or two joiners ("of the") between two of them belong to the name."""
    names = (table.pos == PROPN) & ~table.blank
    joiner = _among(table.lower, "joiners") & ~names
    runs = list(_runs(names))
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


def _keywords(table: Table) -> Iterator[Proposal]:
    """List words; a profession takes the nouns before it along ("basketball player")."""
    lower = table.lower
    capital = (_among(lower, "nationalities") | _among(lower, "titles")) & table.capital
    for place in np.flatnonzero(capital).tolist():
        yield Proposal(place, place + 1, "KEYWORD")
    for place in np.flatnonzero(_among(lower, "professions") & ~table.capital).tolist():
        start = place
        while start > 0 and table.pos[start - 1] == NOUN:
            start -= 1
        yield Proposal(start, place + 1, "KEYWORD")


def _learned(threshold: float, scores_TL: NDArray[np.float32]) -> Iterator[Proposal]:
    """Spans of the learned tagger. Columns of the scores: probability of B-FACT, I-FACT, O."""
    chosen = 1.0 - scores_TL[:, 2] >= threshold
    begins = scores_TL[:, 0] > scores_TL[:, 1]
    for start, end in _runs(chosen):
        cuts = [start, *(place for place in range(start + 1, end) if begins[place]), end]
        for first, last in pairwise(cuts):
            yield Proposal(first, last, "VALUE")


def propose(
    table: Table, rules: Rules, scores_TL: NDArray[np.float32] | None
) -> Iterator[Proposal]:
    """What the marking switches of ``rules`` would mark; spans may overlap."""
    if rules.entities is not False:
        yield from _entities(table, rules)
    if rules.dates:
        yield from _dates(table)
    if rules.numbers:
        yield from _numbers(table)
    if rules.proper_nouns:
        yield from _proper_nouns(table)
    if rules.keywords:
        yield from _keywords(table)
    if rules.learned and scores_TL is not None:
        yield from _learned(rules.learned_threshold, scores_TL)


# ------------------------------------------------------------------------- trim, unite, un-mark


def _trimmed(proposal: Proposal, table: Table, rules: Rules) -> Proposal | None:
    """Without white space at its ends, nor function words and punctuation if the switch is on."""
    out = table.function if rules.unmark_edges else table.gap
    start, end = proposal.start, proposal.end
    while start < end and out[start]:
        start += 1
    while end > start and out[end - 1]:
        end -= 1
    return Proposal(start, end, proposal.reason) if start < end else None


def _united(proposals: list[Proposal]) -> list[Proposal]:
    """Sorted; overlapping ones become one with the reason of the longest."""
    groups: list[list[Proposal]] = []
    reach = -1
    for proposal in sorted(proposals, key=lambda p: (p.start, p.end)):
        if proposal.start < reach:
            groups[-1].append(proposal)
        else:
            groups.append([proposal])
        reach = max(reach, proposal.end)
    united = []
    for group in groups:
        leader = max(group, key=lambda p: (p.end - p.start, STRENGTH[p.reason]))
        united.append(Proposal(group[0].start, max(p.end for p in group), leader.reason))
    return united


def _cut(proposals: list[Proposal], table: Table) -> Iterator[Proposal]:
    """Parts of the spans between function words and punctuation."""
    for proposal in proposals:
        for start, end in _runs(~table.function[proposal.start : proposal.end]):
            yield Proposal(proposal.start + start, proposal.start + end, proposal.reason)


def subject_words(table: Table, subject: str | None, proposals: list[Proposal]) -> set[int]:
    """Hashes of the words that name what the text is about.

    Without ``subject``: the text's heading (a first line before an empty one), else the name
    that the first sentence begins with.
    """
    if subject is None:
        heading, gap, _ = table.text.partition("\n\n")
        if gap and "\n" not in heading and len(heading) <= 120:
            subject = heading
    if subject is not None:
        return {hash_string(word) for word in re.findall(r"\w+", subject.lower())}
    for proposal in proposals[:1]:
        before = table.lower[: proposal.start][~table.blank[: proposal.start]]
        if proposal.reason in {"ENTITY", "VALUE"} and np.isin(before, ARTICLES).all():
            return {int(word) for word in table.lower[proposal.start : proposal.end]}
    return set()


def _unknown(
    proposals: list[Proposal], table: Table, rules: Rules, subject: str | None
) -> Iterator[Proposal]:
    """Leaves out the subject's name and what stands earlier in the text."""
    about = subject_words(table, subject, proposals) if rules.unmark_subject else set()
    seen: set[tuple[int, ...]] = set()
    for proposal in proposals:
        if proposal.reason in {"DATE", "NUMBER"}:  # a repeated year is still one choice of many
            yield proposal
            continue
        span = slice(proposal.start, proposal.end)
        words = tuple(table.lower[span][~table.blank[span]].tolist())
        named = table.lower[span][~table.function[span]].tolist()
        known = about.issuperset(named) or (rules.unmark_seen and words in seen)
        if rules.unmark_seen:
            seen.update(
                words[i:j]
                for i in range(len(words))
                for j in range(i + 1, min(len(words), i + LONGEST_NAME) + 1)
            )
        if not known:
            yield proposal


def _content(table: Table, facts: list[Proposal]) -> Iterator[Proposal]:
    """Open-class words outside the facts; neighbours make one span."""
    chosen = np.isin(table.pos, OPEN_CLASS) & ~table.function
    for fact in facts:
        chosen[fact.start : fact.end] = False
    for start, end in _runs(chosen):
        yield Proposal(start, end, "CONTENT")


def mark(
    doc: Doc,
    rules: Rules,
    *,
    text: str | None = None,
    scores_TL: Any = None,
    subject: str | None = None,
) -> list[Mark]:
    """Marks one parsed text.

    Args:
        doc: parsed by spaCy; a rule whose attributes are not set proposes nothing.
        rules: the switches.
        text: ``doc.text``, where at hand; spaCy would put it together token by token.
        scores_TL: probabilities of B-FACT, I-FACT and O per token, from a learned tagger.
        subject: whom or what the text is about.

    Returns:
        Marks sorted by start, not overlapping; ``CONTENT`` ones among them if switched on.
    """
    if not len(doc):
        return []
    table = Table(doc, doc.text if text is None else text)
    proposed = (_trimmed(p, table, rules) for p in propose(table, rules, scores_TL))
    facts = _united([p for p in proposed if p is not None])
    facts = list(_unknown(facts, table, rules, subject))
    if rules.unmark_inside:
        facts = list(_cut(facts, table))
    content = list(_content(table, facts)) if rules.content else []
    return [
        Mark(int(table.start[p.start]), int(table.end[p.end - 1]), p.reason)
        for p in sorted([*facts, *content], key=lambda p: p.start)
    ]
