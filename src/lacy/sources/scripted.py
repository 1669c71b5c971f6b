"""A source with scripted answers for tests, demonstrations and trying out policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from lacy.types import Candidate, Reply, Request

ScriptLine: TypeAlias = "str | Reply | Exception | Sequence[str] | None"
"""One scripted answer: a text (used unchanged), several texts (to be ranked), a complete reply, an
exception to raise, or None for no candidate."""


class ScriptedSource:
    """Answers from a script, with optional delays and failures.

    Args:
        script: a list of lines, used in order with the last one repeated (an empty list never
            answers); a mapping from the end of a text to the line that continues it (the longest
            match is used); or a function of the request.
        name: the speaker in spans.
        delay: seconds to wait before each answer.
        cost: cost of each request.
    """

    def __init__(
        self,
        script: Sequence[ScriptLine] | Mapping[str, ScriptLine] | Callable[[Request], ScriptLine],
        *,
        name: str = "script",
        delay: float = 0.0,
        cost: float = 0.0,
    ) -> None:
        self.name = name
        self.delay = delay
        self.cost = cost
        self.script = script
        self.asked: list[Request] = []
        self.batches: list[int] = []

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return the next lines of the script; a line that is an exception is raised."""
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
        ranked = line is not None and not isinstance(line, str)
        texts = [line] if isinstance(line, str) else line or []
        found = tuple(Candidate(text, evidence=f"line of {self.name}") for text in texts)
        return Reply(found, ranked=ranked, cost=self.cost)

    def _line(self, request: Request) -> ScriptLine:
        if callable(self.script):
            return self.script(request)
        if isinstance(self.script, Mapping):
            ends = [end for end in self.script if request.text.endswith(end)]
            return self.script[max(ends, key=len)] if ends else None
        if not self.script:
            return None
        return self.script[min(len(self.asked), len(self.script) - 1)]
