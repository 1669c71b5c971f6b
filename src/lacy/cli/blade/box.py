"""Flags of the commands that ask a black box."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.config import Rare

if TYPE_CHECKING:
    from lacy.blade import BlackBox, Spent, Triple


@dataclass
class BoxOptions:
    """Flags that say which black box is asked, how, and at what cost."""

    # [Black box]
    black_box: str = field(kw_only=True)
    """The black box: http://host:port/v1#model, with any server that has OpenAI's API."""
    style: Literal["chat", "text"] = "chat"
    """How it is asked: as a chat, or (a base model) as a text to continue."""
    examples: Path | None = None
    """Questions with answers that it reads first; a base model needs three or four."""
    max_requests: int | None = None
    """Number of requests after which nothing more is sent; a later run may raise it."""
    max_cost: float | None = None
    """US dollars after which nothing more is sent; needs --price."""
    price: tuple[float, float] = (0.0, 0.0)
    """US dollars per million tokens that it reads and writes."""
    name: Rare[str | None] = None
    """Name of the black box in the file of answers; by default its address and model."""
    timeout: Rare[float] = 120.0
    """Seconds for one request, with retries."""
    concurrency: Rare[int] = 4
    """Requests at a time."""
    key_variable: Rare[str | None] = "OPENAI_API_KEY"
    """Environment variable with the API key, if the server needs one."""

    def open(self, answers: Path | None) -> BlackBox:
        """Open the black box.

        Args:
            answers: the file of its answers.
        """
        import math

        from lacy.blade import Cap, open_black_box
        from lacy.sources import TokenPrice

        most: Any = self.max_requests if self.max_requests is not None else math.inf
        cap = Cap(self.max_cost if self.max_cost is not None else math.inf, most)
        return open_black_box(
            self.black_box, name=self.name, answers=answers, style=self.style,
            price=TokenPrice(*self.price), cap=cap, timeout=self.timeout,
            concurrency=self.concurrency, key_variable=self.key_variable,
        )  # fmt: skip

    def read_examples(self) -> list[Triple]:
        """Return the examples."""
        from lacy.blade import read_triples

        return [] if self.examples is None else read_triples(self.examples)


def spent_line(spent: Spent) -> str:
    """Return a sentence on what a black box cost."""
    cost = f", ${spent.cost:.4f}" if spent.cost else ""
    read, wrote = f"{spent.input_tokens:,}", f"{spent.output_tokens:,}"
    return f"{spent.requests:,} requests, {read} tokens read, {wrote} written{cost}"
