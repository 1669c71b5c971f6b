"""``lacy evaluate``: which facts came out right, where the model called, what it has memorized."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lacy.cli import calibration
from lacy.cli.flags import REPEATS, Repeated
from lacy.cli.terminal import needs_extra, say, table
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cascade import Calibration
    from lacy.evaluate import Extract, Result, Task
    from lacy.types import Document


@dataclass
class EvaluateConfig:
    """Scores a model in a made-up world, or on held-out articles."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run."""
    world: Path | None = None
    """A folder of `lacy data world`: scores facts, calls, closed-book recall and stored bits."""
    articles: Path | None = None
    """Held-out texts: the share of generated names, numbers and dates that the article holds."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """Who answers calls in the world, as in `lacy generate`; by default its own database."""
    cache: Path | None = None
    """File that caches answers of language models, as in `lacy generate`."""
    price: Repeated = field(default_factory=list, metadata=REPEATS)
    """Price of a million tokens, as in `lacy generate`."""
    policies: list[str] = field(default_factory=list)
    """When to call; one line of the table each. By default never, random and budget at
    --call-rate, and threshold=0 for a model that was taught where not to call."""
    call_rate: float = 0.22
    """Share of tokens that may be asked for, for the default policies (0.22 in the paper)."""
    people: int = 100
    """How many people or articles to ask about."""
    calibrate: int = calibration.TEXTS
    """Read the model along so many true texts first (the world's training texts; of articles, those
    that follow the ones asked about): how likely is each kind of value where it is due? 0: none."""
    split: Literal["train", "valid", "fresh", "unseen"] = "valid"
    """Of the world: known people in new wording, in unknown phrasings, or strangers."""
    only: str | None = None
    """Read only articles for which this field is true (for example is_biography)."""
    encoding: str | None = None
    """Encoding of articles that are not UTF-8, as in `lacy data mark`."""
    pipeline: str = "auto"
    """The spaCy pipeline that finds names, numbers and dates in articles."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns."""
    max_new_tokens: int = 192
    """Most tokens per answer."""
    seed: int = 0
    """Random seed of the bootstrap behind the intervals."""
    out: Path | None = None
    """Also write everything that was measured, as JSON."""


FLAGS = EvaluateConfig
EXAMPLES = """
lacy evaluate runs/mine --world world --out runs/mine/world.json
lacy evaluate runs/mine --articles held-out.jsonl.gz --call-rate 0.15
"""

ANSWERS = ("facts_right", "recall", "calls_per_answer", "call_rate")
ENTITIES = (
    "entities_right", "own_entities_right", "borrowed_entities_right", "entities_per_text",
    "call_rate",
)  # fmt: skip
"""Metrics that are printed of each condition, in a world and on articles."""


def run(config: EvaluateConfig) -> int:
    """Evaluate the model and print the results."""
    if (config.world is None) == (config.articles is None):
        why = "one of --world and --articles is needed"
        do = "lacy evaluate MODEL --world DIR, or lacy evaluate MODEL --articles FILE"
        raise LacyError("E12", key="world", value=config.world, why=why, do=do)
    from lacy.model import load_model

    loaded = load_model(config.model)
    policies = config.policies or _default_policies(config.call_rate, loaded.meta)
    common = {
        "policies": policies, "unit": config.unit, "max_new_tokens": config.max_new_tokens,
        "seed": config.seed,
    }  # fmt: skip
    make_task = _in_world if config.world is not None else _on_articles
    measured = make_task(config, loaded, common)(loaded)
    if config.world is not None:
        _print(measured.results(), ANSWERS, "Facts", "people")
    else:
        title = "Names, numbers and dates that the article holds"
        _print(measured.results(), ENTITIES, title, "articles")
    if config.out is not None:
        from lacy.evaluate import to_data
        from lacy.run import environment, write_atomic

        data = {**to_data(measured), "environment": environment()}
        write_atomic(config.out, json.dumps(data, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0


def _default_policies(rate: float, meta: Mapping[str, Any]) -> list[str]:
    """Never, the same share of calls at random places and where the model wants them; or freely."""
    from lacy.cli.policies import held_down

    policies = ["never", f"random={rate:g}", f"budget={rate:g}"]
    policies += ["threshold=0"] if held_down(meta) else []
    print(f"Policies: {', '.join(policies)} (change them by --policies)", file=sys.stderr)
    return policies


def _in_world(config: EvaluateConfig, loaded: Any, common: Mapping[str, Any]) -> Task:
    from lacy.evaluate import evaluate_world
    from lacy.sources import open_sources
    from lacy.world import load_world

    assert config.world is not None
    names = config.source or [str(config.world)]
    return partial(
        evaluate_world,
        world=load_world(config.world),
        source=open_sources(names, cache=config.cache, prices=config.price),
        people=config.people,
        split=config.split,
        calibration=calibration.in_world(loaded, config.world, config.calibrate),
        **common,
    )


def _on_articles(config: EvaluateConfig, loaded: Any, common: Mapping[str, Any]) -> Task:
    from lacy.evaluate import default_extract, evaluate_articles

    articles, others = _read_articles(config)
    with needs_extra("spacy", "finding names, numbers and dates"):
        extract = default_extract(config.pipeline)
    return partial(
        evaluate_articles,
        articles=articles,
        extract=extract,
        calibration=_calibration(config, loaded, others, extract),
        **common,
    )


def _print(results: Sequence[Result], columns: Sequence[str], title: str, unit: str) -> None:
    """Print a row per condition, then the metrics of the model itself."""
    from lacy.evaluate import METRICS
    from lacy.report import format_score

    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        rows.setdefault(result.conditions.get("condition", ""), {})[result.metric] = result
    model = rows.pop("", {})
    body = [(name, *(format_score(row[m]) for m in columns)) for name, row in rows.items()]
    table(title, body, ("policy", *(METRICS[metric].label for metric in columns)))
    if model:
        lines = [(METRICS[name].label, format_score(value)) for name, value in model.items()]
        table("The model by itself", lines, ("", "value"))
    number = next(iter(rows.values()))[columns[0]].n
    print(f"In brackets: 95% interval over {number} {unit}.")


def _read_articles(config: EvaluateConfig) -> tuple[list[Document], list[Document]]:
    """Articles to ask about, and others to calibrate on."""
    import itertools

    from lacy.corpus import read

    assert config.articles is not None
    found = read(config.articles, encoding=config.encoding)
    chosen = (d for d in found if config.only is None or d.meta.get(config.only))
    articles = list(itertools.islice(chosen, config.people))
    if not articles:
        why, do = "no article has it", "lacy data check FILE shows what is there"
        raise LacyError("E12", key="only", value=config.only, why=why, do=do)
    return articles, list(itertools.islice(chosen, max(0, config.calibrate)))


def _calibration(
    config: EvaluateConfig, loaded: Any, others: list[Document], extract: Extract
) -> Calibration | None:
    """What other articles say about the model; a sentence says so, or why there is nothing."""
    if config.calibrate <= 0:
        return None
    if not others:
        why = f"{config.articles} holds no article beyond the {config.people} asked about"
        say(f"Calibration: none, {why} (fewer --people leave some).", file=sys.stderr)
        return None
    from lacy.evaluate import calibrate_on

    made = calibrate_on(loaded, others, extract)
    calibration.say(made, f"{len(others)} other articles of {config.articles}")
    return made
