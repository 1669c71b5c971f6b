"""What a server tells of its sources: who they are, what they cost and how they have been doing."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
"""Classes in plain words; of others their name, in words."""


def metered(engine: Engine) -> Engine:
    """The same engine, with figures kept of each source behind it; sources are not changed."""
    made = engine.variant()
    if engine.source is not None:
        made.source = _metered(engine.source)
        made.caller = replace(engine.caller, source=made.source)
    return made


def told(source: Source | None) -> list[dict[str, Any]]:
    """Each source by itself, a chain's in their order; nothing secret is among it.

    Figures are those of the ``Metered`` around a source: zeros where there is none.
    """
    return (
        []
        if source is None
        else [_told(known) for known in _known(source, _Known(source, SourceUsage()))]
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """A source and what the sources around it say."""

    source: Source
    usage: SourceUsage
    resting: bool = False


def _known(source: Source, known: _Known) -> list[_Known]:
    """What stands behind sources around sources."""
    if isinstance(source, Metered):
        known = replace(known, usage=source.usage)
    if isinstance(source, Breaker) and source.state == "open":
        known = replace(known, resting=True)
    if isinstance(source, Chain):
        return [found for link in source.sources for found in _known(link, known)]
    inner = _inner(source)
    return [replace(known, source=source)] if inner is None else _known(inner, known)


def _told(known: _Known) -> dict[str, Any]:
    source, usage = known.source, known.usage
    return {
        "name": source.name,
        "kind": _kind(source),
        "where": _where(source),
        "price": _price(source),
        "resting": known.resting,
        "failing": usage.failing,
        "requests": usage.requests,
        "found": usage.answered,
        "not_found": usage.unanswered,
        "errors": usage.faults,
        "seconds_median": _finite(usage.median),
        "seconds_p95": _finite(usage.p95),
        "cost": _finite(usage.cost),
    }


def _metered(source: Source) -> Source:
    """With a ``Metered`` around each source that is none around others."""
    if isinstance(source, Chain):
        chain = copy.copy(source)
        chain.sources = [_metered(link) for link in source.sources]
        return chain
    inner = _inner(source)
    if inner is not None and _chained(inner):
        outer: Any = copy.copy(source)
        outer.source = _metered(inner)
        return outer
    # Whoever asks has a limit of its own.
    return source if isinstance(source, Metered) else Metered(source, timeout=None)


def _inner(source: Source) -> Source | None:
    """The one source behind another, if that is around one."""
    inner = getattr(source, "source", None)
    return inner if isinstance(inner, Source) else None


def _chained(source: Source | None) -> bool:
    return isinstance(source, Chain) or (source is not None and _chained(_inner(source)))


def _kind(source: Source) -> str:
    """A source's class in plain words."""
    names = [kind.__name__ for kind in type(source).__mro__]
    known = next((KINDS[name] for name in names if name in KINDS), None)
    return known or re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", names[0]).strip().lower()


def _where(source: Source) -> str | None:
    """A path's last part, or an address without user, password and query."""
    url, path = getattr(source, "url", None), getattr(source, "path", None)
    if isinstance(url, str) and url:
        return _address(url)
    return Path(path).resolve().name if isinstance(path, str | Path) else None


def _address(url: str) -> str | None:
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


def _finite(value: Any) -> float | None:
    """JSON has no infinities."""
    number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if number else None
