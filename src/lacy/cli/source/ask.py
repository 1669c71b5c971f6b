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
from lacy.sources.db.stores import hide_credentials
from lacy.sources.names import NameIndex

if TYPE_CHECKING:
    from lacy.types import Reply


@dataclass
class AskConfig:
    """Show what a source offers to continue a text, with its evidence.

    A database or an index offers every value that fits; a model would choose among them. The exit
    code is 4 if the source fails.
    """

    source: Positional[str]
    """A folder of `lacy source build` or `lacy data world`, a .sqlite or .duckdb file, a database's
    address or mapping, a model's folder or name, http://HOST:PORT/v1#MODEL, llm:MODEL."""
    text: Positional[str]
    """Beginning of a text, up to where a value is due."""
    subject: str | None = None
    """Who or what the text is about; by default the first name in it."""


FILE = False
FLAGS = AskConfig
EXAMPLES = """
lacy source ask kb "Ada Lovelace was born in"
lacy source ask facts.sqlite "She was born in" --subject "Ada Lovelace"
"""


def run(config: AskConfig) -> int:
    """Ask the source; return 4 if it fails."""
    from lacy.sources import guarded, open_source
    from lacy.types import Request

    source = open_source(config.source)
    request = Request(config.text, subject=config.subject)
    try:
        [reply] = asyncio.run(guarded(source, [request], timeout=None))
        _print_reply(reply)
        names = getattr(source, "names", None)
    finally:
        getattr(source, "close", lambda: None)()
    if reply.candidates:
        named = shlex.quote(hide_credentials(config.source))
        say(f'Next: lacy generate MODEL "..." --source {named}')
    elif isinstance(names, NameIndex) and not reply.fault:
        print(_known_names(names))
    return 4 if reply.fault else 0


def _known_names(names: NameIndex) -> str:
    """Return a sentence with names that the source knows."""
    some = ", ".join(repr(one_line(name)) for name in islice(names, 3))
    if not some:
        return "The source is empty: it knows no names."
    known = f"the name {some}" if len(names) == 1 else f"{len(names):,} names, such as {some}"
    return f"The source knows {known}. Name one in the text, or give --subject NAME."


def _print_reply(reply: Reply) -> None:
    """Print the candidates, each with its kind and, on the next line, its evidence."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not reply.candidates:
        message = one_line(f"No answer. {reply.error or ''}")
        console.print(Text(message), soft_wrap=True)
    for candidate in reply.candidates:
        line = Text(one_line(candidate.text), style="bold")
        console.print(
            line.append(f"  {one_line(candidate.kind)}", style="not bold"), soft_wrap=True
        )
        if candidate.evidence:
            console.print(Text(f"  {one_line(candidate.evidence)}", style="dim"), soft_wrap=True)
