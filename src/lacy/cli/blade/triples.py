"""``lacy blade triples``: make questions with knowledge and answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.blade.box import BoxOptions, spent_line
from lacy.cli.terminal import print_report, say
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.blade import Triple


@dataclass
class BladeTriplesConfig(BoxOptions):
    """Make triples of question, knowledge and answer (BLADE's second stage).

    From a table, each cell gives one: "What is the symbol of Lithium?". From texts whose facts are
    marked, each value is blanked in its sentence. With --kind model, the black box writes one about
    each text. With a black box, a filter keeps a triple only if the black box answers its question
    right from its knowledge; its replies are kept beside OUT, so that nothing is asked twice.
    """

    data: Positional[Path] = field(kw_only=True)
    """A table (CSV, JSONL, Parquet), or texts."""
    # [Triples]
    kind: Literal["table", "texts", "model"] = "table"
    """Where triples come from: the cells of a table, the marks of texts, or the black box."""
    subject_field: str = "name"
    """Column of a table with the names of what its rows are about."""
    templates: Path | None = None
    """JSON file with question and knowledge by column: {"symbol": ["What is the symbol of
    {name}?", "The symbol of {name} is {value}."]}; other columns are then left out."""
    options: int = 0
    """Options per question, with values of other rows; 0 for open questions."""
    seed: Rare[int] = 0
    """Seed of the options, and of --dev and --test."""
    # [Output]
    out: Path = field(kw_only=True)
    """File of the triples to tune on."""
    dev: int = 0
    """Number of triples, drawn at random, that are written to OUT.dev.jsonl instead: those to
    optimise on."""
    test: int = 0
    """Number of triples that are written to OUT.test.jsonl instead: those to measure on."""
    black_box: str = ""
    """The black box that filters (or writes): http://host:port/v1#model; without it, all triples
    of the rules are kept."""


FILE = False
FLAGS = BladeTriplesConfig
EXAMPLES = """
lacy blade triples elements.csv --out triples.jsonl
lacy blade triples elements.csv --out triples.jsonl --black-box http://localhost:8000/v1#large
"""


def run(config: BladeTriplesConfig) -> int:
    """Make, filter and write the triples."""
    from lacy._require import require_at_least
    from lacy.blade import consistent, written_triples
    from lacy.corpus import ReadReport, read

    for name in ("dev", "test"):
        require_at_least(name, getattr(config, name), 0)
    answers = config.out.with_name(f"{config.out.name}.answers")
    if config.kind == "model" and not config.black_box:
        raise LacyError("E396", name=repr(""))
    if not config.black_box:
        made = _by_rules(config)
        say(f"{len(made):,} triples, not filtered")
        _write(config, made)
        return 0
    with config.open(answers) as box:
        unusable = 0
        if config.kind == "model":
            report = ReadReport()
            made, unusable = written_triples(read(config.data, report=report), box)
            print_report(report)
        else:
            made = _by_rules(config)
        found = consistent(made, box, examples=config.read_examples(), without=True)
        more = f"; {unusable:,} replies gave none" if unusable else ""
        say(f"{len(made):,} triples{more}")
        say(f"{len(found.kept):,} kept, {found.wrong:,} answered wrong from their knowledge, "
            f"{found.unanswered:,} unanswered")  # fmt: skip
        say(f"{found.without:,} of those kept are answered right without the knowledge, too")
        say(f"The black box: {spent_line(box.spent)}")
        _write(config, found.kept)
    return 0


def _write(config: BladeTriplesConfig, triples: list[Triple]) -> None:
    """Write the triples, divided at random.

    Raises:
        LacyError: E12, fewer triples than are to be set aside.
    """
    import random

    from lacy.blade import write_triples

    apart = config.dev + config.test
    if apart and len(triples) <= apart:
        why = f"there are {len(triples):,} triples, and --dev and --test take {apart:,}"
        raise LacyError("E12", key="dev" if config.dev else "test", value=config.dev or config.test,
                        why=why, do="set fewer aside, or give a larger table")  # fmt: skip
    mixed = list(triples)
    if apart:
        random.Random(config.seed).shuffle(mixed)
    parts = {
        config.out: mixed[apart:],
        config.out.with_suffix(".dev.jsonl"): mixed[: config.dev],
        config.out.with_suffix(".test.jsonl"): mixed[config.dev : apart],
    }
    for path, part in parts.items():
        if part:
            say(f"Written: {path} ({write_triples(path, part):,})")


def _by_rules(config: BladeTriplesConfig) -> list[Triple]:
    """Return the triples of a table or of texts.

    Raises:
        LacyError: E22, the table has no column of names; and those of the triples.
    """
    from lacy.blade import table_triples, text_triples
    from lacy.corpus import ReadReport, read

    report = ReadReport()
    table = config.kind == "table"
    documents = read(
        config.data, text_field=config.subject_field if table else "text", report=report
    )
    if not table:
        made = text_triples(documents)
    else:
        templates = _templates(config.templates) if config.templates is not None else None
        try:
            made = table_triples(
                documents, templates=templates, options=config.options, seed=config.seed
            )
        except LacyError as error:
            if error.code != "E22":
                raise
            raise LacyError("E22", **{**error.values, "setting": "subject-field"}) from error
    print_report(report)
    return made


def _templates(path: Path) -> dict[str, tuple[str, str]]:
    """Return question and knowledge by column.

    Raises:
        LacyError: E13, no such file; E12, it has no such templates.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (str(pair[0]), str(pair[1])) for name, pair in data.items()}
    except OSError as error:
        raise LacyError("E13", path=path, do="check the path") from error
    except (ValueError, AttributeError, IndexError, KeyError, TypeError) as error:
        do = 'write JSON: {"COLUMN": ["question with {name}", "knowledge with {value}"]}'
        raise LacyError("E12", key="templates", value=path, why="it has no templates by column",
                        do=do) from error  # fmt: skip
