"""What a server takes at most."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lacy.errors import LacyError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server; whatever exceeds them is refused with a reason, nothing is cut silently.

    Raises:
        LacyError: E12 for a bound below 1.
    """

    body_bytes: int = 1 << 20
    """Of a request's body."""
    max_new_tokens: int = 1024
    """Most new tokens that a request may ask for."""
    choices: int = 8
    """Answers to one prompt (``n``)."""
    prompts: int = 32
    """Prompts in one request."""
    stops: int = 4
    """Stop strings in one request (OpenAI's limit)."""
    stop_characters: int = 500
    """Of one stop string."""
    patience: int = 60
    """Seconds for which a client may take nothing of what it is sent; then its texts end."""

    def __post_init__(self) -> None:
        for bound in fields(self):
            if getattr(self, bound.name) < 1:
                raise LacyError(
                    "E12", key=bound.name, value=getattr(self, bound.name), why="less than 1",
                    do="give 1 or more",
                )  # fmt: skip
