"""How cases are split: by source where possible, and never the same text on both sides."""

import numpy as np
import pytest

from helpers.routing import outcome_cases, topic_cases
from lacy.route import RouteCase, folds_of, key_of, routes_of, targets_of


def split(cases, folds=5):
    routes = routes_of(cases)
    kind = "classes" if cases[0].route else "outcomes"
    keys = [key_of(case.text) for case in cases]
    sources = [case.source for case in cases]
    return folds_of(kind, targets_of(cases, routes), sources, keys, folds, 0), keys, sources


@pytest.mark.parametrize("cases", [topic_cases(60), outcome_cases(60)])
def test_whole_sources_are_held_out(cases):
    (folds, how), _, sources = split(cases)
    assert len(folds) == 3
    for train, held in folds:
        assert not {sources[p] for p in train} & {sources[p] for p in held}
    assert how == "one source"


@pytest.mark.parametrize("count", [2, 13])
def test_every_case_is_held_out_once_with_its_like(count):
    cases = topic_cases(78, sources=count) * 2
    (folds, how), keys, sources = split(cases)
    groups = keys if count == 2 else sources
    held = np.concatenate([held for _, held in folds])
    assert sorted(held) == list(range(len(cases)))
    for train, held in folds:
        assert not {groups[p] for p in train} & {groups[p] for p in held}
    assert how == ("texts" if count == 2 else "sources")


def test_a_route_of_one_source_splits_by_texts_and_few_cases_make_few_folds():
    cases = [*topic_cases(60), *(RouteCase(f"Buy {n} lamps", "shop", source="s") for n in range(3))]
    (folds, how), _, _ = split(cases)
    assert how == "texts" and len(folds) == 3
    shop = routes_of(cases).index("shop")
    for _, held in folds:
        assert targets_of(cases, routes_of(cases))[held, shop].sum() == 1
