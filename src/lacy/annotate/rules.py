"""Turns a parsed text into marks: completes, trims and merges proposed spans.

Every marking switch proposes spans of tokens (``proposals``). Values are found on characters
(``grammar``), because spaCy does not split "£3.5m." and "12½ feet" where a reader would. The ends
of the spans are trimmed, overlapping spans are merged, and values that can be copied from the text
so far are unmarked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy.strings import hash_string  # type: ignore[attr-defined]

from lacy.annotate.config import Rules
from lacy.annotate.grammar import OKINA, bound, is_unspaced, whole_values
from lacy.annotate.proposals import ARTICLES, OPEN_CLASS, Proposal, Table, propose, runs_of
from lacy.annotate.protocol import STRENGTH as JUDGED
from lacy.types import Mark

if TYPE_CHECKING:
    from spacy.tokens import Doc

STRENGTH = {**JUDGED, "VALUE": JUDGED["KEYWORD"]}
"""A learned span says less than a date or name of the same length: no judge has seen this text."""

LONGEST_NAME = 6
"""Words of the longest part of a name that counts as seen; names are rarely longer (ours)."""

UNSPACED = 8
"""Longest name in a script without spaces; longer tokens are clauses (our choice)."""

_LOWER_WORDS = re.compile(r"[.,;:]?(?:[ -][a-z]++)*+\W*+")
"""What may follow a number in a span that is only the number and the thing that it counts."""


# ------------------------------------------------------------------------- trim, unite, complete


def _trimmed(proposal: Proposal, table: Table, rules: Rules) -> Mark | None:
    """Without white space at its ends, nor function words and punctuation if the switch is on."""
    out = table.function if rules.unmark_edges else table.gap
    start, end = proposal.start, proposal.end
    while start < end and out[start]:
        start += 1
    while end > start and out[end - 1]:
        end -= 1
    if start == end:
        return None
    return Mark(int(table.start[start]), int(table.end[end - 1]), proposal.reason)


def _united(spans: Iterable[Mark]) -> list[Mark]:
    """Sorted; overlapping ones become one with the reason of the longest."""
    groups: list[list[Mark]] = []
    reach = -1
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        if span.start < reach:
            groups[-1].append(span)
        else:
            groups.append([span])
        reach = max(reach, span.end)
    united = []
    for group in groups:
        leader = max(group, key=lambda s: (s.end - s.start, STRENGTH[s.reason]))
        united.append(Mark(group[0].start, max(s.end for s in group), leader.reason))
    return united


def _completed(spans: Sequence[Mark], text: str, rules: Rules) -> list[Mark]:
    """Replaces the proposed parts by complete values and names."""
    spans = [
        s for s in spans if s.end - s.start <= UNSPACED or not is_unspaced(text[s.start : s.end])
    ]
    wanted = {"DATE": rules.dates, "NUMBER": rules.numbers}
    values = [Mark(*value) for value in whole_values(text) if wanted[value.reason]]
    spans = _united([*spans, *values])
    names = [Mark(*name, "ENTITY") for name in bound(text)]
    okina = [
        name for name in names if rules.proper_nouns and OKINA.search(text, name.start, name.end)
    ]
    spans = _united([*spans, *okina, *_touching(names, spans)])
    spans = [_bare(span, text, value) for span, value in _with_first(spans, values)]
    return _united(_balanced(span, text) for span in spans)


def _touching(parts: Sequence[Mark], spans: Sequence[Mark]) -> Iterator[Mark]:
    """Those of ``parts`` that overlap a name among ``spans`` (both sorted, without overlap)."""
    at = 0
    for part in parts:
        while at < len(spans) and spans[at].end <= part.start:
            at += 1
        here = at
        while here < len(spans) and spans[here].start < part.end:
            if spans[here].reason not in ("DATE", "NUMBER"):
                yield part
                break
            here += 1


def _with_first(
    spans: Sequence[Mark], values: Sequence[Mark]
) -> Iterator[tuple[Mark, Mark | None]]:
    """Each span with the value that it begins with, if it does."""
    by_start = {value.start: value for value in values}
    for span in spans:
        yield span, by_start.get(span.start)


def _bare(span: Mark, text: str, value: Mark | None) -> Mark:
    """Cuts a span to the value with which it begins, if only the counted thing follows.

    "98 metres high" becomes "98 metres"; other spans do not change.
    """
    if value is None or not _LOWER_WORDS.fullmatch(text, value.end, span.end):
        return span
    return value


def _balanced(span: Mark, text: str) -> Mark:
    """A span extended by its missing closing bracket, or cut before the open one."""
    piece = text[span.start : span.end]
    opened = piece.rfind("(")
    if opened < 0 or piece.count("(") <= piece.count(")"):
        return span
    if text[span.end : span.end + 1] == ")":
        return replace(span, end=span.end + 1)
    kept = len(piece[:opened].rstrip())
    return replace(span, end=span.start + kept) if kept else span


def _cut(spans: Sequence[Mark], table: Table) -> Iterator[Mark]:
    """Parts of the spans between function words and punctuation."""
    for span in spans:
        first, last = table.tokens(span.start, span.end)
        for start, end in runs_of(~table.function[first:last]):
            begin = max(span.start, int(table.start[first + start]))
            yield Mark(begin, min(span.end, int(table.end[first + end - 1])), span.reason)


# ---------------------------------------------------------------------------------------- un-mark


def subject_words(table: Table, subject: str | None, spans: Sequence[Mark]) -> set[int]:
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
    for span in spans[:1]:
        first, last = table.tokens(span.start, span.end)
        before = table.lower[:first][~table.blank[:first]]
        if span.reason in {"ENTITY", "VALUE"} and np.isin(before, ARTICLES).all():
            return {int(word) for word in table.lower[first:last]}
    return set()


def _unknown(
    spans: Sequence[Mark], table: Table, rules: Rules, subject: str | None
) -> Iterator[Mark]:
    """Leaves out the subject's name and what stands earlier in the text."""
    about = subject_words(table, subject, spans) if rules.unmark_subject else set()
    seen: set[tuple[int, ...]] = set()
    for span in spans:
        if span.reason in {"DATE", "NUMBER"}:  # a repeated year is still hard to predict
            yield span
            continue
        tokens = slice(*table.tokens(span.start, span.end))
        words = tuple(table.lower[tokens][~table.blank[tokens]].tolist())
        named = table.lower[tokens][~table.function[tokens]].tolist()
        known = about.issuperset(named) or (rules.unmark_seen and words in seen)
        if rules.unmark_seen:
            seen.update(
                words[i:j]
                for i in range(len(words))
                for j in range(i + 1, min(len(words), i + LONGEST_NAME) + 1)
            )
        if not known:
            yield span


def _content(table: Table, facts: Sequence[Mark]) -> Iterator[Mark]:
    """Open-class words outside the facts; neighbours make one span."""
    chosen = np.isin(table.pos, OPEN_CLASS) & ~table.function
    for fact in facts:
        first, last = table.tokens(fact.start, fact.end)
        chosen[first:last] = False
    for start, end in runs_of(chosen):
        yield Mark(int(table.start[start]), int(table.end[end - 1]), "CONTENT")


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
    facts = _completed([p for p in proposed if p is not None], table.text, rules)
    facts = list(_unknown(facts, table, rules, subject))
    if rules.unmark_inside:
        facts = list(_cut(facts, table))
    content = list(_content(table, facts)) if rules.content else []
    return sorted([*facts, *content], key=lambda m: m.start)
