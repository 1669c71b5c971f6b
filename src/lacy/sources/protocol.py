"""Define the protocol of sources, and ask them so that every request gets a reply.

A source may fail, hang or answer nonsense. ``guarded`` turns each of these into a reply with an
explanation in ``error``; the SLM then continues without the source, and the span says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

from lacy.errors import LacyError
from lacy.sources.units import plain_value
from lacy.types import Candidate, Reply, Request

DEFAULT_TIMEOUT = 30.0
"""Seconds that an engine waits for the replies to one call."""


@runtime_checkable
class Source(Protocol):
    """Anything that can continue a text, such as a database, documents or a model."""

    name: str
    """Name of the source; spans show it as the speaker of text from this source."""

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return one reply per request, in order."""
        ...


def wrapped_sources(source: Source | None) -> list[Source]:
    """Return a source and, recursively, all sources that it wraps, in the order of asking.

    A wrapper lists its sources in a tuple ``inner``. Usage (``Metered``), circuit breakers and
    prices are found in this way at any depth of nesting.
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
        """Convert a pair, or one number for both input and output tokens, to a price."""
        return cls(*price) if isinstance(price, tuple) else cls(price, price)

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of these tokens in US dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def price_of(source: Source | None) -> TokenPrice | None:
    """Return the first non-zero price of a source or its wrapped sources, or None."""
    prices = (getattr(wrapped, "price", None) for wrapped in wrapped_sources(source))
    return next((p for p in prices if isinstance(p, TokenPrice) and any(p)), None)


def error_reply(source: Source, why: str, begin: float, *, fault: bool = False) -> Reply:
    """Return a reply without candidates that explains why; its duration counts from ``begin``."""
    seconds = time.perf_counter() - begin
    return Reply(error=f"{source.name}: {why}", seconds=seconds, fault=fault)


async def guarded(
    source: Source, requests: Sequence[Request], *, timeout: float | None = DEFAULT_TIMEOUT
) -> list[Reply]:
    """Ask a source and always return one valid reply per request.

    Args:
        source: the source to ask.
        requests: the requests; if the list is empty, the source is not asked.
        timeout: seconds for all requests together; None waits without limit. A source that blocks
            its thread instead of awaiting cannot be interrupted.

    Returns:
        The source's replies. If it failed, took too long or violated the protocol, the replies have
        ``error`` and ``fault`` but no candidates. Empty candidates are dropped, and missing times
        are filled in.
    """
    if not requests:
        return []
    begin = time.perf_counter()
    try:
        replies = await asyncio.wait_for(source.ask(requests), timeout)
        problem = _problem(replies, len(requests))
    except TimeoutError:  # raised by us or by the source
        problem = f"no answer after {time.perf_counter() - begin:.1f} s"
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


def _problem(replies: object, count: int) -> str:
    """Return how an answer violates the protocol, or ""."""
    if not isinstance(replies, list | tuple):
        return f"answered with {type(replies).__name__} instead of a list of replies"
    if len(replies) != count:
        return f"answered {len(replies)} of {count} requests"
    for reply in replies:
        if not isinstance(reply, Reply):
            return f"answered with {type(reply).__name__} instead of a reply"
        for candidate in reply.candidates:
            if not isinstance(candidate, Candidate) or not isinstance(candidate.text, str):
                return "answered with something that is not text"
    return ""


def _clean(reply: Reply, seconds: float) -> Reply:
    """Remove HTML from candidates; drop those that are empty or not valid Unicode."""
    plain = [
        replace(c, text=plain_value(c.text), context=plain_value(c.context))
        if any(sign in c.text or sign in c.context for sign in "&<")
        else c
        for c in reply.candidates
    ]
    usable = () if reply.error else tuple(c for c in plain if _is_usable(c.text))
    error = reply.error
    if not error and reply.candidates and not usable:
        error = "the answer contains no text"
    return replace(reply, candidates=usable, error=error, seconds=reply.seconds or seconds)


def _is_usable(text: str) -> bool:
    try:
        return bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
