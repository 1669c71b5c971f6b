"""What every annotator is: texts in, character spans with a reason out.

Marks of a text are sorted and do not overlap: ``merge_marks`` makes any heap of spans so.
``validated_marks`` holds an annotator of unknown origin to that promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, get_args, runtime_checkable

from lacy.errors import LacyError
from lacy.types import Mark, Reason

REASONS: tuple[Reason, ...] = get_args(Reason)

STRENGTH: dict[Reason, int] = {
    "VALUE": 5,
    "DATE": 4,
    "ENTITY": 3,
    "NUMBER": 2,
    "KEYWORD": 1,
    "CONTENT": 0,
}
"""Which reason a union of equally long overlapping spans takes."""


@runtime_checkable
class Annotator(Protocol):
    """Marks the facts of texts.

    An annotator may also have ``settings() -> dict`` (what its marks depend on, JSON values;
    a resumed annotation compares it), ``uses_subjects = True`` (then ``annotate`` is given
    ``subjects``, whom each text is about, as a second argument) and ``choice`` (a sentence on
    what it chose by itself, printed once).
    """

    name: str

    def annotate(self, texts: Sequence[str]) -> list[list[Mark]]:
        """One list of marks per text, sorted by start, not overlapping, offsets in characters."""
        ...


def merge_marks(marks: Iterable[Mark]) -> list[Mark]:
    """Sorts marks and unites the overlapping ones, so that no character has two reasons.

    A union takes the reason and relation of its longest member (of equally long ones the
    stronger reason, see ``STRENGTH``). Facts win over ``CONTENT``: a content word that a fact
    overlaps is dropped, not united. Empty spans are dropped. Touching spans stay two values.
    """
    marks = [mark for mark in marks if mark.end > mark.start]
    facts = sorted((mark for mark in marks if mark.reason != "CONTENT"), key=_order)
    content = sorted((mark for mark in marks if mark.reason == "CONTENT"), key=_order)
    kept = _unite(facts)
    return sorted([*kept, *_apart(_unite(content), kept)])


def _order(mark: Mark) -> tuple[int, int]:
    return mark.start, mark.end


def _unite(ordered: Sequence[Mark]) -> list[Mark]:
    groups: list[list[Mark]] = []
    end = -1
    for mark in ordered:
        if mark.start < end:
            groups[-1].append(mark)
        else:
            groups.append([mark])
        end = max(end, mark.end)
    return [_union(group) for group in groups]


def _union(group: Sequence[Mark]) -> Mark:
    if len(group) == 1:
        return group[0]
    leader = max(group, key=lambda mark: (mark.end - mark.start, STRENGTH[mark.reason]))
    return Mark(group[0].start, max(mark.end for mark in group), leader.reason, leader.relation)


def _apart(marks: Sequence[Mark], facts: Sequence[Mark]) -> list[Mark]:
    """Those of ``marks`` that no fact overlaps (both sorted, each without overlap)."""
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
    """Returns ``marks`` if they keep the protocol's promise.

    Raises:
        LacyError: E31, with the text's number and what is wrong.
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


def settings_of(annotator: Annotator) -> dict[str, Any]:
    """What an annotator's marks depend on: its ``settings()`` where it has them, and its name."""
    settings = getattr(annotator, "settings", None)
    return {"name": annotator.name, **(settings() if callable(settings) else {})}
