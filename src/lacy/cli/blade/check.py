"""``lacy blade check``: measure a black box alone and with knowledge of each kind."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.blade.ask import KnowledgeOptions
from lacy.cli.blade.box import spent_line
from lacy.cli.terminal import say, table
from lacy.config import Positional

if TYPE_CHECKING:
    from lacy.blade import AskedQuestions, KnowledgeKind


@dataclass
class BladeCheckConfig(KnowledgeOptions):
    """Measure how often a black box is right: alone, with the small model, with documents, both.

    All are asked the same questions, which must not be those of lacy blade optimise. Examples show
    their knowledge only where knowledge is given. Intervals are 95% (Wilson); differences to the
    black box alone are paired.
    """

    blade: Positional[str] = field(kw_only=True)
    """Folder of lacy blade optimise, or a small model."""
    questions: Positional[Path] = field(kw_only=True)
    """Questions with answers."""
    # [Output]
    answers: Path | None = None
    """File of the replies; by default QUESTIONS with .answers appended."""
    out: Path | None = None
    """Also write the figures as JSON."""


FILE = False
FLAGS = BladeCheckConfig
EXAMPLES = """
lacy blade check runs/blade test.jsonl --black-box http://localhost:8000/v1#large
lacy blade check runs/blade test.jsonl --documents elements.index --black-box http://host/v1#large
"""


def run(config: BladeCheckConfig) -> int:
    """Ask all questions with each kind of knowledge, and print the table."""
    from lacy.blade import read_triples, score_questions

    triples = read_triples(config.questions)
    examples = config.read_examples()
    plain = [replace(one, knowledge="") for one in examples]
    kinds: list[KnowledgeKind] = ["none", "model"]
    kinds += ["retrieval", "both"] if config.documents is not None else []
    answers = config.answers or config.questions.with_name(f"{config.questions.name}.answers")
    found: dict[str, AskedQuestions] = {}
    with config.open(answers) as box, config.providers(config.blade, kinds) as providers:
        for kind, provider in providers.items():
            shown = plain if kind == "none" else examples
            found[kind] = score_questions(triples, provider, box, examples=shown)
        total = box.spent
    rows = [
        (kind, str(one.right), _more(found["none"], one), one.unanswered, one.spent.input_tokens)
        for kind, one in found.items()
    ]
    columns = ("knowledge", "right", "more than alone", "unanswered", "tokens read")
    table(f"{box.name} on {len(triples):,} questions", rows, columns)
    say(f"In all: {spent_line(total)}")
    if config.out is not None:
        _write(config.out, box.name, found)
        say(f"Written: {config.out}")
    return 0


def _more(alone: AskedQuestions, one: AskedQuestions) -> str:
    """Return the paired difference to the black box alone on questions that both answered."""
    score = None if one is alone else one.more_than(alone)
    if score is None:
        return "-"
    return f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"


def _write(path: Path, name: str, found: dict[str, AskedQuestions]) -> None:
    """Write the figures, without texts."""
    from lacy.disk import write_atomic
    from lacy.results import as_data
    from lacy.run import environment

    data = {"black_box": name, "figures": as_data(found), "environment": environment()}
    write_atomic(path, json.dumps(data, indent=1) + "\n")
