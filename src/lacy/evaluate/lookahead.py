"""An oracle for call positions in free text: call wherever the model would name something.

In free text, it depends on the model's own sentences where a fact is due. So the model first writes
the text alone. Wherever an annotator finds a name, number or date of the model's own, the source is
asked at that position instead, and the rest is generated again. The result is an upper bound: the
model's own sentences with a call at every position where it might be wrong, at any cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lacy._text import normalized_words
from lacy.evaluate.entities import ArticleText, Extract
from lacy.evaluate.provenance import SpanLookup, is_borrowed
from lacy.types import Answer, Mark

if TYPE_CHECKING:
    from lacy.cascade import Engine, Policy

ROUNDS = 40
"""Maximum number of rounds; in each, one name, number or date of a text is replaced by a call."""


def look_ahead(
    engine: Callable[[Policy], Engine],
    prompts: Sequence[str],
    subjects: Sequence[str | None],
    extract: Extract,
    *,
    rate: float = 1.0,
    rounds: int = ROUNDS,
) -> list[Answer]:
    """Continue texts with a call wherever the model itself would begin a name, number or date.

    Args:
        engine: returns an engine with the given policy; it must decode greedily, because the
            positions found in one round must occur again in the next.
        prompts: the texts to continue.
        subjects: the subject of each text.
        extract: finds names, numbers and dates.
        rate: maximum share of each text's tokens that come from calls. It is used up from the
            beginning of the text: a call is made as long as half of an average call still fits, so
            that the mean rate over texts is right.
        rounds: maximum number of rounds.
    """
    from lacy.cascade import Oracle

    call_prefixes: set[str] = set()

    def expects(text: str) -> str | None:
        return "named" if text in call_prefixes else None

    oracle = engine(Oracle(expects))
    answers = oracle.generate(prompts, subjects)
    unfinished = list(range(len(answers)))
    for _ in range(rounds):
        marks_of_texts = extract([answers[n].text for n in unfinished])
        half_call = _tokens_per_call(answers) / 2
        new_prefixes = [
            own_places(answers[n], marks) - call_prefixes
            if answers[n].called_tokens + half_call < rate * answers[n].tokens
            else set()
            for n, marks in zip(unfinished, marks_of_texts, strict=True)
        ]
        call_prefixes = call_prefixes.union(*new_prefixes)
        unfinished = [n for n, prefixes in zip(unfinished, new_prefixes, strict=True) if prefixes]
        if not unfinished:
            break
        regenerated = oracle.generate(
            [prompts[n] for n in unfinished], [subjects[n] for n in unfinished]
        )
        for n, answer in zip(unfinished, regenerated, strict=True):
            answers[n] = answer
    return answers


def _tokens_per_call(answers: Sequence[Answer]) -> float:
    """Return the mean number of tokens per call; 0 before the first call."""
    calls = sum(answer.calls for answer in answers)
    return sum(answer.called_tokens for answer in answers) / calls if calls else 0.0


def own_places(answer: Answer, marks: Sequence[Mark]) -> set[str]:
    """Return the text before each entity of the model's own; entities of the prompt do not count.

    The next round calls after each of these prefixes. The first call that is answered changes the
    text, so later prefixes no longer occur; if it is not answered, the next one is tried.
    """
    prompt_end, prompt, spans = len(answer.prompt), ArticleText(answer.prompt), SpanLookup(answer)
    prefixes = set()
    for mark in marks:
        value = answer.text[mark.start : mark.end]
        if mark.reason == "CONTENT" or mark.start < prompt_end or not normalized_words(value):
            continue
        if not prompt.contains(value) and not is_borrowed(spans.at(mark.start)):
            prefixes.add(answer.text[: mark.start].rstrip(" "))
    return prefixes
