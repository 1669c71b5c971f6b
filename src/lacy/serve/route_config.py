"""Settings of a server with several routes: a YAML file, or the same as flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lacy.config import Repeated, load
from lacy.errors import LacyError
from lacy.remote import check_url
from lacy.route import Router, require_route

AUTO = "auto"
"""The model's name with which a client lets the router choose."""

MAX_RECENT = 100_000
"""Requests whose scores are kept at most."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


@dataclass
class RouteEntry:
    """What a route's name stands for."""

    model: str | None = None
    """A model's folder or name on this machine, or http://host:port/v1#name of another server; a
    policy may follow a local one (runs/mine:budget=0.22)."""
    source: Repeated = field(default_factory=list)
    """What answers the calls of a local model; without a model, what answers the request itself."""
    cost: float | None = None
    """Cost of a request, in the router's unit; by default what the router learned."""
    per_minute: float | None = None
    """Largest number of requests per minute."""
    cost_per_minute: float | None = None
    """Largest cost per minute."""
    timeout: float = 60.0
    """Seconds until an answer must be complete, or a stream must begin; then the next route is
    tried."""
    key_variable: str | None = None
    """Environment variable with the API key of another server; by default none is sent."""

    decide: str | None = None
    """Folder of lacy decide fit that answers /v1/systemone for this local model; by default its
    likelihoods do."""

    @property
    def address(self) -> str | None:
        """The address of another server, if the route is one."""
        is_address = self.model is not None and "://" in self.model
        return self.model if is_address else None


@dataclass
class RoutesConfig:
    """Routes, and how one is chosen."""

    routes: dict[str, RouteEntry] = field(default_factory=dict)
    """The routes by name."""
    router: str | None = None
    """Folder of lacy route fit; without one, auto means the first route of fallback."""
    fallback: Repeated = field(default_factory=list)
    """Routes that are tried in this order if the chosen one fails, takes too long or has used its
    budget; by default the others, the best first."""
    strong_share: float | None = None
    """Largest share of requests for the most expensive route."""
    budget: float | None = None
    """Largest mean cost per request."""
    price: float = 0.0
    """What a unit of cost takes from a score, if neither of the two is given."""
    recent: int = 0
    """Latest requests on whose scores strong_share or budget is kept, such as 1000; 0 for the cases
    that the router learned from, which traffic may drift away from."""
    shadow: str | None = None
    """Always use this route for auto, and only log what the router would have chosen."""

    def check(self, path: str, router: Router | None) -> None:
        """Check names, numbers and addresses before anything is opened.

        Args:
            path: names the settings in messages.
            router: the router, if there is one.

        Raises:
            LacyError: E377, a route is unusable; E374, a name is no route; E72, an address is
                unusable.
        """
        if not self.routes:
            raise LacyError("E377", path=path, why="there are none")
        for name, entry in self.routes.items():
            why = _problem(name, entry)
            if why:
                raise LacyError("E377", path=path, why=f"{name}: {why}")
            if entry.address is not None:
                check_url(entry.address.partition("#")[0])
        names = list(self.routes)
        if not 0 <= self.recent <= MAX_RECENT:
            raise LacyError("E12", key="recent", value=self.recent, why="not a number of requests",
                            do=f"give 0 to {MAX_RECENT:,}")  # fmt: skip
        for one in self.fallback:
            require_route(one, names, f"fallback in {path}")
        if self.shadow is not None:
            require_route(self.shadow, names, f"shadow in {path}")
        for one in router.routes if router else ():
            if one not in self.routes:
                why = f"the router in {self.router} chooses {one}, which has no entry"
                raise LacyError("E377", path=path, why=why)


def read_routes(path: str | Path) -> RoutesConfig:
    """Read a YAML file of routes.

    Raises:
        LacyError: E13, no such file; E377, it is no YAML, or a setting is unknown or has another
            type.
    """
    try:
        return load(RoutesConfig, path, command="route serve")
    except LacyError as error:
        if error.code not in ("E10", "E12", "E14", "E15"):
            raise
        raise LacyError("E377", path=path, why=error.what) from error


def routes_of_words(words: Sequence[str]) -> dict[str, RouteEntry]:
    """Return routes of words such as ``small=runs/small``.

    Raises:
        LacyError: E377, a word is not NAME=MODEL, or a name is repeated.
    """
    found: dict[str, RouteEntry] = {}
    for word in words:
        name, _, model = word.partition("=")
        if not name or not model or name in found:
            why = "it is repeated" if name in found else "it is not NAME=MODEL"
            raise LacyError("E377", path="--route", why=f"{word}: {why}")
        found[name] = RouteEntry(model)
    return found


def _problem(name: str, entry: RouteEntry) -> str:
    """Return why an entry is unusable, or ""."""
    if not _NAME.fullmatch(name):
        return "a name has letters, digits and . _ / - only"
    if name == AUTO:
        return f"{AUTO} is the name with which the router chooses"
    if entry.model is None and not entry.source:
        return "it has neither model nor source"
    if entry.address is not None and entry.source:
        return "a model on another server has no source here"
    if entry.decide is not None and (entry.model is None or entry.address is not None):
        return "decide needs a model of this process"
    if entry.address is not None and not entry.address.partition("#")[2]:
        return "name the model after its address: http://host:port/v1#name"
    for field_name in ("cost", "per_minute", "cost_per_minute"):
        value = getattr(entry, field_name)
        if value is not None and not 0 <= value < float("inf"):
            return f"{field_name} is {value}, not 0 or more"
    if not 0 < entry.timeout < float("inf"):
        return f"timeout is {entry.timeout}, not above 0"
    if entry.cost_per_minute is not None and entry.cost is None:
        return "cost_per_minute needs its cost"
    return ""
