"""Extract the stated facts from any text in the world's language, even a garbled one.

A claim is a lead followed by a value. The value is the longest known value of the relation that
ends at a word boundary. If no known value follows, the claim is wrong, and its value is the
following capitalised or numeric words (for fields of study: any words).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lacy.world import phrasings
from lacy.world.phrasings import all_forms


@dataclass(frozen=True, slots=True)
class StatedFact:
    """A fact stated in a text; characters ``[start, end)`` are the value."""

    relation: str
    value: str
    start: int
    end: int


_SHAPES = {
    "birth_date": r"\d[\d ]*(?:[A-Z][a-z]*)?(?: ?\d+)?|[A-Z][a-z]+(?: \d+)?",
    "field": r"[a-z]+(?: [a-z]+)?",
}
_NAME_SHAPE = r"[A-Z0-9][\w'-]*(?: (?:of |& )?[A-Z0-9][\w'-]*)*"
_OPEN_WORD = re.compile(r"[^\W_]+")


def _lead_pattern() -> tuple[re.Pattern[str], dict[str, str]]:
    relation_of = {
        form: relation
        for relation, leads in phrasings.LEADS.items()
        for lead in leads
        for form in all_forms(lead)
    }
    longest_first = sorted(relation_of, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, longest_first)) + r")\b"), relation_of


class ClaimReader:
    """Finds claims in a text, and detects that a value must come next.

    Args:
        values: the known values of each relation.
    """

    def __init__(self, values: Mapping[str, Iterable[str]]) -> None:
        self._leads, self._relation_of = _lead_pattern()
        self._values = {relation: frozenset(known) for relation, known in values.items()}
        self._longest = {
            relation: max((value.count(" ") + 1 for value in known), default=1)
            for relation, known in self._values.items()
        }

    def claims(self, text: str) -> list[StatedFact]:
        """Return all stated facts in order; a lead at the end of the text is not a claim."""
        found = []
        for match in self._leads.finditer(text):
            relation = self._relation_of[match.group(1)]
            start = match.end() + 1
            if text[match.end() : start] != " ":
                continue
            value = self._known_value(relation, text, start) or self._any_value(
                relation, text, start
            )
            if value:
                found.append(StatedFact(relation, value, start, start + len(value)))
        return found

    def expects_value(self, text: str) -> str | None:
        """Return the relation of the value that must come next, if the text ends with a lead."""
        tail = text[-80:].rstrip(" ")
        last = None
        for match in self._leads.finditer(tail):
            if match.end() == len(tail):
                last = self._relation_of[match.group(1)]
        return last

    def _known_value(self, relation: str, text: str, start: int) -> str | None:
        known = self._values.get(relation, frozenset())
        words = list(_token_ends(text, start, self._longest.get(relation, 1)))
        for end in reversed(words):
            candidate = text[start:end]
            # "Kelford" in "Kelford College" is not the place, because the name continues.
            goes_on = relation != "field" and re.match(r" (?:of )?[A-Z0-9]", text[end:])
            if candidate in known and not goes_on:
                return candidate
        return None

    def _any_value(self, relation: str, text: str, start: int) -> str | None:
        match = re.compile(_SHAPES.get(relation, _NAME_SHAPE)).match(text, start)
        if match:
            return match.group(0).rstrip()
        word = _OPEN_WORD.match(text, start)
        return word.group(0) if word else None


def _token_ends(text: str, start: int, limit: int) -> Iterable[int]:
    """Yield the ends of the next ``limit`` words, without closing punctuation."""
    position = start
    for _ in range(limit):
        match = re.compile(r" ?[\w'&-]+").match(text, position)
        if not match:
            return
        position = match.end()
        yield position
