"""``lacy demo --real``: a pretrained model learns to call, and completes sentences with facts."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy import almanac, cascade, evaluate, model, report, tune

if TYPE_CHECKING:
    from lacy.almanac import Subject
    from lacy.cascade import Policy
    from lacy.evaluate import OpeningsResult
    from lacy.sources import Source

MAX_NEW_TOKENS = 14
"""Maximum number of tokens that complete an opening."""

CALIBRATION = 60
"""Number of articles for calibrating the ranking of values and the budgets of the controls."""

FAMOUS = ("Marie Curie", "Albert Einstein", "Norway", "Wolfgang Amadeus Mozart", "Japan", "Radium")
"""Subjects that are always asked about, because readers can judge the answers."""


def run_real(
    name: str, texts: Path | None, subjects: int, out: Path, seed: int, begin: float
) -> None:
    """Tune a model, let it complete openings under all conditions, and write the report.

    Args:
        name: the pretrained model, as in ``load_model``.
        texts: articles to tune on; None for those that ship with lacy.
        subjects: number of subjects to ask about; the shipped articles are about the others.
        out: the folder of the demo, which the caller has locked.
        seed: seed of the choice of subjects, of the wording and of the fit.
        begin: when the demo began, in seconds of ``time.perf_counter``.
    """
    from rich.console import Console

    from lacy.cli.terminal import note
    from lacy.sources.db import Database

    console = Console()
    fitted_on, asked = _held_out(almanac.load_subjects(), subjects, seed)
    almanac.write_facts(out / "facts.sqlite", [*fitted_on, *asked])
    articles = almanac.write_articles(fitted_on, seed)
    console.print(f"[bold]Fit the <CALL> row of {name}[/bold]")
    loaded = model.load_model(name)
    data: Any = texts or articles
    tuned = tune.tune(
        loaded, data, out=out / "model", articles=len(articles), seed=seed, notify=note,
        states=out / "states",
    )  # fmt: skip
    tune_seconds = time.perf_counter() - begin
    if precision := model.set_precision(tuned.loaded.model, "auto"):
        note(precision)
    openings = almanac.openings(asked)
    console.print(f"[bold]Complete {len(openings)} openings, alone and with a database[/bold]")
    calibration = cascade.calibrate(tuned.loaded, articles[:CALIBRATION])
    with Database(out / "facts.sqlite", name="facts") as source:
        measured = _measure(tuned.loaded, openings, source, calibration, seed)
    aurocs = {label: signal.auroc for label, signal in tuned.figures.target.items()}
    seconds = time.perf_counter() - begin
    settings = {
        "model": name, "articles": tuned.figures.articles, "subjects": len(asked), "seed": seed,
        "texts": str(texts or "shipped with lacy"), "tune_seconds": round(tune_seconds, 1),
        "seconds": round(seconds, 1),
    }  # fmt: skip
    famous = [n for n, o in enumerate(openings) if o.subject.name in FAMOUS]
    examples = famous[:: max(1, len(famous) // report.EXAMPLES)][: report.EXAMPLES]
    report.write_real_demo(out, measured, aurocs, settings, examples)
    report.show_real_demo(console, out, seconds, measured, aurocs, examples)


def _held_out(
    subjects: Sequence[Subject], count: int, seed: int
) -> tuple[list[Subject], list[Subject]]:
    """Return the subjects to tune on and those to ask about; famous ones are asked about."""
    famous = [subject for subject in subjects if subject.name in FAMOUS]
    others = [subject for subject in subjects if subject.name not in FAMOUS]
    fitted_on, asked = almanac.split_subjects(others, max(0, count - len(famous)), seed)
    return random.Random(seed).sample(fitted_on, len(fitted_on)), [*famous, *asked]


def _measure(
    loaded: Any, openings: Any, source: Source, calibration: Any, seed: int
) -> OpeningsResult:
    """Measure the model alone and with the gate, and two controls that call as often."""

    def ask(policies: dict[str, Policy | str]) -> OpeningsResult:
        return evaluate.evaluate_openings(
            loaded, openings, source, policies, max_new_tokens=MAX_NEW_TOKENS, seed=seed,
            calibration=calibration,
        )  # fmt: skip

    main = ask({"alone": "never", "gate": "threshold=0"})
    rate = round(main.conditions["gate"].scores["call_rate"].value, 3)
    controls = ask({"random": f"random={rate},seed={seed}", "entropy": f"budget={rate},by=entropy"})
    conditions = {**main.conditions, **controls.conditions}
    return evaluate.OpeningsResult(
        {label: conditions[label] for label in report.LABELS}, len(openings), seed
    )
