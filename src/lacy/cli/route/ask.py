"""``lacy route ask``: show which route a router chooses for texts, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.route.costs import costs_of_words
from lacy.cli.terminal import as_text, input_lines, say, table
from lacy.config import Positional, Rare, Repeated

if TYPE_CHECKING:
    from lacy.route import ChoiceRule, RouteChoice, Router


@dataclass
class AskRouteConfig:
    """Show which route a router chooses for texts: scores, choice, cost and why.

    Scores are calibrated probabilities that a route is right, or that its model answers well.
    Without texts, lines are read from standard input.
    """

    router: Positional[Path] = field(kw_only=True)
    """Folder of lacy route fit."""
    texts: Positional[list[str]] = field(default_factory=list, kw_only=True)
    """Texts, each in quotes."""
    # [Choice]
    strong_share: float | None = None
    """Largest share of texts for the most expensive route (without costs, the best one)."""
    budget: float | None = None
    """Largest mean cost per text."""
    price: Rare[float] = 0.0
    """What a unit of cost takes from a score, if neither of the two is given."""
    cost: Repeated = field(default_factory=list)
    """Cost of a route, such as large=10, instead of those in the router."""
    allow: Repeated = field(default_factory=list)
    """A route that may be chosen; by default all may."""
    fallback: str | None = None
    """Route that is chosen where the router abstains."""
    # [Output]
    why: bool = False
    """Also print which words, counts or near cases moved the score."""
    json: bool = False
    """Print one line of JSON per text."""


FILE = False
FLAGS = AskRouteConfig
EXAMPLES = """
lacy route ask router "What is 12 times 7?" "Write a poem about the sea"
lacy route ask router --strong-share 0.2 --why "Who proved the four colour theorem?"
"""


def run(config: AskRouteConfig) -> int:
    """Print the choice for each text."""
    from lacy.route import open_router

    router = open_router(config.router)
    costs = costs_of_words(config.cost)
    rule = router.rule(
        strong_share=config.strong_share, budget=config.budget, price=config.price,
        costs={**router.costs, **costs} if costs else None, allowed=config.allow or None,
        fallback=config.fallback,
    )  # fmt: skip
    texts = [as_text(text) for text in config.texts] or list(input_lines())
    for text, choice in zip(texts, router.choose(texts, rule), strict=True):
        if config.json:
            say(json.dumps(_data(router, text, choice, config.why), ensure_ascii=False))
        else:
            _print(router, rule, text, choice, config.why)
    return 0


def _reasons(router: Router, text: str, choice: RouteChoice) -> list[tuple[str, str, float]]:
    """Return what moved the score of the choice against that of the runner-up."""
    from lacy.route import explain_score

    order = sorted(choice.scores, key=lambda name: -choice.scores[name])
    first = choice.route or order[0]
    second = next(name for name in order if name != first)
    reasons = explain_score(router, text, first, second)
    return [(one.part, one.what, one.effect) for one in reasons]


def _data(router: Router, text: str, choice: RouteChoice, why: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "text": text[:200], "route": choice.route, "why": choice.why, "cost": choice.cost,
        "abstained": choice.abstained,
        "scores": {name: round(score, 5) for name, score in choice.scores.items()},
    }  # fmt: skip
    if why:
        found["reasons"] = [{"part": part, "what": what, "effect": round(effect, 4)}
                            for part, what, effect in _reasons(router, text, choice)]  # fmt: skip
    return found


def _print(router: Router, rule: ChoiceRule, text: str, choice: RouteChoice, why: bool) -> None:
    costs = rule.costs if rule.priced else {}
    shown = text if len(text) <= 70 else f"{text[:67]}..."
    order = sorted(choice.scores, key=lambda name: -choice.scores[name])
    rows = [
        (name, f"{choice.scores[name]:.3f}",
         f"{costs[name]:g}" if name in costs else "-",
         "chosen" if name == choice.route else "")
        for name in order
    ]  # fmt: skip
    table(shown, rows, ("route", "score", "cost", ""))
    say(f"Why: {choice.why}")
    if why:
        for part, what, effect in _reasons(router, text, choice):
            say(f"  {effect:+.2f}  {part}: {what}")
