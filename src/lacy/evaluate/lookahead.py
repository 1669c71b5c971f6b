"""An oracle of call positions on free text: calls wherever the model would name something.

In free text, where a fact is due depends on what the model writes. So the model first continues
alone; where an annotator finds that it began a name, number or date of its own, the source is asked
at that position instead, and the rest is generated again. The result is an upper bound: the model's
own sentences with a call at every position where it might be wrong, whatever the calls cost.
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
"""Maximum number of answered names, numbers and dates per text, one per round."""


def look_ahead(
    engine: Callable[[Policy], Engine],
    prompts: Sequence[str],
    subjects: Sequence[str | None],
    extract: Extract,
    *,
    rate: float = 1.0,
    rounds: int = ROUNDS,
) -> list[Answer]:
    """Continue texts, with a call wherever the model itself would begin a name, number or date.

    Args:
        engine: makes a greedy engine under a policy (its output must be reproducible).
        prompts: the texts to continue.
        subjects: the subject of each.
        extract: finds names, numbers and dates.
        rate: share of each text's tokens that may come from calls, spent from its beginning on (a
            call is made if half of a mean one still fits, so that the mean comes out right).
        rounds: maximum number of answers in one text.
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
    """Return the mean so far; 0 before the first call."""
    calls = sum(answer.calls for answer in answers)
    return sum(answer.called_tokens for answer in answers) / calls if calls else 0.0


def own_places(answer: Answer, marks: Sequence[Mark]) -> set[str]:
    """Return the text before each entity that the model wrote itself; the prompt's do not count.

    There is a call at all of them in the next round. The first answered one changes the text, so
    that the later ones do not occur again; if it has no answer, the next one is tried.
    """
    given, known, speakers = len(answer.prompt), ArticleText(answer.prompt), SpanLookup(answer)
    places = set()
    for mark in marks:
        value = answer.text[mark.start : mark.end]
        if mark.reason == "CONTENT" or mark.start < given or not words(value):
            continue
        if not known.contains(value) and not is_borrowed(speakers.at(mark.start)):
            places.add(answer.text[: mark.start].rstrip(" "))
    return places
