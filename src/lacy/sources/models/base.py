"""Base class of models that are reached over a connection or in other threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from lacy._require import require_at_least
from lacy.remote import LoopThread, RemoteError
from lacy.sources.protocol import TokenPrice
from lacy.types import Candidate, Reply, Request, Unit

Mode = Literal["auto", "completions", "chat"]
"""``completions`` sends the raw text, ``chat`` a conversation, ``auto`` what the model offers."""

DEFAULT_MAX_TOKENS: dict[Unit, int] = {"token": 1, "word": 12, "value": 16}
"""Token limit of a request by unit."""

DEFAULT_TIMEOUT = 20.0
"""Seconds for one request with all attempts; an engine waits for 30 s by default."""


@dataclass
class RequestRecord:
    """Cost of one request over all attempts, and notes for its evidence."""

    cost: float = 0.0
    notes: list[str] = field(default_factory=list)

    def note(self, note: str) -> None:
        """Add a note unless it is empty or a repetition."""
        if note and note not in self.notes:
            self.notes.append(note)


class RemoteModel:
    """A model that runs in a ``LoopThread``; every failure becomes a reply with an error.

    Subclasses implement ``_continue``.

    Args:
        name: the speaker in spans.
        max_tokens: token limit of a request, by unit or one number for all units.
        timeout: seconds for one request with all attempts and waits.
        price: US dollars per million tokens, or a pair: input tokens, output tokens.
        characters: maximum characters sent; longer texts are cut at the beginning.
        cleanup: awaited when the model is closed; it must not hold a reference to the model.

    Raises:
        LacyError: E12, a setting is out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int | Mapping[Unit, int] | None,
        timeout: float,
        price: float | tuple[float, float],
        characters: int,
        cleanup: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name, self.price = name, TokenPrice.of(price)
        self.max_tokens = limits_by_unit(max_tokens, DEFAULT_MAX_TOKENS)
        self.timeout, self.characters = timeout, characters
        require_at_least("timeout", timeout, 0.001)
        require_at_least("characters", characters, 1)
        require_at_least("max_tokens", min(self.max_tokens.values()), 1)
        self._loop_thread = LoopThread(cleanup) if cleanup else LoopThread()

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Continue all texts by one unit concurrently; failures become replies with an error."""
        if not requests:
            return []
        try:
            return await self._loop_thread.run(self._ask_all(requests))
        except RuntimeError as error:
            why = str(error)
        except asyncio.CancelledError:
            if not self._loop_thread.closed:  # the caller was cancelled
                raise
            why = "it was closed"
        return [Reply(error=f"{self.name}: {why}", fault=True)] * len(requests)

    def close(self) -> None:
        """Close the connections; later requests get replies with an error."""
        self._loop_thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _ask_all(self, requests: Sequence[Request]) -> list[Reply]:
        deadline = time.monotonic() + self.timeout
        return list(await asyncio.gather(*(self._reply(request, deadline) for request in requests)))

    async def _reply(self, request: Request, deadline: float) -> Reply:
        """Return a reply before the deadline, even if the model fails."""
        begin, record, why = time.perf_counter(), RequestRecord(), ""
        if len(request.text) > self.characters:
            request = replace(request, text=request.text[-self.characters :])
            record.note(f"which saw only the last {self.characters} characters")
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                text = await self._continue(request, deadline, record)
        except TimeoutError:
            why = f"no whole answer within {self.timeout:g} s"
        except RemoteError as error:
            why = str(error)
        except Exception as error:  # not even a bug in lacy may end the text
            why = self._describe(error)
        seconds, cost = time.perf_counter() - begin, record.cost
        if why:
            return Reply(error=f"{self.name}: {why}", fault=True, cost=cost, seconds=seconds)
        evidence = "; ".join([f"continued by {self.name}", *record.notes])
        found = (Candidate(text, evidence),) if text else ()
        return Reply(found, cost=cost, seconds=seconds)

    async def _continue(self, request: Request, deadline: float, record: RequestRecord) -> str:
        """Return the text's next unit, or "" if there is none.

        Args:
            request: the request; its text has at most ``characters`` characters.
            deadline: a value of ``time.monotonic()``.
            record: collects costs and notes, also of failed attempts.

        Raises:
            RemoteError: there is no usable answer.
        """
        raise NotImplementedError

    def _describe(self, error: Exception) -> str:
        """Describe an unexpected error without the API key."""
        return type(error).__name__


def limits_by_unit(
    max_tokens: int | Mapping[Unit, int] | None, defaults: Mapping[Unit, int]
) -> dict[Unit, int]:
    """Return the token limit of each unit, given one number for all units or a partial mapping."""
    given = dict.fromkeys(defaults, max_tokens) if isinstance(max_tokens, int) else max_tokens
    return {**defaults, **(given or {})}
