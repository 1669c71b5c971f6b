"""A source that says what it is told to: for tests, demonstrations and trying out policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from lacy.types import Candidate, Reply, Request

Line: TypeAlias = "str | Reply | Exception | Sequence[str] | None"
"""One scripted answer: a text taken as it is, texts to be ranked, a whole reply, an exception to
raise, or None for "I do not know"."""


class ScriptedSource:
    """Answers from a script, with delays and failures on demand.

    Args:
        script: a list of lines said one after the other, the last one repeated (an empty list:
            never an answer); a mapping from the end of a text to the line that continues it (the
            longest matching end wins); or a function of the request.
        name: who speaks.
        delay: seconds to wait before each answer.
        cost: cost of each request.
    """

    def __init__(
        self,
        script: Sequence[Line] | Mapping[str, Line] | Callable[[Request], Line],
        *,
        name: str = "script",
        delay: float = 0.0,
        cost: float = 0.0,
    ) -> None:
        self.name = name
        self.delay = delay
        self.cost = cost
        self.asked: list[Request] = []
        self.batches: list[int] = []
        self._script = script

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """The next lines of the script; raises what the script holds as an exception."""
        self.batches.append(len(requests))
        if self.delay:
            await asyncio.sleep(self.delay)
        return [self._reply(request) for request in requests]

    def _reply(self, request: Request) -> Reply:
        line = self._line(request)
        self.asked.append(request)
        if isinstance(line, Exception):
            raise line
        if isinstance(line, Reply):
            return line
        if line is None:
            return Reply(cost=self.cost)
        if isinstance(line, str):
            return Reply((Candidate(line, evidence=f"line of {self.name}"),), cost=self.cost)
        found = tuple(Candidate(text, evidence=f"line of {self.name}") for text in line)
        return Reply(found, ranked=True, cost=self.cost)

    def _line(self, request: Request) -> Line:
        if callable(self._script):
            return self._script(request)
        if isinstance(self._script, Mapping):
            ends = [end for end in self._script if request.text.endswith(end)]
            return self._script[max(ends, key=len)] if ends else None
        if not self._script:
            return None
        return self._script[min(len(self.asked), len(self._script) - 1)]
