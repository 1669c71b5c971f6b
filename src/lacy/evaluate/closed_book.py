"""Closed-book recall: the share of facts that a model states correctly without any source.

A probe is a true text cut right before a value (a cloze); the model continues greedily with the
``<CALL>`` logit at minus infinity. Two shares are reported: of continuations that begin with the
gold value, and of those that contain it anywhere (as in LaCy §5.1). The chance level is that of
always guessing the most frequent value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lacy.results import Score, ratio
from lacy.types import Document


@dataclass(frozen=True, slots=True)
class Probe:
    """A text that ends right before a value (without the space), and that value."""

    prompt: str
    value: str
    relation: str
    subject: str


@dataclass(frozen=True, slots=True)
class ClosedBookRecall:
    """Share of facts recalled with calls switched off; intervals are over people."""

    start: Score
    """The continuation begins with the gold value."""
    anywhere: Score
    """The continuation contains the gold value."""
    chance: Score
    """The gold value is the most frequent one of its relation."""
    by_relation: dict[str, Score]
    """``start`` for each relation."""
    probes: int
    """Number of probes."""


def make_probes(
    documents: Iterable[Document],
    subject: Callable[[Document], str],
    *,
    per_fact: int = 1,
) -> list[Probe]:
    """Cut marked documents into probes.

    A value that already appears before the cut is left out, because the model could copy it. Marks
    without a relation are left out too.

    Args:
        documents: texts with gold marks (reason VALUE, relation set).
        subject: returns the person that a document is about.
        per_fact: maximum number of probes per person and relation.
    """
    probe_count: Counter[tuple[str, str]] = Counter()
    result = []
    for document in documents:
        name = subject(document)
        for mark in document.marks:
            before, value = document.text[: mark.start], document.text[mark.start : mark.end]
            prompt = before.rstrip()
            if mark.relation is None or not prompt or contains_value(before, value):
                continue
            if probe_count[name, mark.relation] < per_fact:
                probe_count[name, mark.relation] += 1
                result.append(Probe(prompt, value, mark.relation, name))
    return result


def _normalized(text: str) -> str:
    """Return the text in lower case with single spaces."""
    return " ".join(text.casefold().split())


def begins_with_value(text: str, value: str) -> bool:
    """True if a text begins with a whole value, ignoring case and white space."""
    text, value = _normalized(text), _normalized(value)
    return (
        bool(value) and text.startswith(value) and not text[len(value) : len(value) + 1].isalnum()
    )


def contains_value(text: str, value: str) -> bool:
    """True if a text contains a whole value, not as part of a longer word or number."""
    text, value = _normalized(text), _normalized(value)
    start = text.find(value) if value else -1
    while start >= 0:
        before, after = text[start - 1 : start] if start else "", text[start + len(value) :][:1]
        if not before.isalnum() and not after.isalnum():
            return True
        start = text.find(value, start + 1)
    return False


def most_frequent(truths: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the most frequent value of each relation; of several, the alphabetically first."""
    counters: dict[str, Counter[str]] = {}
    for truth in truths:
        for relation, value in truth.items():
            counters.setdefault(relation, Counter())[value] += 1
    return {
        relation: min(counter, key=lambda value: (-counter[value], value))
        for relation, counter in counters.items()
    }


def closed_book_recall(
    asked: Sequence[Probe],
    generate: Callable[[Sequence[str]], Sequence[str]],
    frequent: Mapping[str, str],
    *,
    seed: int = 0,
) -> ClosedBookRecall:
    """Run the probes and count which values the model recalls.

    Args:
        asked: the probes (see ``make_probes``).
        generate: returns the greedy continuation of each prompt, with calls switched off and
            without the prompt itself.
        frequent: the most frequent value of each relation (see ``most_frequent``).
        seed: seed of the bootstrap.

    Raises:
        ValueError: ``generate`` did not return one text per prompt.
    """
    texts = generate([probe.prompt for probe in asked]) if asked else []
    if len(texts) != len(asked):
        raise ValueError(f"{len(texts)} continuations for {len(asked)} probes")
    people = np.unique(np.asarray([p.subject for p in asked], dtype=object), return_inverse=True)[1]
    start, anywhere, chance = (
        np.array(hits, float)
        for hits in (
            [
                begins_with_value(text, probe.value)
                for text, probe in zip(texts, asked, strict=True)
            ],
            [contains_value(text, p.value) for text, p in zip(texts, asked, strict=True)],
            [_normalized(frequent.get(p.relation, "")) == _normalized(p.value) for p in asked],
        )
    )

    def over_people(hits: np.ndarray, mask: np.ndarray) -> Score:
        hit_counts = np.bincount(people[mask], hits[mask])
        probe_counts = np.bincount(people[mask])
        return ratio(hit_counts[probe_counts > 0], probe_counts[probe_counts > 0], seed=seed)

    relation_of = np.array([probe.relation for probe in asked], dtype=object)
    all_probes = np.ones(len(asked), bool)
    return ClosedBookRecall(
        start=over_people(start, all_probes),
        anywhere=over_people(anywhere, all_probes),
        chance=over_people(chance, all_probes),
        by_relation={r: over_people(start, relation_of == r) for r in sorted(set(relation_of))},
        probes=len(asked),
    )
