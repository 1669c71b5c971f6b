"""Choose the value in passages that answers a question, by reading comprehension.

The SLM reads a passage and the question, and then the beginning of the statement that answers it.
For a value v of the passage,

    score(v) = log p(v and a full stop | passage, question, "Marie Curie was born in")
             - PRIOR_WEIGHT log p(v | passage, "What do you know about Marie Curie?", "... is"),

in nats. The second term measures how likely the SLM is to copy this value from this passage for any
question. Rules of reading change the score: a word of the question or a related one shortly before
a value raises it ("born ... in Warsaw"), values later in a passage lose some, and for "Where ...?"
a preposition before a value raises it. Values of a kind that the question excludes, and parts of
the subject's own name, are left out. Places after prepositions and, if the question asks for a
common noun ("What is X's religion?"), nouns are candidates even if they are not marked. The answer
is then the place with its regions ("Vinga, Arad County") or the whole list of nouns.

The passage is read with its life dates in words, and "What is X's occupation?" is answered from the
passage's definition without the SLM (``biography``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lacy._text import normalized_words
from lacy.cascade.backend import Backend
from lacy.cascade.biography import places_in, spelled_out
from lacy.cascade.questions import Question
from lacy.cascade.relations import fits, related_words, value_kind
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

MAX_PLACES = 8
"""Maximum number of unmarked places of a passage that are candidates."""

PLACE_BONUS = 1.5
"""Added in nats to a value after a preposition such as "in" if the question asks for a place."""

_PLACE_BEFORE = re.compile(r"\b(?:in|at|near|from|of)\s+(?:the\s+)?\Z")
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
    chosen: dict[int, tuple[Candidate, int]] = {}
    for group, logps, values, prior in zip(
        owners, found, by_passage.values(), found[len(texts) :], strict=False
    ):
        before = {id(c): logp for c, logp in zip(values.values(), prior, strict=True)}
        cues = {id(c): _cue(question, c) for c in values.values()}
        for candidate, logp in zip(group, logps, strict=True):
            bonus, at = cues[id(candidate)]
            score = logp - PRIOR_WEIGHT * before[id(candidate)] + bonus
            if score > scores.get(id(candidate), float("-inf")):
                scores[id(candidate)], chosen[id(candidate)] = score, (candidate, at)
    best = max(scores, key=lambda key: scores[key])
    score = scores[best]
    if score < MIN_READING_SCORE:
        why = f"no value in the passages fits (best score {score:.1f} < {MIN_READING_SCORE:.1f})"
        return None, score, why
    count = f"of {len(scores)} values in its passages this one fits best"
    return _whole(question, *chosen[best]), score, f"{count} (score {score:.1f})"


def firsts_by_passage(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the first candidate of each passage."""
    found: dict[str, Candidate] = {}
    for candidate in candidates:
        found.setdefault(candidate.context, candidate)
    return list(found.values())


def _by_passage(
    question: Question, subject: str, candidates: Sequence[Candidate]
) -> dict[str, dict[str, Candidate]]:
    """Return the candidates that can answer the question by passage and text."""
    own_name = set(normalized_words(f"{subject} {question.name}"))
    noun = not question.expects and not _QUANTITIES & set(normalized_words(question.text))
    by_passage: dict[str, dict[str, Candidate]] = {}
    candidates = [replace(c, context=spelled_out(c.context)) for c in candidates]
    for candidate in candidates:
        text = candidate.text.strip()
        if not fits(question, [text]) or own_name & set(normalized_words(text)):
            continue
        if noun and (value_kind(text) != "name" or not re.search(r"[^\W\d_]{3}", text)):
            continue
        if len(by_passage) < MAX_PASSAGES or candidate.context in by_passage:
            by_passage.setdefault(candidate.context, {}).setdefault(text, candidate)
    for candidate in firsts_by_passage(candidates):
        if not (noun or question.asks_place):
            break
        if len(by_passage) < MAX_PASSAGES or candidate.context in by_passage:
            values = by_passage.setdefault(candidate.context, {})
            where = candidate.evidence.partition(", characters ")[0]
            found = _unmarked_nouns(candidate.context) if noun else []
            if question.asks_place:
                found = _unmarked_places(candidate.context, values, own_name)
            for text in found:
                if not noun or not any(word in text for word in values):
                    values[text] = replace(candidate, text=text, evidence=f"{where}: {text}")
    return {passage: values for passage, values in by_passage.items() if values}


def _unmarked_nouns(passage: str) -> list[str]:
    """Return lists of common nouns in a passage, such as "an actor and writer"."""
    return [match["list"] for match in list(_NOUNS.finditer(passage))[:MAX_NOUNS]]


def _unmarked_places(passage: str, values: dict[str, Candidate], own_name: set[str]) -> list[str]:
    """Return places of a passage that are not marked, without the regions after them.

    Values that only occur as such a region ("Peru" in "Lima, Peru") are removed from ``values``.
    """
    places = places_in(passage)
    for text in list(values):
        regions = sum(place.split(", ").count(text) for _, place in places)
        heads = sum(place.split(", ")[0] == text for _, place in places)
        if regions > heads and _count(passage, text) <= regions - heads:
            del values[text]
    heads_only = dict.fromkeys(place.split(", ")[0] for _, place in places)
    found = [h for h in heads_only if h not in values and not own_name & set(normalized_words(h))]
    return found[:MAX_PLACES]


def _count(passage: str, text: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(text)}(?!\w)", passage))


def _cue(question: Question, candidate: Candidate) -> tuple[float, int]:
    """Return the bonus in nats for what stands before a value, and where this is in its passage.

    The best of its occurrences counts: a word of the question or a related one ("married" for
    "spouse") shortly before it, and the distance from the beginning of the passage.
    """
    asked = {
        word[:4]
        for word in related_words(normalized_words(question.text.replace(candidate.subject, " ")))
        if len(word) > 2 and word not in _ASKING
    }
    text, passage = candidate.text.strip(), candidate.context
    best = (-POSITION_COST * FARTHEST, passage.find(text))
    for match in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", passage):
        before = _SENTENCE_END.split(passage[: match.start()])[-1]
        words = list(reversed(normalized_words(before)))[:CUE_WORDS]
        near = (1 - n / CUE_WORDS for n, word in enumerate(words) if word[:4] in asked)
        score = CUE_BONUS * next(near, 0.0) - POSITION_COST * min(match.start(), FARTHEST)
        if question.asks_place and _PLACE_BEFORE.search(before):
            score += PLACE_BONUS
        best = max(best, (score, match.start()))
    return best


def _whole(question: Question, candidate: Candidate, at: int) -> Candidate:
    """Return a place with the regions that contain it, or the whole list of common nouns.

    Args:
        question: the question; if it asks for a country, only the last region is returned.
        candidate: the chosen value.
        at: where it stands in its passage.
    """
    if not question.asks_place:
        return whole_list(candidate)
    place = next((place for start, place in places_in(candidate.context) if start == at), "")
    if not place:
        return candidate
    return replace(candidate, text=place.split(", ")[-1] if "country" in question.noun else place)


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
