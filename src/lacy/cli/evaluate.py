"""``lacy evaluate``: which facts are right, where the model calls, what it has memorized."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy import cascade, evaluate
from lacy.cli.options import SourceOptions
from lacy.cli.terminal import needs_extra, note, say, table
from lacy.config import Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cascade import Calibration
    from lacy.evaluate import ArticleAnswers, Extract, WorldResult
    from lacy.types import Document


@dataclass
class EvaluateConfig(SourceOptions):
    """Evaluate a model in a made-up world, or on held-out articles."""

    # [Data]
    world: Path | None = None
    """Folder of `lacy data world`: facts, calls, closed-book recall and stored bits are measured
    against exact truth; by default its own database is the source."""
    articles: Path | None = None
    """Held-out texts: the share of generated names, numbers and dates that the article contains."""
    people: int = 100
    """Number of people or articles."""
    split: Literal["train", "valid", "fresh", "unseen"] = "valid"
    """Split of the world: valid is known people in new wording, fresh uses unknown phrasings,
    unseen has unknown people."""
    only: Rare[str | None] = None
    """Read only articles for which this field is true, for example is_biography."""
    encoding: Rare[str | None] = None
    """Encoding of articles that are not UTF-8, as in `lacy data mark`."""
    pipeline: Rare[str] = "auto"
    """spaCy pipeline that finds names, numbers and dates in articles."""

    # [Delegation]
    policies: list[str] = field(default_factory=list)
    """When to call, one row of the table each; by default never, random and budget at --call-rate,
    and threshold=0 for a model that was trained not to call elsewhere."""
    call_rate: float = 0.22
    """Share of tokens from sources for the default policies (the paper's)."""

    # [Generation]
    max_new_tokens: int = 192
    """Maximum number of generated tokens per text."""

    # [Output]
    seed: Rare[int] = 0
    """Random seed of the bootstrap for the intervals."""
    out: Path | None = None
    """Also write all results as JSON."""


FLAGS = EvaluateConfig
EXAMPLES = """
lacy evaluate runs/mine --world world --out runs/mine/world.json
lacy evaluate runs/mine --articles held-out.jsonl.gz --call-rate 0.15
"""


def run(config: EvaluateConfig) -> int:
    """Evaluate the model and print the results."""
    if (config.world is None) == (config.articles is None):
        why = "one of --world and --articles is needed"
        do = "lacy evaluate MODEL --world DIR, or lacy evaluate MODEL --articles FILE"
        raise LacyError("E12", key="world", value=config.world, why=why, do=do)
    from lacy.model import load_model

    loaded = load_model(config.model)
    policies = config.policies or _default_policies(config.call_rate, loaded.meta)
    results = (
        _in_world(config, loaded, policies)
        if config.world is not None
        else _on_articles(config, loaded, policies)
    )
    if config.out is not None:
        from lacy.run import environment, write_atomic

        results["environment"] = environment()
        write_atomic(config.out, json.dumps(results, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0


def _default_policies(rate: float, meta: Mapping[str, Any]) -> list[str]:
    """Return no calls, calls at random and by the model at the same rate, and its free choice."""
    policies = ["never", f"random={rate:g}", f"budget={rate:g}"]
    policies += ["threshold=0"] if cascade.trained_not_to_call(meta) else []
    print(f"Policies: {', '.join(policies)} (change them by --policies)", file=sys.stderr)
    return policies


# ------------------------------------------------------------------------------- in a world


def _in_world(config: EvaluateConfig, loaded: Any, policies: list[str]) -> dict[str, Any]:
    from lacy.sources import open_sources
    from lacy.world import load_world

    assert config.world is not None
    world = str(config.world)
    calibration, sentence = cascade.calibrate_on_sources(loaded, [world], config.calibrate)
    if sentence:
        note(sentence)
    result = evaluate.evaluate_world(
        loaded,
        load_world(world),
        open_sources(config.source or [world], cache=config.cache, prices=config.price),
        policies,
        people=config.people,
        split=config.split,
        unit=config.unit,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        calibration=calibration,
    )
    _print_world(result)
    return result.as_dict()


def _print_world(result: WorldResult) -> None:
    columns = ("policy", "facts right", "recall", "calls/answer", "call rate")
    rows = []
    for name, condition in result.conditions.items():
        facts = condition.facts
        scores = (facts.facts_right, facts.recall, facts.calls_per_answer, facts.call_rate)
        rows.append((name, *map(short, scores)))
    table("Facts", rows, columns)
    found: dict[str, Any] = {}
    if result.calls is not None:
        for name, separation in result.calls.separation.items():
            found[f"AUROC of {name}, value starts"] = short(separation.value_start)
            found[f"AUROC of {name}, all fact tokens"] = short(separation.fact)
        if result.calls.at_rate is not None:
            found["call precision at that rate"] = short(result.calls.at_rate.precision)
            found["call recall at that rate"] = short(result.calls.at_rate.recall)
    if result.language_loss is not None:
        found["language loss, nats per token"] = short(result.language_loss)
    if result.bits is not None:
        found["stored bits per fact"] = short(result.bits.per_fact)
    if result.closed_book is not None:
        found["closed-book recall"] = short(result.closed_book.anywhere)
    table("The model by itself", list(found.items()), ("", "value"))
    people = next(iter(result.conditions.values())).facts.facts_right.n
    print(f"In brackets: 95% interval over {people} people.")


def short(score: Any) -> str:
    """Format a score with its interval: ``21.7% [17-25]``, ``0.981 [0.97-0.99]``."""
    if score.value != score.value:
        return "-"
    share = score.unit == "share"
    scale, digits, rounded = (100, ".1f", ".0f") if share else (1, ".3g", ".3g")
    if score.unit == "AUROC":
        digits, rounded = ".3f", ".2f"
    value = f"{scale * score.value:{digits}}" + ("%" if share else "")
    if score.low != score.low:
        return value
    return f"{value} [{scale * score.low:{rounded}}-{scale * score.high:{rounded}}]"


# ------------------------------------------------------------------------------- on articles


def _on_articles(config: EvaluateConfig, loaded: Any, policies: list[str]) -> dict[str, Any]:
    articles, others = _read_articles(config)
    with needs_extra("spacy", "finding names, numbers and dates"):
        extract = evaluate.default_extract(config.pipeline)
    conditions = evaluate.evaluate_articles(
        loaded,
        articles,
        extract,
        policies,
        unit=config.unit,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        calibration=_calibration(config, loaded, others, extract),
    )
    _print_articles(conditions, len(articles))
    return {
        "articles": len(articles),
        "conditions": {name: w.as_dict() for name, w in conditions.items()},
    }


def _read_articles(config: EvaluateConfig) -> tuple[list[Document], list[Document]]:
    """Return the articles to evaluate on, and others to calibrate on."""
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
    """Calibrate on other articles, and print on what, or why not."""
    if config.calibrate <= 0:
        return None
    if not others:
        why = f"{config.articles} has only the {config.people} articles to evaluate on"
        say(f"Calibration: none, {why} (fewer --people leave some).", file=sys.stderr)
        return None
    made = evaluate.calibrate_on(loaded, others, extract)
    note(cascade.calibration_note(made, f"{len(others)} other articles of {config.articles}"))
    return made


def _print_articles(conditions: dict[str, ArticleAnswers], articles: int) -> None:
    columns = ("policy", "entities right", "own", "borrowed", "per text", "call rate")
    rows = []
    for name, condition in conditions.items():
        scores = condition.scores
        cells = (scores.precision, scores.own_precision, scores.borrowed_precision, scores.per_text)
        rows.append((name, *map(short, cells), f"{condition.call_rate:.3f}"))
    table("Names, numbers and dates that the article contains", rows, columns)
    print(f"In brackets: 95% interval over {articles} articles.")
