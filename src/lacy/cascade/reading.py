"""Choose among the values of passages the one that answers a question, by reading comprehension.

The SLM reads a passage and the question, and then the beginning of the statement that answers it.
For a value v of the passage,

    score(v) = log p(v and a full stop | passage, question, "Marie Curie was born in")
             - log p(v | passage, "What do you know about Marie Curie?", "Marie Curie is"),

in nats. The second term is how readily the SLM copies this value from this passage whatever is
asked. Values of a kind that the question excludes, and parts of the subject's own name, are left
out. If the chosen value is one of a list of common nouns in the passage ("an actor, writer and film
director"), the whole list is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lacy._text import normalized_words
from lacy.cascade.backend import Backend
from lacy.cascade.questions import Question
from lacy.cascade.relations import fits
from lacy.cascade.verbs import PREPOSITIONS
from lacy.types import Candidate

MAX_PASSAGES = 3
"""Maximum number of passages that are read."""

MIN_READING_SCORE = -100.0
"""Minimum score of a value in nats; below it, the passages are taken not to have the answer."""

_NEUTRAL = "What do you know about {}?"
_STOP = frozenset(
    "a an the who which that is was are were be been and or but than then where when while known"
    " also later his her its their he she it they not".split()
) | PREPOSITIONS  # fmt: skip
_ITEM = r"(?:(?!(?:{stop})\b)[a-z][\w-]*\s){{0,3}}(?!(?:{stop})\b)[a-z][\w-]*".format(
    stop="|".join(sorted(_STOP))
)
_JOIN = r"(?:\s*,\s+(?:and\s+|or\s+)?|\s+and\s+|\s+&\s+|\s*/\s*)"
_LIST = re.compile(rf"(?<![\w-]){_ITEM}(?:{_JOIN}{_ITEM})*(?![\w-])")


async def choose_by_reading(
    backend: Backend, question: Question, candidates: Sequence[Candidate]
) -> tuple[Candidate | None, float | None, str]:
    """Return the value that answers a question, its score, and a reason for the user.

    Args:
        backend: computes with the SLM.
        question: the question.
        candidates: values with their passages, best passage first.
    """
    subject = candidates[0].subject
    question = question.about(subject)
    by_passage: dict[str, dict[str, Candidate]] = {}
    own_name = set(normalized_words(f"{subject} {question.name}"))
    for candidate in candidates:
        text = candidate.text.strip()
        if not fits(question, [text]) or own_name & set(normalized_words(text)):
            continue
        if len(by_passage) < MAX_PASSAGES or candidate.context in by_passage:
            by_passage.setdefault(candidate.context, {}).setdefault(text, candidate)
    if not by_passage:
        return None, None, f"none of {len(candidates)} values is of the kind that it asks for"
    opening, closing = question.opening(subject), question.closing()
    lead = " ".join(filter(None, ("Answer:", opening)))
    texts, continuations, owners = [], [], []
    for passage, values in by_passage.items():
        forms = [
            (candidate, f" {' '.join(filter(None, (word, text, closing)))}.")
            for text, candidate in values.items()
            for word in question.small_words(opening, text)
        ]
        texts.append(f"{passage}\n\nQuestion: {question.text}\n{lead}")
        continuations.append([form for _, form in forms])
        owners.append([candidate for candidate, _ in forms])
    neutral = _NEUTRAL.format(subject or "it")
    priors = [f"{passage}\n\nQuestion: {neutral}\nAnswer: {subject} is" for passage in by_passage]
    plain = [[f" {text}" for text in values] for values in by_passage.values()]
    found = await backend.score_texts(texts + priors, continuations + plain)
    scores: dict[int, float] = {}
    chosen: dict[int, Candidate] = {}
    for group, logps, values, prior in zip(
        owners, found, by_passage.values(), found[len(texts) :], strict=False
    ):
        before = {id(c): logp for c, logp in zip(values.values(), prior, strict=True)}
        for candidate, logp in zip(group, logps, strict=True):
            score = logp - before[id(candidate)]
            if score > scores.get(id(candidate), float("-inf")):
                scores[id(candidate)], chosen[id(candidate)] = score, candidate
    best = max(scores, key=lambda key: scores[key])
    score = scores[best]
    if score < MIN_READING_SCORE:
        why = f"no value in the passages fits (best score {score:.1f} < {MIN_READING_SCORE:.1f})"
        return None, score, why
    count = f"of {len(scores)} values in its passages this one fits best"
    return whole_list(chosen[best]), score, f"{count} (score {score:.1f})"


def whole_list(candidate: Candidate) -> Candidate:
    """Return a value that is one of a list of common nouns in its passage as the whole list."""
    text = candidate.text.strip()
    if not text[:1].islower():
        return candidate
    for match in _LIST.finditer(candidate.context):
        place = match.group().find(text)
        if place >= 0 and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", match.group()):
            return replace(candidate, text=match.group())
    return candidate
