from .bench import RouteBench, bench_heads, bench_router, read_scores
from .bench_folds import BenchFold, SplitName, bench_folds
from .bench_rows import BASELINES, SHARES, BenchRow
from .cases import (
    CaseFields,
    CaseKind,
    RouteCase,
    joined_cases,
    kind_of_case,
    mean_costs,
    read_cases,
    routes_of,
    targets_of,
)
from .choice import (
    NONE_CHOSEN,
    ChoiceRule,
    RouteChoice,
    choose_route,
    price_for_budget,
    price_for_share,
    require_route,
)
from .draft import DraftSignals, DraftStore, draft_signals
from .explain import ScoreReason, explain_score
from .feedback import cases_from_records
from .fitting import add_cases, fit_router, key_of
from .folds import folds_of
from .measures import ClassFigures, RouteFigures, class_figures, mcnemar
from .measures_models import ModelsFigures, aiq, chosen_at, hull, models_figures, quality_at
from .measures_pair import PairCurve, PairFigures, apgr_difference
from .memory import InputMemory
from .parts import default_head
from .router import Router, open_router
from .settings import HEADS, HeadName, RouterSettings
from .texts import MAX_CHARACTERS, RequestFilter, bounded

__all__ = [
    "BASELINES",
    "HEADS",
    "MAX_CHARACTERS",
    "NONE_CHOSEN",
    "SHARES",
    "BenchFold",
    "BenchRow",
    "CaseFields",
    "CaseKind",
    "ChoiceRule",
    "ClassFigures",
    "DraftSignals",
    "DraftStore",
    "HeadName",
    "InputMemory",
    "ModelsFigures",
    "PairCurve",
    "PairFigures",
    "RequestFilter",
    "RouteBench",
    "RouteCase",
    "RouteChoice",
    "RouteFigures",
    "Router",
    "RouterSettings",
    "ScoreReason",
    "SplitName",
    "add_cases",
    "aiq",
    "apgr_difference",
    "bench_folds",
    "bench_heads",
    "bench_router",
    "bounded",
    "cases_from_records",
    "choose_route",
    "chosen_at",
    "class_figures",
    "default_head",
    "draft_signals",
    "explain_score",
    "fit_router",
    "folds_of",
    "hull",
    "joined_cases",
    "key_of",
    "kind_of_case",
    "mcnemar",
    "mean_costs",
    "models_figures",
    "open_router",
    "price_for_budget",
    "price_for_share",
    "quality_at",
    "read_cases",
    "read_scores",
    "require_route",
    "routes_of",
    "targets_of",
]
