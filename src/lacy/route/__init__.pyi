from .cases import CaseKind, RouteCase, kind_of_case, mean_costs, read_cases, routes_of, targets_of
from .choice import (
    ChoiceRule,
    RouteChoice,
    choose_route,
    price_for_budget,
    price_for_share,
    require_route,
)
from .fitting import fit_router, key_of
from .folds import folds_of
from .router import Router, open_router
from .settings import HEADS, HeadName, RouterSettings
from .texts import MAX_CHARACTERS, RequestFilter, bounded

__all__ = [
    "HEADS",
    "MAX_CHARACTERS",
    "CaseKind",
    "ChoiceRule",
    "HeadName",
    "RequestFilter",
    "RouteCase",
    "RouteChoice",
    "Router",
    "RouterSettings",
    "bounded",
    "choose_route",
    "fit_router",
    "folds_of",
    "key_of",
    "kind_of_case",
    "mean_costs",
    "open_router",
    "price_for_budget",
    "price_for_share",
    "read_cases",
    "require_route",
    "routes_of",
    "targets_of",
]
