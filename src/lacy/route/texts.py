"""What a router reads of a text: a bounded part, without requests for a route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_CHARACTERS = 6_000
"""Characters that are read of a text: half from its beginning, half from its end."""

_SENTENCE = re.compile(r"(?<=[.!?\n])\s+|\n+")

_ASKS = re.compile(
    r"\b(send|sends|route|routes|routed|forward|assign|classify|dispatch|delegate|escalate|pick|"
    r"choose|select|use|hand|transfer|redirect|pass|answer with|label|category|go to|goes to)\b",
    re.IGNORECASE,
)
"""Verbs of a request for a route."""

_SIZES = r"(?:cheap|cheaper|cheapest|small|smaller|smallest|weak|large|larger|largest|big|biggest|"
_SIZES += r"strong|stronger|strongest|best|expensive)"
_MODEL = re.compile(rf"\b{_SIZES}\s+(?:language\s+)?(?:model|llm|slm|route|one)s?\b", re.IGNORECASE)
"""A model named by its size or price."""


def bounded(text: str) -> str:
    """Return the beginning and the end of a long text, and a short text as it is."""
    if len(text) <= MAX_CHARACTERS:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]} {text[-half:]}"


class RequestFilter:
    """Removes sentences of a text that ask for a route instead of stating the task.

    A sentence is removed if it has a verb such as *send* or *use*, and names a route in full, or a
    model by its size ("the cheap model"). A route whose name is a single common word (*code*) must
    be followed by *route*, *model* or the like, so that "use code" stays. If nothing would be left,
    only the names are removed.

    Args:
        routes: names of the routes.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        names = sorted((re.escape(name) for name in routes if name.strip()), key=len, reverse=True)
        after = r"\W{0,3}\s*(?:route|model|llm|class|category|label|expert|handler|queue|agent)\b"
        unusual = [name for name in names if re.search(r"[^A-Za-z]", name)]
        parts = [rf"(?<!\w)(?:{'|'.join(names)}){after}"]
        parts += [rf"\b(?:route|category|label|class)\W{{1,4}}(?:{'|'.join(names)})(?!\w)"]
        parts += [rf"(?<!\w)(?:{'|'.join(unusual)})(?!\w)"] if unusual else []
        self._named = re.compile("|".join(parts), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the bounded text without such sentences."""
        cut = bounded(text)
        if not _ASKS.search(cut) or not (self._named.search(cut) or _MODEL.search(cut)):
            return cut
        kept = " ".join(one for one in _SENTENCE.split(cut) if not self._asks(one))
        if any(map(str.isalnum, kept)):
            return kept
        # The request and the task are one sentence: only the name goes.
        return _MODEL.sub(" ", self._named.sub(" ", cut))

    def all(self, texts: Sequence[str]) -> list[str]:
        """Return all texts without such sentences."""
        return [self(text) for text in texts]

    def _asks(self, sentence: str) -> bool:
        names = self._named.search(sentence) or _MODEL.search(sentence)
        return bool(names and _ASKS.search(sentence))
