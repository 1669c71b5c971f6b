"""``lacy evaluate --audit``: is a fact gone once it is deleted from the database?"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lacy import evaluate, results
from lacy.cli.evaluate_texts import policies_for_questions
from lacy.cli.terminal import say, table

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.evaluate import AuditResult
    from lacy.model import Loaded
    from lacy.results import Result

AUDIT = (
    "audit_full", "audit_edited", "audit_deleted", "audit_deleted_rows", "audit_deleted_sourced",
    "audit_off",
)  # fmt: skip
"""Metrics that are printed for each database, variant and prompt form."""

LISTED = 5
"""Number of leaks that are printed."""

SECONDS = 5.0
"""Time between two lines of progress."""


def measure_audit(config: EvaluateConfig, loaded: Loaded) -> AuditResult:
    """Run the deletion audit: each fact in the database, deleted, edited, and without a source."""
    from lacy.model import model_fingerprint

    assert config.audit is not None
    databases = evaluate.read_audit(config.audit, facts=config.people, seed=config.seed)
    total = sum(len(database.facts) for database in databases)
    rows = sum(len(database.rows) for database in databases)
    say(f"Audit: {total} facts of {len(databases)} database(s) with {rows} rows", sys.stderr)
    if together := [d for d in databases if d.together]:
        say(
            f"{together[0].name} is large: all its {len(together[0].facts)} facts are deleted "
            "together, not one at a time.", sys.stderr
        )  # fmt: skip
    stored = config.answers or (
        None if config.out is None else config.out.with_suffix(".answers.jsonl")
    )
    with results.AnswerStore(stored) as store:
        return evaluate.evaluate_audit(
            loaded,
            databases,
            policy=policies_for_questions(config, loaded)[-1],
            max_new_tokens=min(config.max_new_tokens, evaluate.AUDIT_TOKENS),
            seed=config.seed,
            store=store,
            identity=model_fingerprint(loaded.model) if stored else "",
            progress=_progress(),
            unknown=config.unknown,
        )


def print_audit(measured: AuditResult) -> None:
    """Print a row per database, variant and form, then what leaked."""
    rows: dict[str, dict[str, Result]] = {}
    for result in measured.results():
        rows.setdefault(result.conditions.get("group", "all"), {})[result.metric] = result
    labels = [results.metric_of(name).label for name in AUDIT]
    body = [(name, *_cells(row)) for name, row in rows.items() if AUDIT[0] in row]
    table(f"Deletion audit (policy {measured.policy})", body, ("", *labels))
    print(f"In brackets: 95% interval over {measured.facts} facts.")
    for reason, number in measured.skipped.items():
        say(f"Not asked: {number} prompts ({reason})")
    for state, outcomes in measured.outcomes.items():
        counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
        say(f"{state}: {counted}")
    for leak in measured.leaks[:LISTED]:
        where = leak["row"] or "the model's own words"
        say(f"Leaked: {leak['deleted']!r} in {leak['answer']!r}, from {where}")
    if len(measured.leaks) > LISTED:
        say(f"... and {len(measured.leaks) - LISTED} more; --out FILE lists all")


def _cells(row: Mapping[str, Result]) -> list[str]:
    from lacy.report import format_score

    return [format_score(row[name]) for name in AUDIT]


def _progress() -> Any:
    """Return a function that prints a line on standard error from time to time."""
    begin = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS:
            last = now
            left = (now - begin) / done * (total - done)
            print(f"{done} of {total} answers, about {left:.0f} s left", file=sys.stderr)

    return show
