"""A perfect source for a made-up world: it returns the one true value wherever a value is due.

It shows the upper limit of a cascade: no candidate has to be ranked, and no fact is unknown. The
settings ``knows`` and ``errors`` make it less perfect, fact by fact.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lacy._require import require_share
from lacy.corpus import TokenText
from lacy.sources.names import NameIndex
from lacy.sources.units import continuation
from lacy.types import Candidate, Reply, Request, Unit
from lacy.world import values_by_relation, wrong_value

if TYPE_CHECKING:
    from lacy.world import World

_WORD = re.compile(r"\s*\S+")


class Truth:
    """Answers with the value that is due or with its remainder; elsewhere without candidates.

    A value is due if the text ends with a lead ("was born on"). If the text ends inside a value
    ("was born on 12 Mar"), the value is completed, provided that it agrees with this source.

    Args:
        world: the world with the facts.
        knows: share of facts that this source knows; for the others, it has no candidate.
        errors: share of known facts with a wrong value: another person's, fixed for each fact.
        seed: seed of both random choices. They depend only on the fact and are nested: with the
            same seed, a larger share includes all facts of a smaller share.
        name: the speaker in spans.
        tokenizer: defines the unit "token"; pass the SLM's. None makes a token a word.

    Raises:
        LacyError: E12, a share is outside 0 to 1.
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
        require_share("knows", knows)
        require_share("errors", errors)
        self.name, self.knows, self.errors = name, knows, errors
        self._world = world
        self._seed = seed
        self._people = {person.name: person for person in world.everyone}
        self._names = NameIndex(self._people)
        self._pools = values_by_relation(world.everyone)
        self._text = TokenText(tokenizer) if tokenizer is not None else None
        self._facts: dict[str, dict[str, str]] = {}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the value for each text in which one is due, else a reply without candidates."""
        return [self._reply(request) for request in requests]

    def facts(self, subject: str) -> Mapping[str, str]:
        """Return the subject's values by relation in this source; empty if it is unknown."""
        if subject not in self._facts:
            person = self._people.get(subject)
            found = {}
            for relation, value in person.facts.items() if person else ():
                if self._chance(subject, relation, "knows") >= self.knows:
                    continue
                found[relation] = value
                if person and self._chance(subject, relation, "errors") < self.errors:
                    other = wrong_value(person, relation, self._pools[relation], self._seed)
                    found[relation] = other or value
            self._facts[subject] = found
        return self._facts[subject]

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        subject = request.subject or self._names.find(request.text)
        name = self._names.stored_spelling(subject) if subject else ""
        facts = self.facts(name)
        due = self._due(request.text, facts)
        if due is None or due[0] not in facts:
            return Reply(seconds=time.perf_counter() - begin)
        relation, present = due
        value = facts[relation]
        rest = value[present:] if present else continuation(request.text, value)
        evidence = f"{name} · {relation} · {value} ({self.name})"
        found = Candidate(self._unit(rest, request.unit), evidence, relation, subject=name)
        return Reply((found,), seconds=time.perf_counter() - begin)

    def _due(self, text: str, facts: Mapping[str, str]) -> tuple[str, int] | None:
        """Return the relation that is due, and how many characters of its value the text has."""
        due = self._world.expects_value(text)
        if due is not None:
            return due, 0
        for relation, value in facts.items():
            for present in range(min(len(value), len(text)) - 1, 0, -1):
                if not text.endswith(value[:present]) or not text[-present - 1].isspace():
                    continue
                if self._world.expects_value(text[:-present]) == relation:
                    return relation, present
        return None

    def _unit(self, text: str, unit: Unit) -> str:
        """Return the first token or word of a text, or the whole text for the unit "value"."""
        if unit == "value":
            return text
        if unit == "token" and self._text is not None:
            stream, first = self._text.stream(), ""
            for token in self._text.encode_continuation(text):
                first += stream.add(token)
                if first and stream.whole:
                    return first
        match = _WORD.match(text)
        return match.group() if match else text

    def _chance(self, subject: str, relation: str, purpose: str) -> float:
        """Return a pseudo-random number in [0, 1) that depends on fact, seed and ``purpose``."""
        return random.Random(f"{self._seed}/{purpose}/{subject}/{relation}").random()
