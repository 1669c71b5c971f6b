"""``lacy data loop``: turn records of a served model into data for its next tuning."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.annotate import AnnotateConfig
from lacy.cli.terminal import facts, say, table
from lacy.config import Inline, Positional, Rare

if TYPE_CHECKING:
    from lacy.tune import LoopResult

SHOWN = 20
"""Number of relations that the table shows."""

LABELS = {
    "borrowed": "values of sources: the model called, and should",
    "wrong": "own words marked as wrong: it should have called",
    "confirmed": "own values marked as right: it need not call",
    "gap": "calls without an answer at a value: facts that sources lack",
    "nothing": "calls without an answer elsewhere: for nothing",
}
"""What places of the training texts are."""


@dataclass
class LoopConfig:
    """Turn the records of a served model into data for its next tuning.

    `lacy serve MODEL --log-calls FOLDER` keeps the records. This command counts what the model
    delegated, what its sources could not answer and what users marked as wrong, and writes:

      OUT/unanswered.csv   facts that sources lack, to be filled in
      OUT/disputed.csv     values of sources that users marked as wrong
      OUT/marked.jsonl     marked texts for lacy tune (needs --log-texts)

    The annotator of `lacy data mark` marks the texts. Values of sources and words that users marked
    as wrong are marked in any case; own values that users marked as right are not.
    """

    logs: Positional[Path] = field(kw_only=True)
    """The folder of records, or one file of it. A server may go on writing to it."""

    # [Output]
    out: Path = field(kw_only=True)
    """Folder to write, readable only by you; older data of this command in it are replaced."""

    # [Records]
    model: str | None = None
    """Warn if records come from a model with other weights than this one."""
    judged: bool = False
    """Make training texts only of answers that users have judged."""

    # [Annotation]
    spacy: Rare[Inline[AnnotateConfig]] = field(default_factory=AnnotateConfig)
    """The spaCy pipeline and its rules."""


FLAGS = LoopConfig
EXAMPLES = """
lacy data loop records --out data/loop
lacy data loop records --out data/loop --model runs/gate
"""


def run(config: LoopConfig) -> int:
    """Read the records, write the data, and print the counts."""
    from lacy.tune import data_loop

    result = data_loop(
        config.logs, config.out, model=config.model, judged=config.judged, annotate=config.spacy,
        notify=lambda sentence: say(sentence, file=sys.stderr),
    )  # fmt: skip
    _print_relations(result)
    counts = {
        "answers": result.answers,
        "of them judged by users": result.judged,
        "of them with texts": result.with_texts,
        "training texts": result.documents,
        **{LABELS[name]: result.labels[name] for name in LABELS if result.documents},
    }
    for what, number in (("repeated texts", result.repeated), ("texts without a value",
                         result.without_values)):  # fmt: skip
        counts |= {f"left out: {what}": number} if number else {}
    facts(f"Data in {config.out}", counts)
    for line in _next_steps(config, result):
        say(line)
    return 0


def _print_relations(result: LoopResult) -> None:
    """Print what was delegated and what happened to it, by relation or kind."""
    rows = []
    for counts in result.relations[:SHOWN]:
        why = ", ".join(f"{name} {number}" for name, number in counts.missing.most_common())
        rows.append([counts.relation, counts.calls, counts.answered, counts.unanswered, why,
                     counts.wrong, counts.right])  # fmt: skip
    left = len(result.relations) - len(rows)
    title = "Calls and verdicts by relation or kind"
    title += f" (the first {SHOWN}; loop.json has {left} more)" if left else ""
    columns = ["relation", "calls", "answered", "unanswered", "why", "marked wrong", "right"]
    table(title, rows, columns)


def _next_steps(config: LoopConfig, result: LoopResult) -> list[str]:
    """Return what to do next, one line each."""
    out, lines = shlex.quote(str(config.out)), []
    if result.unanswered:
        lines.append(f"Facts that sources lack: {result.unanswered} rows in {out}/unanswered.csv; "
                     "fill in their values and add them to a source.")  # fmt: skip
    if result.disputed:
        lines.append(f"Values of sources marked as wrong: {result.disputed} rows in "
                     f"{out}/disputed.csv; check them.")  # fmt: skip
    if result.documents:
        model = shlex.quote(config.model or "MODEL")
        lines.append(f"Next: lacy tune {model} --data {out} --replay ARTICLES --out runs/next")
        lines.append("      (ARTICLES: those of the first tuning, so that it forgets nothing)")
    elif not result.with_texts:
        lines.append("There is nothing to tune on, because the records contain no texts. To keep "
                     "them: lacy serve MODEL --log-calls FOLDER --log-texts")  # fmt: skip
    else:
        lines.append("There is nothing to tune on: no text with a value"
                     + (" among the judged answers." if config.judged else "."))  # fmt: skip
    return lines
