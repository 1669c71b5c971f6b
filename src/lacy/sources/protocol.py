"""What a source is: anything that can continue a text. And the guard that keeps a text going.

A source may fail, hang or answer nonsense; ``guarded`` turns all of that into a reply with a
sentence in ``error``, after which the SLM goes on in its own words and the span says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from lacy.errors import LacyError
from lacy.types import Candidate, Reply, Request

DEFAULT_TIMEOUT = 30.0
"""Seconds after which an answer is no longer waited for."""


@runtime_checkable
class Source(Protocol):
    """Anything that can continue a text: a model, an endpoint, documents, a database."""

    name: str
    """Who speaks, as shown beside borrowed words."""

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in their order."""
        ...


def links(source: Source | None) -> list[Source]:
    """A source and all those behind it, each once, in the order in which they are asked.

    A source around others names them by a property ``inner``, a tuple of sources; one without it
    stands for itself. Figures (``Metered``), rests (``Breaker``) and prices (``Endpoint``) are
    found by walking here, whichever way the sources nest.
    """
    found: list[Source] = []
    waiting = [] if source is None else [source]
    while waiting:
        first = waiting.pop(0)
        if not any(first is known for known in found):
            found.append(first)
            inner = getattr(first, "inner", ())
            waiting = [*(inner if isinstance(inner, tuple) else ()), *waiting]
    return found


async def guarded(
    source: Source, requests: Sequence[Request], *, timeout: float | None = DEFAULT_TIMEOUT
) -> list[Reply]:
    """Ask a source and always return one sound reply per request.

    Args:
        source: whom to ask.
        requests: what to ask; nothing is asked for an empty list.
        timeout: seconds for all of them together; None waits for ever. A source that blocks its
            thread (rather than awaiting) cannot be interrupted from here.

    Returns:
        The source's replies; where it failed, was late or broke the protocol, replies with
        ``error``, ``fault`` and no candidates. Empty candidates are dropped, missing times are
        filled in.
    """
    if not requests:
        return []
    begin = time.perf_counter()
    try:
        replies = await asyncio.wait_for(source.ask(requests), timeout)
        problem = _problem(replies, len(requests))
    except TimeoutError:
        # Raised by us or by the source itself: both mean that the answer did not come in time.
        waited = time.perf_counter() - begin
        problem = f"no answer after {waited:.1f} s"
    except LacyError as error:
        problem = error.what
    except Exception as error:  # whatever a source raises must not end the text
        lines = str(error).splitlines()
        problem = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    seconds = time.perf_counter() - begin
    if problem:
        failed = Reply(error=f"{source.name}: {problem}", seconds=seconds, fault=True)
        return [failed] * len(requests)
    return [_clean(reply, seconds) for reply in replies]


def _problem(replies: object, wanted: int) -> str:
    """What is wrong with the shape of an answer; empty if nothing."""
    if not isinstance(replies, list | tuple):
        return f"answered with {type(replies).__name__} instead of a list of replies"
    if len(replies) != wanted:
        return f"answered {len(replies)} of {wanted} requests"
    for reply in replies:
        if not isinstance(reply, Reply):
            return f"answered with {type(reply).__name__} instead of a reply"
        for candidate in reply.candidates:
            if not isinstance(candidate, Candidate) or not isinstance(candidate.text, str):
                return "answered with something that is no text"
    return ""


def _clean(reply: Reply, seconds: float) -> Reply:
    """Drop what cannot be spoken: empty texts, and lone surrogates, which no encoding allows."""
    kept = () if reply.error else tuple(c for c in reply.candidates if _speakable(c.text))
    error = reply.error
    if not error and reply.candidates and not kept:
        error = "the answer held no text"
    return replace(reply, candidates=kept, error=error, seconds=reply.seconds or seconds)


def _speakable(text: str) -> bool:
    try:
        return bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
