"""Choose a route from scores, costs and a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.route.cases import Floats

NEVER = 1e6
"""A loss that no score makes up for."""

NONE_CHOSEN = ", so none is chosen"
"""End of the reason of an abstention without a fallback."""

HALVINGS = 60
"""Steps in which the price of cost is found."""


@dataclass(frozen=True)
class ChoiceRule:
    """How a route is chosen: the highest ``score - price * cost`` of the allowed routes.

    Attributes:
        price: what a unit of cost takes from the score; 0 ignores costs.
        costs: cost of each route; missing ones are 0.
        priced: False if ``costs`` only say which route is the strong one, because none are known.
        allowed: routes that may be chosen; None for all.
        abstain: score below which no route is chosen.
        unfamiliar: share of familiar words below which no route is chosen.
        fallback: what is chosen instead of none.
    """

    price: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)
    allowed: tuple[str, ...] | None = None
    abstain: float = 0.0
    unfamiliar: float = 0.0
    fallback: str | None = None
    priced: bool = True


@dataclass(frozen=True)
class RouteChoice:
    """The route chosen for a text.

    Attributes:
        route: the route; None if the router abstained and has no fallback.
        scores: calibrated probability of each route.
        cost: cost of the route, if costs are known.
        why: the reason in words.
        abstained: True if no route was good enough.
    """

    route: str | None
    scores: dict[str, float]
    cost: float | None
    why: str
    abstained: bool = False


def require_route(name: str, routes: Sequence[str], where: str) -> str:
    """Return a route's name if it exists.

    Raises:
        LacyError: E374, there is no such route.
    """
    if name not in routes:
        raise LacyError("E374", route=name, where=where, known=", ".join(routes),
                        hint=did_you_mean(name, routes))  # fmt: skip
    return name


def choose_route(
    routes: Sequence[str], scores_R: Floats, rule: ChoiceRule, familiar: float | None = None
) -> RouteChoice:
    """Choose a route for one text.

    Args:
        routes: names of the routes.
        scores_R: their scores.
        rule: how to choose.
        familiar: share of the text's words that the training texts have; None if unknown.
    """
    scores = {name: float(score) for name, score in zip(routes, scores_R, strict=True)}
    allowed = rule.allowed or tuple(routes)
    value = {name: scores[name] - rule.price * rule.costs.get(name, 0.0) for name in allowed}
    # Of equal values, the cheapest, then the first.
    best = max(allowed, key=lambda name: (value[name], -rule.costs.get(name, 0.0)))
    why = _reason(best, scores, value, rule)
    abstained = False
    if familiar is not None and familiar < rule.unfamiliar:
        why = (f"only {familiar:.0%} of its words are familiar "
               f"(at least {rule.unfamiliar:.0%} are needed)")  # fmt: skip
        abstained = True
    elif scores[best] < rule.abstain:
        why = f"no route reaches {rule.abstain:g} ({best} has {scores[best]:.2f})"
        abstained = True
    route = rule.fallback if abstained else best
    if abstained:
        why += f", so {route} is used" if route else NONE_CHOSEN
    cost = rule.costs.get(route) if route is not None and rule.priced else None
    return RouteChoice(route, scores, cost, why, abstained)


def _reason(
    best: str, scores: Mapping[str, float], value: Mapping[str, float], rule: ChoiceRule
) -> str:
    """Say why a route was chosen."""
    others = [name for name in value if name != best]
    if not others:
        return f"{best} is the only allowed route"
    second = max(others, key=value.__getitem__)
    if rule.price and scores[second] > scores[best]:
        return (f"{second} would be better ({scores[second]:.2f}, {best} {scores[best]:.2f}), but "
                "not by as much as its cost")  # fmt: skip
    if rule.price:
        return (f"{best} has {scores[best]:.2f}, {second} {scores[second]:.2f}, at a price of "
                f"{rule.price:.3g} per unit of cost")  # fmt: skip
    return f"{best} has {scores[best]:.2f}, {second} {scores[second]:.2f}"


def price_for_share(scores_NR: Floats, costs_R: Floats, route: int, share: float) -> float:
    """Return the least price at which at most this share of texts goes to a route.

    Args:
        scores_NR: scores of typical texts.
        costs_R: costs of the routes.
        route: place of the route, which must be the most expensive one.
        share: largest share of the texts; 0 gives a price at which the route never pays.
    """
    if not share:
        return NEVER / max(float(costs_R[route]), 1e-12)
    return _least_price(
        lambda price: float((_chosen(scores_NR, costs_R, price) == route).mean()), share
    )


def price_for_budget(scores_NR: Floats, costs_R: Floats, budget: float) -> float:
    """Return the least price at which the mean cost per text is at most the budget."""
    return _least_price(
        lambda price: float(costs_R[_chosen(scores_NR, costs_R, price)].mean()), budget
    )


def _chosen(scores_NR: Floats, costs_R: Floats, price: float) -> np.ndarray:
    """Return the place of the chosen route of each text ``[N]``, the cheapest of equal ones."""
    order = np.argsort(costs_R, kind="stable")
    return order[np.argmax((scores_NR - price * costs_R)[:, order], 1)]


def _least_price(spent: object, most: float) -> float:
    """Return the least price, up to rounding, at which ``spent(price) <= most``.

    What is spent falls when the price rises, so that halving finds it.
    """
    assert callable(spent)
    if spent(0.0) <= most:
        return 0.0
    high = 1.0
    while spent(high) > most and high < 1e12:
        high *= 4.0
    low = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= most else (middle, high)
    return high
