"""``lacy source map``: write a first mapping for the tables of a database."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from lacy.cli.terminal import say
from lacy.config import Positional
from lacy.errors import LacyError
from lacy.sources.db import draft_mapping


@dataclass
class MapConfig:
    """Write a first mapping for a database whose tables were made for something else.

    The mapping says who or what facts are about, which columns are relations, and how tables join;
    its comments say what to change. The database is only read.
    """

    database: Positional[str]
    """A SQLite or DuckDB file, or postgresql://user@host/name."""
    out: Path
    """Mapping file to write; an existing file is never replaced."""


FILE = False
FLAGS = MapConfig
EXAMPLES = """
lacy source map people.duckdb --out mapping.yaml
lacy source ask mapping.yaml "Ada Lovelace was born in"
"""


def run(config: MapConfig) -> int:
    """Write the mapping, unless the file exists."""
    from lacy.run import write_atomic

    text = draft_mapping(config.database, config.out)
    if config.out.exists():
        why = "the file exists, perhaps with your corrections"
        raise LacyError("E12", key="out", value=str(config.out), why=why, do="name another file")
    write_atomic(config.out, text)
    print(text)
    for line in text.splitlines():
        if line.startswith("# left out: "):
            say(line[2:], sys.stderr)
    out = shlex.quote(str(config.out))
    say(f'Next: correct {out}, then lacy source ask {out} "..."')
    return 0
