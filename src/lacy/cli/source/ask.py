"""``lacy source ask``: show what a source offers to continue a text."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from lacy.cli.terminal import say
from lacy.config import Positional
from lacy.errors import one_line
from lacy.sources.db.stores import redact
from lacy.sources.names import NameIndex

if TYPE_CHECKING:
    from lacy.types import Reply


@dataclass
class AskSource:
    """Shows what a source offers to continue a text, with its evidence.

    A source that looks up offers all that fits: a model chooses among it. Who fails leaves with 4.
    """

    source: Positional[str]
    """A folder of `lacy source build` or `lacy data world`, a .sqlite or .duckdb file, a database's
    address or mapping, a model's folder or name, http://HOST:PORT/v1#MODEL, llm:MODEL."""
    text: Positional[str]
    """The beginning of a text, up to where a value is due."""
    subject: str | None = None
    """Whom or what it is about; by default whom it names first."""


FILE = False
FLAGS = AskSource
EXAMPLES = """
lacy source ask kb "Ada Lovelace was born in"
lacy source ask facts.sqlite "She was born in" --subject "Ada Lovelace"
"""


def run(config: AskSource) -> int:
    """Ask the source; return 4 if it fails."""
    from lacy.sources import guarded, open_source
    from lacy.types import Request

    source = open_source(config.source)
    assert source is not None  # only None is nobody
    request = Request(config.text, subject=config.subject)
    try:
        [reply] = asyncio.run(guarded(source, [request], timeout=None))
        _print_reply(reply)
        names = getattr(source, "names", None)
    finally:
        getattr(source, "close", lambda: None)()
    if reply.candidates:
        named = shlex.quote(redact(config.source))
        say(f'Next: lacy generate MODEL "..." --source {named}')
    elif isinstance(names, NameIndex) and not reply.fault:
        print(_known_names(names))
    return 4 if reply.fault else 0


def _known_names(names: NameIndex) -> str:
    """Whom a source can be asked about."""
    some = ", ".join(repr(one_line(name)) for name in islice(names, 3))
    if not some:
        return "It knows no names: nothing is in it that could answer."
    known = f"the name {some}" if len(names) == 1 else f"{len(names):,} names, such as {some}"
    return f"It knows {known}. Name whom the text is about, or give --subject NAME."


def _print_reply(reply: Reply) -> None:
    """Candidates, each with its kind and its evidence below."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not reply.candidates:
        said = one_line(f"No answer. {reply.error or ''}")
        console.print(Text(said), soft_wrap=True)
    for candidate in reply.candidates:
        line = Text(one_line(candidate.text), style="bold")
        console.print(
            line.append(f"  {one_line(candidate.kind)}", style="not bold"), soft_wrap=True
        )
        if candidate.evidence:
            console.print(Text(f"  {one_line(candidate.evidence)}", style="dim"), soft_wrap=True)
