"""Open a fact maker by its name."""

from __future__ import annotations

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.factscore.asked_facts import AskedFacts
from lacy.factscore.clauses import ClauseSplitter
from lacy.factscore.facts import FactMaker

GIVEN, CLAUSES = "given", "clauses"


def open_facts(name: str = CLAUSES, *, concurrency: int = 16) -> FactMaker | None:
    """Open what splits sentences into facts; None for ``given``.

    Args:
        name: ``clauses`` splits sentences with a dependency parse, ``given`` takes the facts that
            came with the responses, and ``http://HOST/v1#MODEL`` asks a model. ``clauses:NAME``
            names the spaCy pipeline.
        concurrency: number of requests at a time.

    Raises:
        LacyError: E228, there is no such name, or an address has no model; and the errors of the
            fact makers.
    """
    kind, _, rest = name.partition(":")
    if name == GIVEN:
        return None
    if kind == CLAUSES:
        return ClauseSplitter(rest or None)
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        if not model:
            raise LacyError("E228", name=name, why="the address does not end in #MODEL")
        return AskedFacts(url, model, concurrency=concurrency)
    why = f"there is no such way{did_you_mean(name, (CLAUSES, GIVEN))}"
    raise LacyError("E228", name=name, why=why)
