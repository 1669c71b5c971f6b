"""What a source is: anything that can continue a text. And the guard that keeps a text going.

A source may fail, hang or answer nonsense; ``guarded`` turns all of that into a reply with a
sentence in ``error``, after which the SLM goes on in its own words and the span says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

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


def wrapped_sources(source: Source | None) -> list[Source]:
    """Return a source and all sources wrapped by it, each once, in the order they are asked.

    A wrapper lists its sources in a property ``inner``, a tuple. This is how usage (``Metered``),
    circuit breakers and prices are found, however the sources are nested.
    """
    found: list[Source] = []
    pending = [] if source is None else [source]
    while pending:
        first = pending.pop(0)
        if not any(first is known for known in found):
            found.append(first)
            inner = getattr(first, "inner", ())
            pending = [*(inner if isinstance(inner, tuple) else ()), *pending]
    return found


class TokenPrice(NamedTuple):
    """US dollars per million input and output tokens."""

    input: float = 0.0
    output: float = 0.0

    @classmethod
    def of(cls, price: float | tuple[float, float]) -> TokenPrice:
        """Return a price from a pair, or from one number for both kinds of token."""
        return cls(*price) if isinstance(price, tuple) else cls(price, price)

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of these tokens in US dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def price_of(source: Source | None) -> TokenPrice | None:
    """Return the first price above zero among a source and its wrapped sources."""
    prices = (getattr(wrapped, "price", None) for wrapped in wrapped_sources(source))
    return next((p for p in prices if isinstance(p, TokenPrice) and any(p)), None)


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
