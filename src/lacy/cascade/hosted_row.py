"""One running text of a model at a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from lacy.cascade.hosted_steps import Step
from lacy.cascade.row import Row


@dataclass(slots=True)
class HostedRow(Row):
    """A row with the steps that the server has told of already."""

    steps: list[Step] = field(default_factory=list)
    inside: bool = False
    """Whether the text ends inside a character (where a server that tells pieces says so)."""

    def say(self, token: int) -> None:
        """The SLM's own next token, in the server's spelling where it gives one."""
        piece = self.steps[0].piece if self.steps else None
        if piece is None:
            Row.say(self, token)
            return
        out, self.out = self.out, _Told(piece)  # type: ignore[assignment]  # a stream for one token
        Row.say(self, token)
        self.out, self.inside = out, not piece


class _Told:
    """A text stream that says what it was told."""

    def __init__(self, piece: str) -> None:
        self._piece = piece

    def add(self, token: int) -> str:
        return self._piece
