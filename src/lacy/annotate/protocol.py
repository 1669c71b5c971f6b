"""The interface of annotators: they take texts and return character spans with a reason.

The marks of a text are sorted and do not overlap: ``merge_marks`` turns any spans into such marks,
and ``validated_marks`` checks the output of an unknown annotator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

from lacy.errors import LacyError
from lacy.types import Mark, Reason

REASONS: tuple[Reason, ...] = get_args(Reason)

PRIORITY: dict[Reason, int] = {
    "VALUE": 5,
    "DATE": 4,
    "ENTITY": 3,
    "NUMBER": 2,
    "KEYWORD": 1,
    "CONTENT": 0,
}
"""The reason with the larger number wins when overlapping spans of equal length are merged."""


@runtime_checkable
class Annotator(Protocol):
    """Marks the facts of texts.

    Optional members: ``settings() -> dict`` returns all JSON values that influence the marks, so
    that a resumed annotation can compare them. With ``uses_subjects = True``, ``annotate`` gets the
    subject of each text as a second argument. ``choice`` is a sentence about an automatic choice;
    it is printed once.
    """

    name: str

    def annotate(self, texts: Sequence[str]) -> list[list[Mark]]:
        """Return a list of marks per text, sorted by start, without overlaps."""
        ...


def merge_marks(marks: Iterable[Mark]) -> list[Mark]:
    """Sort marks and merge overlapping ones, so that no character has two reasons.

    A merged mark takes the reason and relation of its longest member; ties go to the highest
    ``PRIORITY``. Its label is that of the longest member with a label. Facts win over ``CONTENT``:
    a content word that overlaps a fact is dropped. Empty spans are dropped. Adjacent spans stay
    separate values.
    """
    marks = [mark for mark in marks if mark.end > mark.start]
    facts = merge_overlapping(mark for mark in marks if mark.reason != "CONTENT")
    content = merge_overlapping(mark for mark in marks if mark.reason == "CONTENT")
    return sorted([*facts, *_without_overlap(content, facts)])


def merge_overlapping(
    marks: Iterable[Mark], priority: Mapping[Reason, int] = PRIORITY
) -> list[Mark]:
    """Sort marks and merge each group of overlapping ones, as ``merge_marks`` does."""
    groups: list[list[Mark]] = []
    end = -1
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        if mark.start < end:
            groups[-1].append(mark)
        else:
            groups.append([mark])
        end = max(end, mark.end)
    return [group[0] if len(group) == 1 else _merged(group, priority) for group in groups]


def _merged(group: Sequence[Mark], priority: Mapping[Reason, int]) -> Mark:
    """Return the mark that covers a group of overlapping ones."""
    leader = max(group, key=lambda mark: (mark.end - mark.start, priority[mark.reason]))
    label = leader.label
    if label is None:
        labelled = [mark for mark in group if mark.label is not None]
        label = max(labelled, key=lambda mark: mark.end - mark.start).label if labelled else None
    end = max(mark.end for mark in group)
    return Mark(group[0].start, end, leader.reason, leader.relation, label)


def _without_overlap(marks: Sequence[Mark], facts: Sequence[Mark]) -> list[Mark]:
    """Return the marks that overlap no fact; both lists must be sorted and free of overlaps."""
    kept: list[Mark] = []
    at = 0
    for mark in marks:
        while at < len(facts) and facts[at].end <= mark.start:
            at += 1
        if at == len(facts) or facts[at].start >= mark.end:
            kept.append(mark)
    return kept


def validated_marks(
    texts: Sequence[str], marks: Sequence[Sequence[Mark]], name: str
) -> list[list[Mark]]:
    """Return ``marks`` if they are valid.

    Raises:
        LacyError: E31, names the text and the problem.
    """
    if len(marks) != len(texts):
        raise LacyError("E31", name=name, why=f"{len(texts)} texts, {len(marks)} lists of marks")
    for number, (text, found) in enumerate(zip(texts, marks, strict=True)):
        end = 0
        for mark in found:
            if mark.reason not in REASONS:
                raise LacyError("E31", name=name, why=f"unknown reason {mark.reason!r}")
            if not end <= mark.start < mark.end <= len(text):
                why = (
                    f"text {number} has a mark [{mark.start}, {mark.end}) after one that ends at "
                    f"{end}; the text has {len(text)} characters"
                )
                raise LacyError("E31", name=name, why=why)
            end = mark.end
    return [list(found) for found in marks]


def annotator_settings(annotator: Annotator) -> dict[str, Any]:
    """Return the annotator's name and all settings that influence its marks."""
    settings = getattr(annotator, "settings", None)
    return {"name": annotator.name, **(settings() if callable(settings) else {})}
