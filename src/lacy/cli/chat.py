"""``lacy chat``: a conversation in the terminal, each word in the colour of who says it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lacy.cli import calibration
from lacy.cli.flags import REPEATS, Repeated
from lacy.cli.terminal import input_lines

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class ChatConfig:
    """Talks to a model: words appear as they are said, in the colour of who says them.

    Commands: /policy, /source, /why, /receipt, /save, /new, /help, /quit. Ctrl-C stops an answer,
    Ctrl-D leaves. Lines may also come from a file or a pipe. Nothing is kept but by /save.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Folder of a model or a run; a policy may follow a colon: runs/mine:budget=0.22. Or
    http://host:port/v1#name for a model served by another engine (see --tokenizer)."""
    source: Repeated = field(default_factory=list, metadata=REPEATS)
    """What answers calls, as in `lacy generate`; if one source has no answer, the next one is
    asked."""
    cache: Path | None = None
    """File that caches answers of language models, so that each question is asked only once."""
    price: Repeated = field(default_factory=list, metadata=REPEATS)
    """Price of a million input and output tokens, for receipts: 0.15,0.60, or NAME=0.15,0.60."""
    policy: str | None = None
    """When to call; by default as in `lacy generate`."""
    unit: Literal["token", "word", "value"] = "value"
    """How much one call returns."""
    calibrate: int = calibration.TEXTS
    """Number of texts of the source used for calibration first, as in `lacy generate`."""
    tokenizer: Path | None = None
    """For a model on another server: a local folder with its tokenizer; weights are not read."""
    max_new_tokens: int = 128
    """Maximum number of tokens per answer, from the model and its sources together."""
    temperature: float = 0.0
    """Sampling temperature; 0 always takes the likeliest token."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens with this probability."""
    seed: int = 0
    """Random seed for sampling."""


FLAGS = ChatConfig
EXAMPLES = """
lacy chat runs/mine --source world
echo "Emil Quilodell" | lacy chat runs/mine --source world
"""


def run(config: ChatConfig) -> int:
    """Answer lines until told to stop."""
    from rich.console import Console

    from lacy.cli.talk import Talk

    console = Console(highlight=False)
    with Talk(config, console) as talk:
        typed = sys.stdin.isatty()
        if typed:
            talk.greet()
        for line in _typed(console) if typed else input_lines():
            if not talk.hear(line):
                break
        if typed:
            talk.leave()
    return 0


def _typed(console: Console) -> Iterator[str]:
    """Lines that somebody types, with the line editor of the system and its history."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - arrows, history and search then work in input()
    while True:
        try:
            line = input("\u203a " if _speaks_unicode() else "> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\n(Ctrl-D leaves)")
            continue
        if line.strip():
            yield line.rstrip()


def _speaks_unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()
