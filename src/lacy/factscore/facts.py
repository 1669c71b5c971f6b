"""Turn a text into atomic facts: sentences, facts of each sentence, checks of these facts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lacy._text import MONTHS
from lacy.factscore.sentences import split_sentences

DateCheck = Literal["original", "strict", "off"]
"""What happens to facts with a date or number that their sentence does not have. ``strict`` drops
them: whoever split the sentence made the number up. ``original`` drops them, too, but keeps all
facts of a sentence if the remaining ones miss one of its dates or numbers, as FActScore does.
``off`` keeps them."""

Repeats = Literal["drop", "keep"]
"""What happens to facts that a text states more than once. ``drop`` judges and counts them once, so
that repeating a sentence neither raises the score nor avoids the length penalty. ``keep`` counts
each time, as FActScore does."""

_NUMBER = re.compile(r"\b\d+\b")
_MONTH = re.compile(rf"\b(?:{'|'.join(MONTHS)})\b", re.IGNORECASE)
_STUMPS = ("born.", " appointed.", " characterized.", " described.", " known.", " member.",
           " advocate.", "served.", "elected.")  # fmt: skip
"""Endings of facts that say nothing if another fact of the sentence contains them (as in the
original, except for "founding member.")."""

_FRAME = re.compile(r"(?:Sure|Please|This sentence does not contain any facts)\b")
_FIRST_FRAME = re.compile(r"Here (?:are|is)\b")


class FactMaker(Protocol):
    """Splits sentences into facts.

    Attributes:
        name: how scores name it.
    """

    name: str

    @property
    def identity(self) -> Sequence[str | int]:
        """Return plain data that everything it returns depends on."""
        ...

    def facts_of(self, sentences: Sequence[str]) -> list[list[str] | None]:
        """Return the facts of each sentence; None where it failed."""
        ...


@dataclass(frozen=True, slots=True)
class MadeFacts:
    """The facts of one text.

    Attributes:
        facts: the facts, in the order of the text.
        counts: how many facts were dropped, by reason, and sentences that were not split.
    """

    facts: tuple[str, ...]
    counts: Counter[str] = field(default_factory=Counter)


def fact_sentences(text: str) -> list[str]:
    """Return the sentences of a text that can state facts.

    As in the original, "Sure, ...", "Please ..." and a first "Here are ..." only frame a text.
    """
    sentences = split_sentences(text)
    return [
        sentence
        for place, sentence in enumerate(sentences)
        if not _FRAME.match(sentence) and not (place == 0 and _FIRST_FRAME.match(sentence))
    ]


def checked_facts(
    sentences: Sequence[str],
    made: Sequence[Sequence[str] | None],
    *,
    date_check: DateCheck = "original",
    repeats: Repeats = "drop",
) -> MadeFacts:
    """Return the facts of a text's sentences after the checks.

    Args:
        sentences: the sentences.
        made: the facts of each, None where none could be made.
        date_check: what happens to facts with dates or numbers that their sentence does not have.
        repeats: what happens to facts that were stated before.
    """
    counts: Counter[str] = Counter()
    facts: list[str] = []
    seen: set[str] = set()
    for sentence, found in zip(sentences, made, strict=True):
        if found is None:
            counts["sentences without facts: their maker failed"] += 1
            continue
        kept = without_stumps(found) if date_check == "off" else check_dates(
            sentence, found, fall_back=date_check == "original"
        )  # fmt: skip
        if len(kept) < len(found):
            counts["facts dropped by the checks"] += len(found) - len(kept)
        for fact in kept:
            key = " ".join(re.findall(r"\w+", fact.casefold()))
            if repeats == "drop" and key in seen:
                counts["repeated facts"] += 1
                continue
            seen.add(key)
            facts.append(fact)
    return MadeFacts(tuple(facts), counts)


def without_stumps(facts: Iterable[str]) -> list[str]:
    """Return facts without those like "She was born." that another fact contains."""
    found = list(facts)
    return [
        fact
        for place, fact in enumerate(found)
        if not fact.endswith(_STUMPS)
        or fact.endswith("founding member.")
        or not any(fact[:-1] in other for k, other in enumerate(found) if k != place)
    ]


def check_dates(sentence: str, facts: Sequence[str], *, fall_back: bool = True) -> list[str]:
    """Return the facts of a sentence whose dates and numbers occur in it.

    A number that is the beginning of one in the sentence is completed ("198" for "1980").

    Args:
        sentence: the sentence.
        facts: its facts.
        fall_back: return all facts if the remaining ones do not have all dates and numbers of the
            sentence, as the original does.
    """
    known = _dates(sentence)
    covered: set[str] = set()
    kept: list[str] = []
    for fact in without_stumps(facts):
        completed = _completed(fact, known)
        if completed is None:
            continue
        covered |= _dates(completed)
        if completed not in kept:
            kept.append(completed)
    return list(facts) if fall_back and covered != known else kept


def _completed(fact: str, known: set[str]) -> str | None:
    """Return a fact with cut numbers completed; None if it has one that the sentence lacks."""
    for new in sorted(_dates(fact) - known):
        whole = next((one for one in sorted(known) if one.startswith(new)), None)
        if whole is None:
            return None
        fact = re.sub(rf"\b{new}\b", whole, fact)
    return fact


def _dates(text: str) -> set[str]:
    """Return the whole numbers and the months of a text."""
    return set(_NUMBER.findall(text)) | {month.lower() for month in _MONTH.findall(text)}
