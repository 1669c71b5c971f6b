"""A router: texts to one calibrated score per route, and a folder that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lacy._require import require_at_least, require_share
from lacy.disk import replace_folder, write_atomic
from lacy.errors import LacyError
from lacy.route.cases import CaseKind, Floats
from lacy.route.choice import (
    ChoiceRule,
    RouteChoice,
    choose_route,
    price_for_budget,
    price_for_share,
    require_route,
)
from lacy.route.familiar import FamiliarWords
from lacy.route.heads import RouterPart
from lacy.route.mix import RouteMix, mix_from
from lacy.route.parts import part_arrays, part_data, part_from, under
from lacy.route.settings import RouterSettings
from lacy.route.texts import RequestFilter

FORMAT = 1
"""Version of the folder's format."""

SETTINGS, WEIGHTS, VECTORS = "router.json", "router.safetensors", "cases.safetensors"

BATCH = 256
"""Texts that are scored at a time."""


@dataclass
class Router:
    """Says how surely each route is right for a text, or its model answers the text well.

    Attributes:
        routes: names of the routes.
        kind: whether it learned from classes or from outcomes.
        settings: settings of its training.
        parts: inputs with heads.
        mix: combines the scores of the parts.
        prior_R: mean target of each route, the scores of a text that has no words.
        words: words of the training texts, hashed.
        unfamiliar: share of familiar words below which a text is unlike the training texts.
        traffic_MR: scores of typical texts: held-out scores of training cases, or what
            ``with_traffic`` got.
        costs: mean cost of each route, as far as they are known.
        made: what it was made from, as plain data.
        vectors: inputs and targets of its cases, for updates; empty if they are not kept.
    """

    routes: tuple[str, ...]
    kind: CaseKind
    settings: RouterSettings
    parts: list[RouterPart]
    mix: RouteMix
    prior_R: Floats
    words: FamiliarWords
    unfamiliar: float
    traffic_MR: Floats
    costs: dict[str, float] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.filter = RequestFilter(self.routes)

    def scores(self, texts: Sequence[str]) -> Floats:
        """Return the calibrated probability of each route ``[N, R]``.

        For classes, they add up to 1: the route is right. For outcomes, each is the expected score
        of the route's model. Long texts are read in part (``MAX_CHARACTERS``); sentences that ask
        for a route are left out. A text without letters and digits has the mean targets of
        training.
        """
        found_NR = np.zeros((len(texts), len(self.routes)))
        for start in range(0, len(texts), BATCH):
            read = self.filter.all(texts[start : start + BATCH])
            scores_PNR = np.stack([part.scores(read) for part in self.parts])
            found_NR[start : start + BATCH] = self.mix.probabilities(scores_PNR)
            for row, text in enumerate(read, start):
                if not has_words(text):
                    found_NR[row] = self.prior_R
        return found_NR

    def rule(
        self,
        *,
        strong_share: float | None = None,
        budget: float | None = None,
        price: float = 0.0,
        costs: Mapping[str, float] | None = None,
        allowed: Sequence[str] | None = None,
        fallback: str | None = None,
    ) -> ChoiceRule:
        """Return a rule of choice; its price of cost is found on typical texts.

        Args:
            strong_share: largest share of texts for the strong route: the most expensive one, or
                without costs the one with the highest mean score.
            budget: largest mean cost per text.
            price: what a unit of cost takes from the score, if neither is given.
            costs: costs of routes; by default, those of training.
            allowed: routes that may be chosen; None for all.
            fallback: chosen instead of none where the router abstains.

        Raises:
            LacyError: E12, a number is invalid, or two of share, budget and price are given; E374,
                a route does not exist; E375, the budget or share cannot be kept.
        """
        _require_one(strong_share=strong_share, budget=budget, price=price or None)
        require_at_least("price", price, 0.0, finite=True)
        costs = dict(self.costs if costs is None else costs)
        priced = bool(costs)
        names = tuple(require_route(one, self.routes, "allowed") for one in allowed or self.routes)
        for name in costs:
            require_route(name, self.routes, "costs")
            require_at_least(f"cost of {name}", costs[name], 0.0, finite=True)
        if fallback is not None:
            require_route(fallback, self.routes, "fallback")
        places = [self.routes.index(name) for name in names]
        traffic_NR = self.traffic_MR[:, places]
        if strong_share is not None:
            require_share("strong-share", strong_share)
            if not costs:  # the strong route is the only one that costs something
                costs = {names[int(traffic_NR.mean(0).argmax())]: 1.0}
            costs_R = np.array([costs.get(name, 0.0) for name in names])
            if len(names) > 1 and np.ptp(costs_R) == 0.0:
                raise LacyError("E375", what=f"a strong share of {strong_share:g}",
                                why=f"all routes cost {costs_R[0]:g}")  # fmt: skip
            price = price_for_share(traffic_NR, costs_R, int(costs_R.argmax()), strong_share)
        elif budget is not None:
            require_at_least("budget", budget, 0.0, finite=True)
            what = f"a mean cost of {budget:g} per text"
            if not costs:
                raise LacyError("E375", what=what, why="no costs are known")
            costs_R = np.array([costs.get(name, 0.0) for name in names])
            if costs_R.min() > budget:
                cheapest = names[int(costs_R.argmin())]
                why = f"the cheapest route, {cheapest}, costs {costs_R.min():g}"
                raise LacyError("E375", what=what, why=why)
            price = price_for_budget(traffic_NR, costs_R, budget)
        return ChoiceRule(
            price, costs, None if allowed is None else names, self.settings.abstain,
            self.unfamiliar if self.settings.unfamiliar else 0.0, fallback, priced,
        )  # fmt: skip

    def choose(self, texts: Sequence[str], rule: ChoiceRule | None = None) -> list[RouteChoice]:
        """Return the route chosen for each text, by default the one with the highest score."""
        rule = rule or self.rule()
        familiar_N = self.words.shares(self.filter.all(texts))
        return [
            choose_route(self.routes, scores_R, rule, float(familiar))
            for scores_R, familiar in zip(self.scores(texts), familiar_N, strict=True)
        ]

    def with_traffic(self, scores_MR: Floats) -> Router:
        """Return the router with the scores of recent texts as typical ones."""
        return replace(self, traffic_MR=np.asarray(scores_MR, np.float64))

    def set_costs(self, costs: Mapping[str, float]) -> None:
        """Set what routes cost; further cases do not change it."""
        self.costs.update(costs)
        for name in costs:
            self.made.get("cost_cases", {}).pop(name, None)

    def save(self, folder: str | Path) -> None:
        """Write the folder: settings as JSON, arrays as safetensors; no text is written."""
        settings = {
            "format": FORMAT,
            "routes": list(self.routes),
            "kind": self.kind,
            "settings": asdict(self.settings),
            "parts": [part_data(part) for part in self.parts],
            "unfamiliar": self.unfamiliar,
            "costs": self.costs,
            "made": self.made,
        }
        arrays = {f"parts.{number}.{name}": one for number, part in enumerate(self.parts)
                  for name, one in part_arrays(part).items()}  # fmt: skip
        arrays |= {f"mix.{name}": one for name, one in self.mix.arrays().items()}
        arrays |= {"prior": self.prior_R, "words": self.words.packed(), "traffic": self.traffic_MR}
        with replace_folder(folder) as place:
            write_atomic(place / WEIGHTS, _bytes(arrays))
            if self.vectors:
                write_atomic(place / VECTORS, _bytes(self.vectors))
            write_atomic(
                place / SETTINGS, json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
            )


def open_router(folder: str | Path) -> Router:
    """Open the folder of a router; the vectors of its cases are read only for updates.

    Raises:
        LacyError: E372, there is none, or it is damaged.
    """
    path = Path(folder)
    if not (path / SETTINGS).is_file():
        raise LacyError("E372", path=path, why=f"there is no file {SETTINGS} in it")
    try:
        data = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']}, not {FORMAT}")
        arrays = load((path / WEIGHTS).read_bytes())
        if not all(np.isfinite(one).all() for one in arrays.values()):
            raise ValueError("it has numbers that are not finite")
        parts = [part_from(one, under(f"parts.{number}.", arrays))
                 for number, one in enumerate(data["parts"])]  # fmt: skip
        return Router(
            routes=tuple(data["routes"]),
            kind=data["kind"],
            settings=RouterSettings(**data["settings"]),
            parts=parts,
            mix=mix_from(data["kind"], under("mix.", arrays)),
            prior_R=arrays["prior"],
            words=FamiliarWords.unpacked(arrays["words"]),
            unfamiliar=float(data["unfamiliar"]),
            traffic_MR=arrays["traffic"],
            costs={name: float(cost) for name, cost in data["costs"].items()},
            made=data["made"],
        )
    except LacyError:
        raise
    except Exception as error:
        raise LacyError("E372", path=path, why=f"{type(error).__name__}: {error}") from error


def has_words(text: str) -> bool:
    """True if a text has a letter or a digit."""
    return any(map(str.isalnum, text))


def _require_one(**limits: float | None) -> None:
    """Raise E12 if more than one limit of what is spent is given."""
    given = {name: value for name, value in limits.items() if value is not None}
    if len(given) > 1:
        first, second, *_ = given
        raise LacyError("E12", key=second, value=given[second], why=f"{first} is given, too",
                        do=f"give only one of {', '.join(given)}")  # fmt: skip


def _bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    return save({name: np.ascontiguousarray(one) for name, one in sorted(arrays.items())})
