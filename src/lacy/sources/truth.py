"""A perfect partner in a made-up world: it says the one true value wherever a value is due.

What a cascade could reach, were its source never at fault: no candidate has to be chosen, nothing
is unknown. ``knows`` and ``errors`` then take this perfection away fact by fact.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lacy.corpus import TokenText
from lacy.errors import LacyError
from lacy.sources.names import NameIndex
from lacy.sources.units import continuation
from lacy.types import Candidate, Reply, Request, Unit
from lacy.world import other_value, pools

if TYPE_CHECKING:
    from lacy.world import World

_WORD = re.compile(r"\s*\S+")


class Truth:
    """Answers with the value that is due, or with what is left of it; elsewhere with nothing.

    A value is due where the text ends with a lead ("was born on"), and it is continued where the
    text ends inside it ("was born on 12 Mar"). Only what this source itself would say is
    continued: where the SLM began another value, it has nothing to add.

    Args:
        world: knows what is due, and what is true.
        knows: share of the facts it knows, by chance of each; of the others it says nothing.
        errors: share of these of which it says another person's value, always the same.
        seed: of both choices. They do not depend on what is asked, and are nested: a source that
            knows more with the same seed knows the fewer facts too.
        name: who speaks.
        tokenizer: makes the tokens of the unit "token" (the SLM's, to answer by its tokens);
            without one a token is a word.

    Raises:
        LacyError: E12 for a share that is none.
    """

    def __init__(
        self,
        world: World,
        *,
        knows: float = 1.0,
        errors: float = 0.0,
        seed: int = 0,
        name: str = "truth",
        tokenizer: Any = None,
    ) -> None:
        self.name = name
        self.knows = _share("knows", knows)
        self.errors = _share("errors", errors)
        self._world = world
        self._seed = seed
        self._people = {person.name: person for person in world.everyone}
        self._names = NameIndex(self._people)
        self._pools = pools(world.everyone)
        self._text = TokenText(tokenizer) if tokenizer is not None else None
        self._said: dict[str, dict[str, str]] = {}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """One value per text, unranked, where one is due; else a reply without candidates."""
        return [self._reply(request) for request in requests]

    def says(self, subject: str) -> Mapping[str, str]:
        """Relation -> value as this source has it; empty for strangers."""
        if subject not in self._said:
            person = self._people.get(subject)
            found = {}
            for relation, value in person.facts.items() if person else ():
                if self._chance(subject, relation, "knows") >= self.knows:
                    continue
                found[relation] = value
                if person and self._chance(subject, relation, "errors") < self.errors:
                    other = other_value(person, relation, self._pools[relation], self._seed)
                    found[relation] = other or value
            self._said[subject] = found
        return self._said[subject]

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        subject = request.subject or self._names.find(request.text)
        name = self._names.spelled(subject) if subject else ""
        values = self.says(name)
        place = self._place(request.text, values)
        if place is None or place[0] not in values:
            return Reply(seconds=time.perf_counter() - begin)
        relation, said = place
        value = values[relation]
        rest = value[said:] if said else continuation(request.text, value)
        evidence = f"{name} · {relation} · {value} ({self.name})"
        found = Candidate(self._unit(rest, request.unit), evidence, relation, subject=name)
        return Reply((found,), seconds=time.perf_counter() - begin)

    def _place(self, text: str, values: Mapping[str, str]) -> tuple[str, int] | None:
        """The relation that is due, and how many characters of its value have been said."""
        due = self._world.expects_value(text)
        if due is not None:
            return due, 0
        for relation, value in values.items():
            for said in range(min(len(value), len(text)) - 1, 0, -1):
                if not text.endswith(value[:said]) or not text[-said - 1].isspace():
                    continue
                if self._world.expects_value(text[:-said]) == relation:
                    return relation, said
        return None

    def _unit(self, text: str, unit: Unit) -> str:
        """The first token or word of what is to be said, or all of it."""
        if unit == "value":
            return text
        if unit == "token" and self._text is not None:
            stream, piece = self._text.stream(), ""
            for token in self._text.encode_continuation(text):
                piece += stream.add(token)
                if piece and stream.whole:
                    return piece
        match = _WORD.match(text)
        return match.group() if match else text

    def _chance(self, subject: str, relation: str, what: str) -> float:
        """A number in [0, 1) that belongs to a fact."""
        return random.Random(f"{self._seed}/{what}/{subject}/{relation}").random()


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        do = "give a share of facts between 0 and 1"
        raise LacyError("E12", key=name, value=value, why="not a share", do=do)
    return value
