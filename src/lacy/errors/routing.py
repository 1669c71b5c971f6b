"""Errors of query routing."""

from __future__ import annotations

from lacy.errors.entry import DATA, USAGE, Entry

ENTRIES = {
    # E369-E377: routers and routes
    "E369": Entry(
        "the cases have {count}; a router chooses among 2 to {most}",
        "give cases of two routes or more; outcomes have the scores of two models or more",
        DATA,
    ),
    "E370": Entry(
        "{where} cannot be used for a router: {why}",
        'write one object per line: {{"text": "...", "route": "NAME"}}, or {{"text": "...", '
        '"scores": {{"MODEL": 1, "OTHER": 0}}}} with numbers from 0 to 1',
        DATA,
        "A file has classes (the right route of each text) or outcomes (how well each model "
        "answered), never both. Divide other scores by their maximum. In a table, outcomes are "
        "columns named scores.MODEL and costs.MODEL.",
    ),
    "E371": Entry(
        "the route {route} has {count} of different texts; it needs at least {least}",
        "add texts for {route} (20 or more, from two sources or more), give its texts to another "
        "route, or leave it out",
        DATA,
        "A part of the cases is held out to calibrate the scores, so a route with one or two cases "
        "has nothing to learn from.",
    ),
    "E372": Entry(
        "no router in {path}: {why}",
        "make one: lacy route fit CASES.jsonl --out {path}",
        DATA,
    ),
    "E373": Entry(
        "the head {head} reads a language model, and none is given",
        "add --model smollm2, or another name or folder, or choose another --head",
        USAGE,
    ),
    "E374": Entry(
        "there is no route {route!r} ({where}){hint}",
        "give one of: {known}",
        USAGE,
    ),
    "E375": Entry(
        "{what} cannot be kept: {why}",
        "give another budget or share, or say what routes cost: --cost NAME=NUMBER",
        USAGE,
        "A budget needs the costs of the routes, in any unit that is the same for all. A share of "
        "the most expensive route needs one that costs more than another.",
    ),
    "E376": Entry(
        "the router in {path} cannot take these cases: {why}",
        "make it anew from all cases: lacy route fit ALL_CASES.jsonl --out {path}",
        DATA,
        "Further cases are added to the inputs of the old ones, which a router keeps in "
        "cases.safetensors unless it was made with --no-keep-vectors.",
    ),
    "E377": Entry(
        "the routes of {path} cannot be served: {why}",
        "give each route a model (a folder, or http://host:port/v1#name) or a source; all "
        "settings: lacy route serve --help",
        USAGE,
        "All routes are checked before the server starts. A file that becomes invalid while the "
        "server runs changes nothing; /v1/routes says what is wrong with it.",
    ),
    # E378-E379: benchmarks of routers
    "E378": Entry(
        "without {fold}, {count} cases of fewer than two routes are left to train on",
        "add cases: each route needs cases of two sources, or give all cases one source",
        DATA,
        "A benchmark leaves out one source at a time. If a route has cases of one source only, "
        "nothing is known of it when that source is left out.",
    ),
    "E379": Entry(
        "the cases have routes that the router does not know: {unknown} (it knows: {known})",
        "rename them in the cases, or fit a router on cases with all routes",
        DATA,
    ),
}
