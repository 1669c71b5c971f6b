"""Choose the value in passages that answers a question, by reading comprehension.

The SLM reads a passage and the question, and then the beginning of the statement that answers it.
For a value v of the passage,

    score(v) = log p(v and a full stop | passage, question, "Marie Curie was born in")
             - PRIOR_WEIGHT log p(v | passage, "What do you know about Marie Curie?", "... is"),

in nats. The second term measures how likely the SLM is to copy this value from this passage for any
question. Two rules of reading change the score: a word of the question shortly before a value
raises it ("born ... in Warsaw"), and values later in a passage lose some. Values of a kind that the
question excludes, and parts of the subject's own name, are left out. If the question asks for a
common noun ("What is X's occupation?"), nouns without a mark are candidates, too. If the chosen one
is part of a list ("an actor, writer and film director"), the whole list is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lacy._text import normalized_words
from lacy.cascade.backend import Backend
from lacy.cascade.questions import Question
from lacy.cascade.relations import fits, value_kind
from lacy.cascade.verbs import PREPOSITIONS
from lacy.types import Candidate

MAX_PASSAGES = 3
"""Maximum number of passages that are read."""

MIN_READING_SCORE = -1.5
"""Minimum score of a value in nats; without one, the passages count as lacking the answer."""

PRIOR_WEIGHT = 0.5
"""Weight of the second term; 1 would favour rare values (see ``benchmarks/questions.py``)."""

CUE_BONUS = 3.0
"""Added in nats if a word of the question stands directly before a value; less if farther away."""

CUE_WORDS = 12
"""Number of words before a value in which such a word counts."""

POSITION_COST = 0.01
"""Subtracted in nats for each character of the passage before a value."""

FARTHEST = 200
"""Number of characters after which the penalty for a value's position stops growing."""

MAX_NOUNS = 6
"""Maximum number of unmarked lists of nouns of a passage that are candidates."""

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
_NOUNS = re.compile(
    rf"\b(?:a|an|the|as|is|was)\s+(?:(?-i:[A-Z])[\w.-]*\s+(?:and\s+)?)*(?P<list>{_LIST.pattern})"
)
_SENTENCE_END = re.compile(r"[.!?;]\s")
_QUANTITIES = frozenset(
    "date year day month time birthday number population age height area length size duration"
    " elevation many much weight".split()
)
_ASKING = frozenset(
    "the is was are were did does do what which who whom whose when where how city country".split()
)


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
    by_passage = _by_passage(question, subject, candidates)
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
            score = logp - PRIOR_WEIGHT * before[id(candidate)] + _cue(question, candidate)
            if score > scores.get(id(candidate), float("-inf")):
                scores[id(candidate)], chosen[id(candidate)] = score, candidate
    best = max(scores, key=lambda key: scores[key])
    score = scores[best]
    if score < MIN_READING_SCORE:
        why = f"no value in the passages fits (best score {score:.1f} < {MIN_READING_SCORE:.1f})"
        return None, score, why
    count = f"of {len(scores)} values in its passages this one fits best"
    return whole_list(chosen[best]), score, f"{count} (score {score:.1f})"


def _by_passage(
    question: Question, subject: str, candidates: Sequence[Candidate]
) -> dict[str, dict[str, Candidate]]:
    """Return the candidates that can answer the question by passage and text."""
    own_name = set(normalized_words(f"{subject} {question.name}"))
    noun = not question.expects and not _QUANTITIES & set(normalized_words(question.text))
    by_passage: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:
        text = candidate.text.strip()
        if not fits(question, [text]) or own_name & set(normalized_words(text)):
            continue
        if noun and (value_kind(text) != "name" or not re.search(r"[^\W\d_]{3}", text)):
            continue
        if len(by_passage) < MAX_PASSAGES or candidate.context in by_passage:
            by_passage.setdefault(candidate.context, {}).setdefault(text, candidate)
    for candidate in {c.context: c for c in reversed(candidates)}.values() if noun else ():
        if len(by_passage) < MAX_PASSAGES or candidate.context in by_passage:
            values = by_passage.setdefault(candidate.context, {})
            for match in list(_NOUNS.finditer(candidate.context))[:MAX_NOUNS]:
                listed = match["list"]
                if any(word in listed for word in values):
                    continue
                where = candidate.evidence.partition(", characters ")[0]
                values[listed] = replace(candidate, text=listed, evidence=f"{where}: {listed}")
    return {passage: values for passage, values in by_passage.items() if values}


def _cue(question: Question, candidate: Candidate) -> float:
    """Return the bonus in nats for words of the question shortly before a value."""
    asked = {
        word[:4]
        for word in normalized_words(question.text.replace(candidate.subject, " "))
        if len(word) > 3 and word not in _ASKING
    }
    text, best = candidate.text.strip(), 0.0
    for match in re.finditer(re.escape(text), candidate.context):
        before = _SENTENCE_END.split(candidate.context[: match.start()])[-1]
        words = list(reversed(normalized_words(before)))[:CUE_WORDS]
        near = (1 - n / CUE_WORDS for n, word in enumerate(words) if word[:4] in asked)
        best = max(best, next(near, 0.0))
    place = min(max(candidate.context.find(text), 0), FARTHEST)
    return CUE_BONUS * best - POSITION_COST * place


def whole_list(candidate: Candidate) -> Candidate:
    """Return the whole list if a value is part of a list of common nouns in its passage."""
    text = candidate.text.strip()
    if not text[:1].islower():
        return candidate
    for match in _LIST.finditer(candidate.context):
        listed = match.group()
        if not re.search(rf"(?<!\w){re.escape(text)}(?!\w)", listed):
            continue
        if re.match(r"\s+(?:of|at|for)\b", candidate.context[match.end() :]):  # "and member of"
            shorter = re.sub(rf"{_JOIN}{_ITEM}\Z", "", listed)
            listed = shorter if text in shorter else listed
        return replace(candidate, text=re.sub(r"\s*,?\s+\w+ing\Z", "", listed) or listed)
    return candidate
