"""Turn a parsed text into marks: complete, trim and merge proposed spans.

Every marking switch proposes spans of tokens (``proposals``). Complete values come from a grammar
of characters (``grammar``), because spaCy does not split "£3.5m." and "12½ feet" where a reader
would. Then the ends of the spans are trimmed, overlapping spans are merged, and values that a model
could copy from the preceding text are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from spacy.strings import hash_string  # type: ignore[attr-defined]

from lacy.annotate.config import Rules
from lacy.annotate.grammar import (
    NAME_SIGN,
    extend_value,
    is_unspaced,
    joined_names,
    whole_values,
)
from lacy.annotate.proposals import ARTICLES, OPEN_CLASS, Proposal, TokenTable, propose, true_runs
from lacy.annotate.protocol import PRIORITY as JUDGE_PRIORITY
from lacy.annotate.protocol import merge_overlapping
from lacy.types import Mark

if TYPE_CHECKING:
    from spacy.tokens import Doc

PRIORITY = {**JUDGE_PRIORITY, "VALUE": JUDGE_PRIORITY["KEYWORD"]}
"""A learned span ranks below a date or name of the same length, because it is only a prediction."""

MAX_NAME_WORDS = 6
"""Maximum words of a name that are compared with earlier text; few names are longer (ours)."""

MAX_UNSPACED = 8
"""Maximum characters of a name in a script without spaces; longer tokens are clauses (ours)."""

_LOWER_WORDS = re.compile(r"[.,;:]?(?:[ -][a-z]++)*+\W*+")
"""Matches what follows the number if a span contains only a number and what it counts."""


def _trim(proposal: Proposal, table: TokenTable, rules: Rules) -> Mark | None:
    """Cut white space off the ends, and function words and punctuation if the switch is on."""
    out = table.function if rules.unmark_edges else table.gap
    start, end = proposal.start, proposal.end
    while start < end and out[start]:
        start += 1
    while end > start and out[end - 1]:
        end -= 1
    if start == end:
        return None
    first, last = int(table.start[start]), int(table.end[end - 1])
    return Mark(first, last, proposal.reason, label=proposal.label)


def _complete_values(spans: Sequence[Mark], text: str, rules: Rules) -> list[Mark]:
    """Replace the proposed parts by complete values and names."""
    spans = [
        s
        for s in spans
        if s.end - s.start <= MAX_UNSPACED or not is_unspaced(text[s.start : s.end])
    ]
    wanted = {"DATE": rules.dates, "NUMBER": rules.numbers}
    values = [Mark(*value) for value in whole_values(text) if wanted[value.reason]]
    spans = merge_overlapping([*_without_qualifiers(spans, values, text), *values], PRIORITY)
    names = [Mark(*name, "ENTITY") for name in joined_names(text)]
    sure = [
        name
        for name in names
        if rules.proper_nouns and NAME_SIGN.search(text, name.start, name.end)
    ]
    spans = merge_overlapping([*spans, *sure, *_overlapping_names(names, spans)], PRIORITY)
    spans = [
        _drop_counted_thing(span, text, value) for span, value in _with_leading_value(spans, values)
    ]
    return merge_overlapping((_balance_brackets(span, text) for span in spans), PRIORITY)


def _without_qualifiers(spans: Sequence[Mark], values: Sequence[Mark], text: str) -> Iterator[Mark]:
    """Yield the spans without leading qualifiers ("least 183", "more than 5%").

    Entity recognisers include such words, but only the value is the fact.
    """
    by_end = {end: value for value in values for end in range(value.start + 1, value.end + 1)}
    for span in spans:
        value = by_end.get(span.end)
        if value is not None and span.start < value.start and span.reason in ("DATE", "NUMBER"):
            date = value.reason == "DATE"
            if extend_value(text, value.start, value.end, date=date)[0] <= span.start:
                span = replace(span, start=value.start)
        yield span


def _overlapping_names(parts: Sequence[Mark], spans: Sequence[Mark]) -> Iterator[Mark]:
    """Yield the parts that overlap a name among ``spans`` (both sorted, no overlaps)."""
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


def _with_leading_value(
    spans: Sequence[Mark], values: Sequence[Mark]
) -> Iterator[tuple[Mark, Mark | None]]:
    """Yield each span with the value at its start, or None."""
    by_start = {value.start: value for value in values}
    for span in spans:
        yield span, by_start.get(span.start)


def _drop_counted_thing(span: Mark, text: str, value: Mark | None) -> Mark:
    """Cut a span down to the value at its start if only the counted noun follows.

    "98 metres high" becomes "98 metres"; other spans do not change.
    """
    if value is None or not _LOWER_WORDS.fullmatch(text, value.end, span.end):
        return span
    return value if span.label is None else replace(value, label=span.label)


def _balance_brackets(span: Mark, text: str) -> Mark:
    """Extend a span by its missing closing bracket, or cut it before the unclosed one."""
    piece = text[span.start : span.end]
    opened = piece.rfind("(")
    if opened < 0 or piece.count("(") <= piece.count(")"):
        return span
    if text[span.end : span.end + 1] == ")":
        return replace(span, end=span.end + 1)
    kept = len(piece[:opened].rstrip())
    return replace(span, end=span.start + kept) if kept else span


def _split_inside(spans: Sequence[Mark], table: TokenTable) -> Iterator[Mark]:
    """Yield the parts of the spans between function words and punctuation."""
    for span in spans:
        first, last = table.tokens(span.start, span.end)
        for start, end in true_runs(~table.function[first:last]):
            begin = max(span.start, int(table.start[first + start]))
            yield replace(span, start=begin, end=min(span.end, int(table.end[first + end - 1])))


def subject_words(table: TokenTable, subject: str | None, spans: Sequence[Mark]) -> set[int]:
    """Return hashes of the words that name the subject of the text.

    Without ``subject``, use the words of the heading (a first line before an empty line), or else
    of the name at the start of the first sentence.
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


def _drop_known(
    spans: Sequence[Mark], table: TokenTable, rules: Rules, subject: str | None
) -> Iterator[Mark]:
    """Drop spans that a model could copy: the subject's name, and names seen earlier."""
    subject_hashes = subject_words(table, subject, spans) if rules.unmark_subject else set()
    seen: set[tuple[int, ...]] = set()
    for span in spans:
        if span.reason in {"DATE", "NUMBER"}:  # a repeated year is still hard to predict
            yield span
            continue
        tokens = slice(*table.tokens(span.start, span.end))
        words = tuple(table.lower[tokens][~table.blank[tokens]].tolist())
        named = table.lower[tokens][~table.function[tokens]].tolist()
        known = subject_hashes.issuperset(named) or (rules.unmark_seen and words in seen)
        if rules.unmark_seen:
            seen.update(
                words[i:j]
                for i in range(len(words))
                for j in range(i + 1, min(len(words), i + MAX_NAME_WORDS) + 1)
            )
        if not known:
            yield span


def _content_words(table: TokenTable, facts: Sequence[Mark]) -> Iterator[Mark]:
    """Yield open-class words outside the facts; adjacent words form one span."""
    chosen = np.isin(table.pos, OPEN_CLASS) & ~table.function
    for fact in facts:
        first, last = table.tokens(fact.start, fact.end)
        chosen[first:last] = False
    for start, end in true_runs(chosen):
        yield Mark(int(table.start[start]), int(table.end[end - 1]), "CONTENT")


def mark(
    doc: Doc,
    rules: Rules,
    *,
    text: str | None = None,
    scores_TL: Any = None,
    subject: str | None = None,
) -> list[Mark]:
    """Mark one parsed text.

    Args:
        doc: parsed by spaCy; a rule whose attributes are not set proposes nothing.
        rules: the switches.
        text: ``doc.text``, if you have it; spaCy would assemble it token by token.
        scores_TL: probabilities of B-FACT, I-FACT and O per token, from a learned tagger.
        subject: the subject of the text.

    Returns:
        Marks sorted by start, without overlaps, including ``CONTENT`` if switched on.
    """
    if not len(doc):
        return []
    table = TokenTable(doc, doc.text if text is None else text)
    proposed = (_trim(p, table, rules) for p in propose(table, rules, scores_TL))
    facts = _complete_values([p for p in proposed if p is not None], table.text, rules)
    facts = list(_drop_known(facts, table, rules, subject))
    if rules.unmark_inside:
        facts = list(_split_inside(facts, table))
    content = list(_content_words(table, facts)) if rules.content else []
    return sorted([*facts, *content], key=lambda m: m.start)
