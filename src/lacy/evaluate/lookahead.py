"""An oracle of positions on free text: let the model speak, and ask wherever it names something.

Free text has no positions at which a fact is due, only those that the model itself comes to. So it
is let to go on alone first; where an annotator finds that it began a name, number or date of its
own, the source is asked at that place instead, and what follows is generated anew. What results
are the model's own sentences with a source that speaks at every place where one may be wrong: what
a cascade could reach whose calls all fall where they should, whatever they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lacy.evaluate.entities import ArticleText, Extract, words
from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.types import Answer, Mark

if TYPE_CHECKING:
    from lacy.cascade import Engine, Policy

ROUNDS = 40
"""Most names, numbers and dates of one text that are answered, one per round."""


def look_ahead(
    engine: Callable[[Policy], Engine],
    prompts: Sequence[str],
    subjects: Sequence[str | None],
    extract: Extract,
    *,
    rate: float = 1.0,
    rounds: int = ROUNDS,
) -> list[Answer]:
    """Continues texts, asking wherever the model itself would begin a name, number or date.

    Args:
        engine: makes a greedy engine (what it says must be the same again) under a policy.
        prompts: the texts to continue.
        subjects: whom or what each is about.
        extract: finds names, numbers and dates.
        rate: share of each text's tokens that may be asked for, spent from its beginning on (a call
            is made where half of a usual one still fits, so that the mean comes out right).
        rounds: most answers in one text.
    """
    from lacy.cascade import Oracle

    planned: set[str] = set()

    def expects(text: str) -> str | None:
        return "named" if text in planned else None

    oracle = engine(Oracle(expects))
    answers = oracle.generate(prompts, subjects)
    open_rows = list(range(len(answers)))
    for _ in range(rounds):
        found = extract([answers[n].text for n in open_rows])
        half = _tokens_per_call(answers) / 2
        new = [
            own_places(answers[n], marks) - planned
            if answers[n].called_tokens + half < rate * answers[n].tokens
            else set()
            for n, marks in zip(open_rows, found, strict=True)
        ]
        planned = planned.union(*new)
        open_rows = [n for n, places in zip(open_rows, new, strict=True) if places]
        if not open_rows:
            break
        again = oracle.generate([prompts[n] for n in open_rows], [subjects[n] for n in open_rows])
        for n, answer in zip(open_rows, again, strict=True):
            answers[n] = answer
    return answers


def _tokens_per_call(answers: Sequence[Answer]) -> float:
    """The mean so far; 0 before the first call."""
    calls = sum(answer.calls for answer in answers)
    return sum(answer.called_tokens for answer in answers) / calls if calls else 0.0


def own_places(answer: Answer, marks: Sequence[Mark]) -> set[str]:
    """The text before each thing that the model named by itself; what the prompt gave is no fact.

    All are asked at in the next round: the first that gets an answer changes the text, so that none
    of the later ones comes up again; where there is no answer, the next one's turn has come.
    """
    given, known, speakers = len(answer.prompt), ArticleText(answer.prompt), SpanLookup(answer)
    places = set()
    for mark in marks:
        value = answer.text[mark.start : mark.end]
        if mark.reason == "CONTENT" or mark.start < given or not words(value):
            continue
        if not known.holds(value) and not is_borrowed(speakers.at(mark.start)):
            places.add(answer.text[: mark.start].rstrip(" "))
    return places
