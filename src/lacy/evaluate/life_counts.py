"""Count what texts say about a person's life: stated, right, wrong, against a page or a database.

A value that the prompt gives does not count. Of each relation, a text is right if none of its
statements contradicts the truth, and wrong if one does. A second nationality or occupation is no
contradiction, so for these a text is only right or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.life_facts import (
    RELATIONS,
    LifeRelation,
    LifeStatement,
    by_relation,
    known_life,
    read_life,
)
from lacy.results import Score, ratio_scores
from lacy.types import Answer, Document

if TYPE_CHECKING:
    from lacy.sources import Database

LIFE_COUNTS = (
    "texts", "life_stated", "life_known", "life_right", "life_wrong", "life_dates",
    "life_years_right", "life_on_page", "life_contradicted",
)  # fmt: skip
"""Counts of one relation in one text, 0 or 1 each: the text; stated; stated and the truth is known;
right; wrong; a date with a known year, and that year right; stated and the page states it too, and
the page says something else."""

OPEN_RELATIONS = ("nationality", "occupation")
"""Relations of which a person may have several values."""

Truth = Mapping[LifeRelation, Sequence[LifeStatement]]
"""The statements of each relation that are known to be true."""


@dataclass(frozen=True, slots=True)
class LifeVerdict:
    """What one text says about one relation."""

    relation: LifeRelation
    stated: tuple[str, ...]
    known: tuple[str, ...]
    """What is true; empty if it is not known."""
    right: bool | None
    """None if the truth is not known, or is not exact ("c. 1466")."""
    page: tuple[str, ...] = ()
    """What the page says."""
    contradicted: bool | None = None
    """None if the page does not say."""
    year_right: bool | None = None
    """For dates: whether the year is right."""


def life_verdicts(
    answer: Answer, name: str, page: Truth, known: Truth | None = None
) -> list[LifeVerdict]:
    """Judge what a text says about a person's life.

    Args:
        answer: the text.
        name: the person's name.
        page: what the page says (``by_relation(read_life(...))``).
        known: the truth, such as the facts of a database; by default the page.
    """
    truth = page if known is None else known
    given = by_relation(read_life(answer.prompt, name))
    found = by_relation(read_life(answer.text, name))
    verdicts = []
    for relation in RELATIONS:
        if relation not in found or relation in given:
            continue
        own = [statement for statement in found[relation] if statement.exact]
        right, year = _judge(relation, own, truth.get(relation, ()))
        on_page, _ = _judge(relation, own, page.get(relation, ()))
        verdicts.append(
            LifeVerdict(
                relation,
                tuple(s.text for s in found[relation]),
                tuple(s.text for s in truth.get(relation, ())),
                right,
                tuple(s.text for s in page.get(relation, ())),
                None if on_page is None else not on_page and relation not in OPEN_RELATIONS,
                year,
            )
        )
    return verdicts


def _judge(
    relation: LifeRelation, own: Sequence[LifeStatement], truth: Sequence[LifeStatement]
) -> tuple[bool | None, bool | None]:
    """Return whether all statements (one, of open relations) agree, and whether the years do."""
    exact = [statement for statement in truth if statement.exact]
    if not own or not exact:
        return None, None
    some = any if relation in OPEN_RELATIONS else all
    right = some(any(s.agrees(t) for t in exact) for s in own)
    if not relation.endswith("date"):
        return right, None
    return right, all(any(s.agrees_in_year(t) for t in exact) for s in own)


def life_counts(
    verdicts: Sequence[Sequence[LifeVerdict]], relation: LifeRelation | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the counts of each text by name (``LIFE_COUNTS``).

    Args:
        verdicts: those of each text.
        relation: the only relation that counts; None sums over all.
    """
    rows = []
    for found in verdicts:
        chosen = [v for v in found if relation in (None, v.relation)]
        known = [v for v in chosen if v.right is not None]
        wrong = [v for v in known if not v.right and v.relation not in OPEN_RELATIONS]
        years = [v.year_right for v in chosen if v.year_right is not None]
        pages = [v.contradicted for v in chosen if v.contradicted is not None]
        rows.append((
            1, len(chosen), len(known), sum(bool(v.right) for v in known), len(wrong),
            len(years), sum(years), len(pages), sum(pages),
        ))  # fmt: skip
    table = np.asarray(rows, float).reshape(-1, len(LIFE_COUNTS))
    return dict(zip(LIFE_COUNTS, table.T, strict=True))


def life_scores(
    verdicts: Sequence[Sequence[LifeVerdict]], seed: int = 0
) -> dict[str, dict[str, Score]]:
    """Return the scores of each relation that occurs.

    Args:
        verdicts: those of each text.
        seed: seed of the bootstrap over texts.
    """
    occurring = {verdict.relation for found in verdicts for verdict in found}
    return {
        relation: ratio_scores(life_counts(verdicts, relation), seed=seed)
        for relation in RELATIONS
        if relation in occurring
    }


def known_people(
    database: Database | None, articles: Sequence[Document]
) -> tuple[list[Truth | None], int]:
    """Return what a database knows about the subject of each article, and how many it lacks.

    Args:
        database: facts by name; None for no database: the pages are the truth.
        articles: the articles; their titles are the names.
    """
    if database is None:
        return [None] * len(articles), 0
    found: list[Truth | None] = []
    missing = 0
    for article in articles:
        facts = database.facts(str(article.meta.get("title") or article.id))
        missing += not facts
        found.append(by_relation(known_life(facts)))
    return found, missing
