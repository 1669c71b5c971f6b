"""``lacy judge check``: hold a judge against people's labels."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import say, table
from lacy.errors import LacyError
from lacy.judges import DEFAULT_JUDGE, FIT_AUROC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lacy.judges import Agreement, JudgeCheck
    from lacy.results import Score


@dataclass
class CheckJudgeConfig:
    """Hold a judge against people who labelled the same facts.

    The table has one row per model that wrote the facts: AUROC of the judge's scores; Pearson
    correlation over topics of the share of supported facts; the gap, which is that share by the
    judge minus the share by people; accuracy of the verdicts. Facts without a verdict, such as
    those of topics without passages, are counted and not judged. Intervals are 95%, over topics.
    """

    judge: str = DEFAULT_JUDGE
    """The judge: verifier, lexical (both also with -alone), overlap, a model's folder or name, or
    http://host:port/v1#model."""
    labels: list[Path] = field(kw_only=True)
    """Files of FActScore's labels, one per model: JSON lines with topic, output and annotations.
    A file is named after its model (ChatGPT.jsonl, labels_ChatGPT.jsonl.gz)."""
    passages: Path = field(kw_only=True)
    """Passages of the topics' pages: JSON lines with topic and text."""
    out: Path | None = None
    """Also write the figures as JSON."""


FILE = False
FLAGS = CheckJudgeConfig
EXAMPLES = """
lacy judge check --labels ChatGPT.jsonl InstructGPT.jsonl --passages passages.jsonl.gz
lacy judge check --judge overlap --labels ChatGPT.jsonl --passages passages.jsonl.gz --out a.json
"""


def run(config: CheckJudgeConfig) -> int:
    """Print and write the agreement; return 0."""
    from lacy.judges import (
        Verifier,
        check_judge,
        labelled_claims,
        open_judge,
        read_labelled_responses,
        read_topic_passages,
        training_topics,
    )

    labelled = labelled_claims(
        read_labelled_responses(config.labels), read_topic_passages(config.passages)
    )
    where = ", ".join(map(str, config.labels))
    if not labelled:
        raise LacyError("E217", place=where, why="no response has facts with labels")
    if not any(claim.passages for one in labelled for claim in one.claims):
        raise LacyError("E217", place=config.passages, why="no topic of the labels has passages")
    judge = open_judge(config.judge)
    seen = training_topics() if isinstance(judge, Verifier) else ()

    def progress(number: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if number == len(labelled) else ""
            print(f"\r{number} of {len(labelled)} responses", end=end, file=sys.stderr, flush=True)

    checked = check_judge(judge, labelled, trained_on=seen, on_response=progress)
    _print(checked)
    if config.out is not None:
        from lacy.results import to_data
        from lacy.run import environment, write_atomic

        data = {**to_data(checked), "unfit": checked.unfit, "environment": environment()}
        write_atomic(config.out, json.dumps(data, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0


def _print(checked: JudgeCheck) -> None:
    _print_agreements(f"Agreement of the judge {checked.judge} with people", checked.agreements)
    say(f"Speed: {checked.facts_per_second:,.0f} facts per second")
    if checked.seen:
        from lacy.judges import stored_agreement

        say(
            f"Warning: the judge was trained on the labels of {checked.seen} of these topics, so "
            "the figures above are too good. See those below.",
            sys.stderr,
        )
        stored = stored_agreement(checked.judge)
        if stored is not None:
            _print_agreements("Agreement on people it was not trained on", stored.agreements)
            say(stored.data)
    if checked.unfit:
        say(
            f"Unfit: AUROC below {FIT_AUROC} on the facts of at least one model. Scores of this "
            "judge may not be called FActScore.",
            sys.stderr,
        )


def _print_agreements(title: str, agreements: Sequence[Agreement]) -> None:
    rows = [
        (
            one.model, _shown(one.auroc), _shown(one.pearson), _shown(one.gap, sign=True),
            _shown(one.accuracy), one.auroc.n, one.facts, one.not_judgeable,
        )
        for one in agreements
    ]  # fmt: skip
    columns = (
        "facts of", "AUROC", "Pearson", "gap", "accuracy", "topics", "facts", "not judgeable",
    )  # fmt: skip
    table(title, rows, columns)


def _shown(score: Score, sign: bool = False) -> str:
    """Format a score with its interval in one cell."""
    form = "+.3f" if sign else ".3f"
    if math.isnan(score.value):
        return "undefined"
    if math.isnan(score.low):
        return f"{score.value:{form}}"
    return f"{score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"
