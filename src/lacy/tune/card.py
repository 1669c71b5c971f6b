"""Show the figures of a tuning: rows of a table, and the model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lacy.results import Score
from lacy.tune.figures import RATES, SignalFigures, TuneFigures
from lacy.tune.settings import Target

TARGETS: dict[Target, tuple[str, str]] = {
    "where": ("Where a value begins", "tokens begin a value"),
    "miss": ("Where the model gets a value wrong", "tokens begin a value that it does not write"),
    "value": ("Fact tokens of the highest loss", "tokens are such fact tokens"),
}
"""For each target: a heading, and the words that follow the number of tokens."""


def figure_columns() -> list[str]:
    """Return the headings of the table of signals."""
    return ["signal", "AUROC", *(f"found at {rate:.0%}" for rate in RATES)]


def figure_rows(figures: Mapping[str, SignalFigures]) -> Iterator[list[str]]:
    """Yield one row per signal: its AUROC and the share of due calls found at each rate."""
    for name, found in figures.items():
        yield [name, interval(found.auroc), *(f"{at.recall.value:.1%}" for at in found.at)]


def kind_rows(figures: TuneFigures) -> Iterator[list[str]]:
    """Yield one row per kind of value: the AUROC of each signal."""
    for kind, scores in figures.kinds.items():
        yield [kind, *(f"{score.value:.3f}" for score in scores.values())]


def interval(score: Score) -> str:
    """Return a value with its interval: ``0.932 [0.925-0.939]``."""
    if score.low != score.low:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}-{score.high:.3f}]"


def model_card(base: str, meta: Mapping[str, Any], figures: TuneFigures) -> str:
    """Return the README of a tuned model."""
    heading, words = TARGETS[meta["target"]]
    error = interval(figures.calibration.error)
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- lacy\n---\n",
        f"# {base}, tuned to call\n",
        f"{_how(meta)} The logit of `<CALL>` is a gate: its sigmoid is the probability that a "
        "source should be asked here. Plain decoding should forbid the token.\n",
        f"## {heading}\n",
        f"Measured on articles that the gate had not been fitted on; {figures.due:,} of "
        f"{figures.tokens:,} {words}. Intervals: 95%, over {figures.articles} articles. Expected "
        f"calibration error: {error}.\n",
        _markdown(figure_columns(), figure_rows(figures.target)),
    ]
    if figures.missed:
        parts += [
            "## Misses\n",
            f"First mentions of values that the model gets wrong: {figures.misses:,} tokens.\n",
            _markdown(figure_columns(), figure_rows(figures.missed)),
        ]
    if figures.kinds:
        parts += [
            "## By kind of value (AUROC)\n",
            _markdown(["kind", *figures.target], kind_rows(figures)),
        ]
    return "\n".join(parts)


def _how(meta: Mapping[str, Any]) -> str:
    """Return a sentence that says what was fitted or trained, and on which texts."""
    texts = f"{meta['articles']} articles (marks: {meta['annotator']})"
    if meta["depth"] == "row":
        return (
            f"`lacy tune` fitted the row of `<CALL>` to {texts}. All other weights are those of "
            "the original model, so its text is the same."
        )
    return (
        f"`lacy tune` fitted the row of `<CALL>` to {texts} and trained the model from there "
        f"(depth {meta['depth']})."
    )


def _markdown(columns: list[str], rows: Iterator[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
