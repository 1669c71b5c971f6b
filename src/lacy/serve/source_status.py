"""Status of a server's sources: names, prices, and counts of requests and failures."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lacy._text import json_safe
from lacy.cascade import Engine
from lacy.sources import Breaker, Chain, Metered, Source, SourceUsage, TokenPrice

KINDS = {
    "Chain": "chain",
    "Database": "database",
    "Documents": "texts",
    "Endpoint": "model behind a server",
    "LanguageModel": "language model",
    "ScriptedSource": "script",
    "Truth": "made-up world",
}
"""Readable names of source classes; the name of any other class is split into words."""


def metered(engine: Engine) -> Engine:
    """Return a copy of the engine that counts the requests to each source."""
    copied = engine.variant()
    if engine.source is not None:
        copied.source = _metered(engine.source)
    return copied


def source_status(source: Source | None) -> list[dict[str, Any]]:
    """Return the status of each source (of a chain in its order), without any secrets.

    The counts come from the ``Metered`` wrapper of a source; without one they are zero.
    """
    if source is None:
        return []
    return [
        _status(unwrapped) for unwrapped in _unwrap(source, _UnwrappedSource(source, SourceUsage()))
    ]


@dataclass(frozen=True, slots=True)
class _UnwrappedSource:
    """A source without its wrappers, and the status that its wrappers know."""

    source: Source
    usage: SourceUsage
    resting: bool = False


def _unwrap(source: Source, status: _UnwrappedSource) -> list[_UnwrappedSource]:
    """Return the sources inside all wrappers."""
    if isinstance(source, Metered):
        status = replace(status, usage=source.usage)
    if isinstance(source, Breaker) and source.state == "open":
        status = replace(status, resting=True)
    if isinstance(source, Chain):
        return [unwrapped for member in source.sources for unwrapped in _unwrap(member, status)]
    wrapped = _wrapped(source)
    return [replace(status, source=source)] if wrapped is None else _unwrap(wrapped, status)


def _status(unwrapped: _UnwrappedSource) -> dict[str, Any]:
    source, usage = unwrapped.source, unwrapped.usage
    return {
        "name": source.name,
        "kind": _kind(source),
        "where": _where(source),
        "price": _price(source),
        "resting": unwrapped.resting,
        "failing": usage.failing,
        "requests": usage.requests,
        "found": usage.answered,
        "not_found": usage.unanswered,
        "errors": usage.faults,
        "seconds_median": json_safe(float(usage.median)),
        "seconds_p95": json_safe(float(usage.p95)),
        "cost": json_safe(float(usage.cost)),
    }


def _metered(source: Source) -> Source:
    """Wrap each member of a chain, or a source that is not a chain, in ``Metered``."""
    if isinstance(source, Chain):
        chain = copy.copy(source)
        chain.sources = [_metered(member) for member in source.sources]
        return chain
    wrapped = _wrapped(source)
    if wrapped is not None and _has_chain(wrapped):
        wrapper: Any = copy.copy(source)
        wrapper.source = _metered(wrapped)
        return wrapper
    # No timeout here, as the engine has one.
    return source if isinstance(source, Metered) else Metered(source, timeout=None)


def _wrapped(source: Source) -> Source | None:
    """Return the source inside a wrapper; None if ``source`` is not a wrapper."""
    wrapped = getattr(source, "source", None)
    return wrapped if isinstance(wrapped, Source) else None


def _has_chain(source: Source | None) -> bool:
    return isinstance(source, Chain) or (source is not None and _has_chain(_wrapped(source)))


def _kind(source: Source) -> str:
    """Return a readable name for the kind of a source."""
    names = [kind.__name__ for kind in type(source).__mro__]
    known = next((KINDS[name] for name in names if name in KINDS), None)
    return known or re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", names[0]).strip().lower()


def _where(source: Source) -> str | None:
    """Return the last part of a path, or an address without user, password and query."""
    url, path = getattr(source, "url", None), getattr(source, "path", None)
    if not (isinstance(url, str) and url):
        return Path(path).resolve().name if isinstance(path, str | Path) else None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{f':{port}' if port else ''}{parts.path}"


def _price(source: Source) -> dict[str, float] | None:
    """Return a source's price in US dollars per million tokens, if it has one."""
    price = getattr(source, "price", None)
    if not isinstance(price, TokenPrice) or not all(map(math.isfinite, price)):
        return None
    return price._asdict()
