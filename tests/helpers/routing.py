"""Toy cases for routers: three kinds of texts from several sources, and outcomes of two models."""

import json
import random

from lacy.route import RouteCase

FRAMES = {"sums": "{} {} 3 + 4 {}?", "birds": "Which {} has a {} {}?",
          "boats": "Steer the {} by {} {}."}  # fmt: skip

WORDS = {
    "sums": "add subtract sum total number digits plus minus twelve seven",
    "birds": "wing feather nest egg robin sparrow owl beak fly song",
    "boats": "sail anchor harbour deck mast rope keel tide row port",
}


def topic_cases(count=120, sources=3, seed=0):
    """Return cases of three routes; a text's words tell its route."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        route = sorted(FRAMES)[number % 3]
        text = FRAMES[route].format(*chance.sample(WORDS[route].split(), 3))
        source = f"source-{number // 3 % sources}"
        found.append(RouteCase(text, route, source=source))
    return found


def outcome_cases(count=120, seed=0):
    """Return outcomes of a small and a large model: only the large one answers on birds."""
    chance = random.Random(seed)
    found = []
    for case in topic_cases(count, seed=seed):
        hard = case.route == "birds"
        small = float(not hard if chance.random() < 0.95 else hard)
        found.append(RouteCase(case.text, None, {"small": small, "large": 1.0},
                               {"small": 0.1, "large": 1.0}, case.source))  # fmt: skip
    return found


def write_cases(path, cases):
    """Write cases as JSONL; return the path."""
    rows = []
    for case in cases:
        about = {"route": case.route} if case.route else {"scores": dict(case.scores)}
        costs = {"costs": dict(case.costs)} if case.costs else {}
        rows.append({"text": case.text, **about, **costs, "source": case.source})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
