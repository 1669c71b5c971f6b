"""``lacy blade ask``: let a black box answer a question with knowledge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.blade.box import BoxOptions, spent_line
from lacy.cli.terminal import as_text, say
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.blade import KnowledgeKind, KnowledgeProvider


@dataclass
class KnowledgeOptions(BoxOptions):
    """Flags that say where the knowledge comes from."""

    # [Knowledge]
    documents: str | None = None
    """Source for retrieval: an index of lacy source build, or a database."""
    small_model: Rare[str | None] = None
    """Where the small model of a blade is now, if it has moved."""
    max_tokens: Rare[int | None] = None
    """Maximum number of tokens of the knowledge; by default as it was optimised."""

    @contextmanager
    def providers(
        self, model: str, kinds: list[KnowledgeKind]
    ) -> Iterator[dict[KnowledgeKind, KnowledgeProvider]]:
        """Open what gives each kind of knowledge.

        Args:
            model: a folder of lacy blade optimise, or a small model.
            kinds: the kinds.

        Raises:
            LacyError: E397, a kind needs documents that are not given.
        """
        from lacy.blade import load_blade, make_provider
        from lacy.sources import open_source

        if {"retrieval", "both"} & {*kinds} and self.documents is None:
            raise LacyError("E397", why="there are no documents")
        source = open_source(self.documents) if self.documents is not None else None
        writer = None
        if {"model", "both"} & {*kinds}:
            writer = load_blade(model, self.small_model).writer()
            writer.max_tokens = self.max_tokens or writer.max_tokens
        try:
            yield {kind: make_provider(kind, writer, source) for kind in kinds}
        finally:
            if close := getattr(source, "close", None):
                close()


@dataclass
class BladeAskConfig(KnowledgeOptions):
    """Let a black box answer a question with knowledge from a small model, documents, or both.

    Prints the answer, and each piece of knowledge with its origin.
    """

    blade: Positional[str] = field(kw_only=True)
    """Folder of lacy blade optimise, or a small model."""
    question: Positional[str] = field(kw_only=True)
    """The question."""
    # [Knowledge]
    knowledge: Literal["none", "retrieval", "model", "both"] = "model"
    """Where the knowledge comes from; retrieval and both need --documents."""
    # [Output]
    answers: Path | None = None
    """File that keeps the replies, so that the same question is not paid twice."""


FILE = False
FLAGS = BladeAskConfig
EXAMPLES = """
lacy blade ask runs/blade "What is the symbol of tin?" --black-box http://localhost:8000/v1#large
"""


def run(config: BladeAskConfig) -> int:
    """Ask and print."""
    from lacy.blade import Triple, ask_questions

    question = Triple(as_text(config.question), "")
    examples = config.read_examples()
    with (
        config.open(config.answers) as box,
        config.providers(config.blade, [config.knowledge]) as providers,
    ):
        provider = providers[config.knowledge]
        [answer] = ask_questions([question], provider, box, examples=examples)
        if answer.error:
            done = "nothing was asked before"
            raise LacyError("E393", name=box.name, why=answer.error, done=done)
        say(answer.text)
        for piece in answer.knowledge:
            say(f"  {piece.kind} ({piece.origin}): {piece.text}")
        if not answer.knowledge:
            say("  no knowledge")
        say(f"  answered by {answer.speaker}: {spent_line(answer.spent)}")
    return 0
