"""The routes of a server: their targets and budgets, the router, and reloading of their file."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lacy.errors import LacyError
from lacy.route import NONE_CHOSEN, ChoiceRule, RouteChoice, Router, open_router
from lacy.serve.route_budget import RouteBudget
from lacy.serve.route_config import RouteEntry, RoutesConfig, read_routes
from lacy.serve.route_targets import RouteTarget

LOG = logging.getLogger("lacy.serve")

FOLLOW_EVERY = 100
"""Requests after which the price is found again on the latest ones."""

OpenTarget = Callable[[str, RouteEntry], Awaitable[RouteTarget]]
"""Opens what answers a route."""


@dataclass
class LiveRoute:
    """A route with what answers it."""

    entry: RouteEntry
    target: RouteTarget
    budget: RouteBudget

    @property
    def kind(self) -> str:
        """Whether it is a model of this process, another server or a source."""
        if self.entry.address is not None:
            return "server"
        return "model" if self.entry.model is not None else "source"


@dataclass(frozen=True)
class RoutePlan:
    """In which order routes are tried for a request.

    Attributes:
        order: names of routes.
        choice: the router's choice; None if the client named a route or there is no router.
        why: the reason for the first one.
        shadow: what the router would have chosen, in shadow mode.
    """

    order: tuple[str, ...]
    choice: RouteChoice | None
    why: str
    shadow: str | None = None


class RouteTable:
    """The routes of a server.

    Args:
        config: the settings, already checked.
        router: the router, if there is one.
        path: file that the settings come from and are read from again; None for flags.
    """

    def __init__(
        self, config: RoutesConfig, router: Router | None, path: Path | None = None
    ) -> None:
        self.config, self.router, self.path = config, router, path
        self.routes: dict[str, LiveRoute] = {}
        self.problem = ""
        """Why the file was not read again, if it is invalid now."""
        self._rule = rule_of(config, router)
        self._recent: list[list[float]] = []
        self._since = 0
        self._lock = threading.Lock()
        self._stamp = _stamp(path)

    async def open(self, open_target: OpenTarget) -> None:
        """Open what answers the routes.

        Raises:
            LacyError: a model or source cannot be opened.
        """
        self.routes = await self._live(self.config, self._rule, open_target)

    def plan(self, text: str | None) -> RoutePlan:
        """Return the order of routes for a request to ``auto``.

        Runs the router, so call it in a thread.

        Args:
            text: what the user wrote.
        """
        with self._lock:  # encoders and tokenizers are not thread-safe
            config, rule = self.config, self._rule
            choice = self.router.choose([text or ""], rule)[0] if self.router else None
            if choice is not None and config.recent:
                self._follow(choice)
        if choice is None:
            others = tuple(config.fallback) or tuple(config.routes)
            return RoutePlan(_unique(others), None, "there is no router: the first route")
        value = {name: score - rule.price * rule.costs.get(name, 0.0)
                 for name, score in choice.scores.items()}  # fmt: skip
        ranked = sorted(value, key=lambda name: -value[name])
        order = [*([choice.route] if choice.route else []), *(config.fallback or ranked)]
        if config.shadow is not None:
            order = [config.shadow, *(config.fallback or ranked)]
            why = f"shadow mode: {config.shadow} always answers"
            return RoutePlan(_unique(order), choice, why, choice.route or "none")
        why = choice.why
        if choice.route is None:  # somebody has to answer
            why = f"{why.removesuffix(NONE_CHOSEN)}, so {order[0]} is used"
        return RoutePlan(_unique(order), choice, why)

    def _follow(self, choice: RouteChoice) -> None:
        """Keep the scores of a request; every ``FOLLOW_EVERY`` requests, find the price on them."""
        assert self.router is not None
        self._recent.append([choice.scores[name] for name in self.router.routes])
        del self._recent[: -self.config.recent]
        self._since += 1
        if self._since >= FOLLOW_EVERY:
            self._since = 0
            self._rule = rule_of(self.config, self.router.with_traffic(np.array(self._recent)))

    async def reload(self, open_target: OpenTarget, *, always: bool = False) -> bool:
        """Read the file again if it has changed, with its router; an invalid one changes nothing.

        Args:
            open_target: opens what answers a route.
            always: read it even if it has not changed, because the router's folder may have.

        Returns:
            True if the routes have changed.
        """
        if self.path is None or ((stamp := _stamp(self.path)) == self._stamp and not always):
            return False
        self._stamp = stamp
        try:
            config = read_routes(self.path)
            router = await asyncio.to_thread(router_of, config, self.path)
            config.check(str(self.path), router)
            rule = rule_of(config, router)
            routes = await self._live(config, rule, open_target)
        except LacyError as error:
            self.problem = str(error)
            LOG.warning("the routes stay as they were: %s", error)
            return False
        before = self.routes
        with self._lock:
            self.config, self.router, self._rule, self.routes = config, router, rule, routes
            self._recent, self._since = [], 0
        self.problem = ""
        LOG.info("the routes were read again from %s", self.path)
        kept = {id(live.target) for live in routes.values()}
        for live in before.values():
            if id(live.target) not in kept:
                await live.target.close()
        return True

    async def _live(
        self, config: RoutesConfig, rule: ChoiceRule, open_target: OpenTarget
    ) -> dict[str, LiveRoute]:
        """Return the routes of settings; what did not change stays open."""
        found: dict[str, LiveRoute] = {}
        opened: list[RouteTarget] = []
        try:
            for name, entry in config.routes.items():
                old = self.routes.get(name)
                if old is not None and _opened_by(old.entry) == _opened_by(entry):
                    budget = old.budget if old.entry == entry else _budget(name, entry, rule)
                    found[name] = LiveRoute(entry, old.target, budget)
                else:
                    opened.append(await open_target(name, entry))
                    found[name] = LiveRoute(entry, opened[-1], _budget(name, entry, rule))
        except BaseException:
            for target in opened:
                await target.close()
            raise
        return found


def _budget(name: str, entry: RouteEntry, rule: ChoiceRule) -> RouteBudget:
    known = rule.costs.get(name, 0.0) if rule.priced else 0.0
    cost = known if entry.cost is None else entry.cost
    return RouteBudget(entry.per_minute, entry.cost_per_minute, cost)


def router_of(config: RoutesConfig, path: Path | None = None) -> Router | None:
    """Open the router of the settings, and what it reads texts with; nothing is left for later.

    Args:
        config: the settings.
        path: their file, to which the router's folder is relative.

    Raises:
        LacyError: E372, there is none; E345, its text encoder is missing; and those of a language
            model that it reads.
    """
    if config.router is None:
        return None
    folder = Path(config.router)
    if path is not None and not folder.is_absolute():
        folder = path.parent / folder
    router = open_router(folder)
    router.choose(["What opens an encoder?"])
    return router


def rule_of(config: RoutesConfig, router: Router | None) -> ChoiceRule:
    """Return the rule of choice of the settings.

    Raises:
        LacyError: as ``Router.rule``; E375, a share or budget without a router.
    """
    costs = {name: one.cost for name, one in config.routes.items() if one.cost is not None}
    if router is None:
        limits = {"strong_share": config.strong_share, "budget": config.budget,
                  "price": config.price or None}  # fmt: skip
        for what, value in limits.items():
            if value is not None:
                raise LacyError("E375", what=f"{what} {value:g}", why="there is no router")
        return ChoiceRule(costs=costs)
    known = {name: cost for name, cost in costs.items() if name in router.routes}
    rule = router.rule(
        strong_share=config.strong_share, budget=config.budget, price=config.price,
        costs={**router.costs, **known} or None,
    )  # fmt: skip
    return replace(rule, costs={**rule.costs, **costs})


def _opened_by(entry: RouteEntry) -> tuple[object, ...]:
    """Return the settings that need another target if they change."""
    return entry.model, tuple(entry.source), entry.key_variable, entry.timeout, entry.decide


def _unique(names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Return what changes when a file is written."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None


def scores_of(choice: RouteChoice | None) -> Mapping[str, float]:
    """Return rounded scores, for answers and logs."""
    return {} if choice is None else {name: float(np.round(one, 4))
                                      for name, one in choice.scores.items()}  # fmt: skip
