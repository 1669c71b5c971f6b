"""Find which of a database's relations a question asks for.

The SLM does not know the fact, but it knows English: after "In what city was George Rankin born?
The question asks for the", it expects "place of birth" rather than "employer". For a relation r
and a subject s,

    score(r) = log p(r "of" s | question) - log p(r "of" s | questions that ask nothing particular),

in nats. The second term removes how common the words are. The score is averaged with that of a
second prompt, in which a placeholder replaces the name; this removes much of what the model expects
for a famous name. The SLM does not see the values, so a changed fact is used like any other. Two
rules of grammar are added: a noun that the question asks for ("What sport does ...") favours the
relation of that name, and a relation that ends in a preposition ("capital of") is compared with the
end of the question. Relations with values of a kind that the question's first words exclude (a date
for "Where ...") are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lacy.cascade.backend import Backend
from lacy.cascade.questions import Question
from lacy.cascade.verbs import PREPOSITIONS
from lacy.sources import relation_words

MIN_RELATION_SCORE = 4.0
"""Minimum score of a relation in nats; without one, the source counts as lacking the answer."""

BONUS = 3.0
"""Nats that are added if grammar favours a relation, and subtracted if it excludes one."""

KnownLogps = dict[tuple[str, str], float]
"""Log-likelihoods of one model by text and continuation."""

MAX_KNOWN = 20_000
"""Maximum number of log-likelihoods that are kept."""

STAND_IN = "X"
"""Placeholder for the subject's name in a second prompt, which counts half as much: for a famous
name, a model expects certain relations whatever the question."""

_FAMILIES = tuple(
    frozenset(words.split())
    for words in (
        "birth born birthplace native", "spouse married marry husband wife partner",
        "child children son daughter kids offspring", "author writer wrote written write",
        "director directed directs", "composer composed music wrote written", "producer produced",
        "screenwriter screenplay script wrote written", "performer performed sang singer",
        "publisher published publishes", "label released",
        "creator created invented inventor made makes",
        "manufacturer manufactured produced makes made maker builds", "owner owned owns belongs",
        "founder founded created", "inception established founded started founding opened created",
        "formation founded formed created", "headquarters headquarter headquartered based",
        "executive ceo runs leads head boss", "government governs head runs mayor leader",
        "death died die dies dead deceased", "burial buried", "height tall high",
        "duration long length", "population people inhabitants live many", "area large big size",
        "elevation high altitude height",
        "school university college educated education studied attended attend alma",
        "employer employed works employs", "religion faith denomination belief",
        "citizenship nationality citizen country nation", "residence lives live resides resided",
        "publication published released release", "genre style music",
        "language languages spoken speak written", "award awards prize won", "position plays",
        "notable famous known", "father dad", "mother mum mom",
        "brother brothers sister sisters sibling siblings", "country nation", "capital",
        "sport sports", "occupation profession job career", "currency money",
        "instrument instruments", "color colour",
    )
)  # fmt: skip
"""Groups of words that ask for the same relation. If one is in the question and one in the
relation's name, this counts like a rule of grammar, because the SLM often confuses related
relations. A relation with words of other groups only is not what the question asks for."""

_PLACES = frozenset("place location country city town residence continent headquarters".split())
_TIMES = frozenset("date year time day".split())
_TYPES = _PLACES | _TIMES
"""Nouns that say what kind of value is asked for, not which relation."""
_NEUTRAL = ("What do you know about {}?", "Tell me about {}.")
_PROMPT = "Question: {}\nThe question asks for the"
_DATE = re.compile(
    r"\b\d{4}s?\b(?!,)|\bcentury\b|\b(?:BCE?|CE|AD)\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}",
    re.IGNORECASE,
)
_NOUN_KIND = re.compile(r"\A(?:type|kind|sort|style) of ")
_AGENT = re.compile(r"(?:[eo]r|by)\Z")
"""A relation with people as values: "creator", "founded by"."""
_NUMBER = re.compile(
    r"[~≈<>+−-]?\s*[$£€¥]?\d|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundreds?|thousands?|dozens?)\b(?! (?-i:[A-Z]))",
    re.IGNORECASE,
)


def related_words(words: Sequence[str]) -> set[str]:
    """Return words and those that ask for the same relation ("married" for "spouse")."""
    return set(words).union(*(family for family in _FAMILIES if family & set(words)))


def value_kind(value: str) -> str:
    """Return whether a value reads as a ``date``, a ``number`` or a ``name``."""
    if _DATE.search(value) and len(re.findall(r"[^\W\d_]{3,}", value)) <= 3:
        return "date"
    return "number" if _NUMBER.match(value.strip()) else "name"


def fits(question: Question, values: Sequence[str]) -> bool:
    """True if at least one value fits the kind that the question's first words ask for."""
    kinds = {value_kind(value) for value in values}
    if question.expects == "number":
        return bool(kinds & {"number", "date"})  # "1850" may be a number of people
    return not question.expects or question.expects in kinds


async def relation_scores(
    backend: Backend,
    question: Question,
    subject: str,
    values: Mapping[str, Sequence[str]],
    known: KnownLogps,
) -> dict[str, float]:
    """Return the score in nats of each relation whose values fit the question.

    Args:
        backend: computes with the SLM.
        question: the question.
        subject: its subject, as the question spells it.
        values: the values of each relation; empty for a relation that the subject does not have.
        known: log-likelihoods of the same model by text and continuation; new ones are added. Those
    with the placeholder are reused for every question of the same form.
    """
    names = [name for name, listed in values.items() if not listed or fits(question, listed)]
    names = [name for name in names if not _names_other_kind(question, name)]
    names = [name for name in names if asks_for(question, subject, name) is not False]
    if not names:
        return {}
    relations = [relation_words(name) for name in names]
    pairs: list[list[tuple[str, str]]] = []
    for about in (subject, STAND_IN):
        text = question.text.replace(subject, about)
        for asked in (text, *(neutral.format(about) for neutral in _NEUTRAL)):
            pairs.append([(_PROMPT.format(asked), f" {r} of {about}") for r in relations])
    logps = await _logps(backend, pairs, known)
    own, stand_in = logps[: len(pairs) // 2], logps[len(pairs) // 2 :]
    scores = {}
    for n, (name, relation) in enumerate(zip(names, relations, strict=True)):
        gains = [
            asked[n] - sum(row[n] for row in rest) / len(rest) for asked, *rest in (own, stand_in)
        ]
        scores[name] = (2 * gains[0] + gains[1]) / 3 + _grammar(question, subject, relation)
    return scores


def asks_for(question: Question, subject: str, name: str) -> bool | None:
    """Return whether a question's words name a relation; None if they do not tell.

    Args:
        question: the question.
        subject: its subject, whose words do not count.
        name: the relation's name.
    """
    words = relation_words(name).split()
    if set(re.findall(r"\d+", name)) - set(re.findall(r"\d+", question.text)):
        return False  # "president taking office in 2000" for "Who took office in 2008?"
    content = [word for word in words if word not in PREPOSITIONS]
    text = question.text.replace(subject, " ").casefold()
    asked, whole = set(re.findall(r"[^\W_]+", text)), question.text.casefold()
    noun = _NOUN_KIND.sub("", question.noun).split()[-1:]
    if question.asks_occupation:  # "What does Ada do?"
        asked, noun = {"occupation"}, []
    if words[-1:] and words[-1] in PREPOSITIONS:  # "capital of": not "the capital of France"
        if re.search(
            rf"\b{re.escape(' '.join(words))}\s+(?:the\s+)?{re.escape(subject.casefold())}", whole
        ):
            return False
    elif re.search(rf"\b{re.escape(' '.join(words))}\s+(?:{'|'.join(PREPOSITIONS)})\W*\Z", whole):
        return False
    if set(_stems(content)) & set(_stems(noun or sorted(asked))):
        return True
    own = [family for family in _FAMILIES if family & set(content)]
    families = [family for family in _FAMILIES if family & set(noun)]
    if noun and noun[0] in _PLACES:  # "In which country was Ada born?"
        families += [family for family in _FAMILIES if family & asked]
        if not _PLACES & set(words):
            excluded = own and not any(family in families for family in own)
            return False if excluded or _AGENT.search(relation_words(name)) else None
    families = families or [family for family in _FAMILIES if family & asked]
    if not own or not families:
        return None
    return any(family in families for family in own)


def names_whole(question: Question, subject: str, name: str) -> bool:
    """True if a question contains all words of a relation's name, except prepositions.

    A name that only says what kind of value is asked for ("country", "year") does not count.
    """
    content = [word for word in relation_words(name).split() if word not in PREPOSITIONS]
    asked = re.findall(r"[^\W_]+", question.text.replace(subject, " ").casefold())
    own = set(_stems(content))
    return bool(own - _TYPES) and own <= set(_stems(asked))


def shared_words(question: Question, name: str) -> int:
    """Return how many words of a relation's name a question contains."""
    asked = re.findall(r"[^\W_]+", question.text.casefold())
    return len(set(_stems(relation_words(name).split())) & set(_stems(asked)))


async def _logps(
    backend: Backend,
    pairs: Sequence[Sequence[tuple[str, str]]],
    known: KnownLogps,
) -> list[list[float]]:
    """Return the log-likelihoods of pairs (text, continuation), one request per distinct text."""
    if len(known) > MAX_KNOWN:
        known.clear()
    new = [[pair for pair in group if pair not in known] for group in pairs]
    new = [group for group in new if group]
    if new:
        texts = [group[0][0] for group in new]
        found = await backend.score_texts(texts, [[c for _, c in group] for group in new])
        for group, logps in zip(new, found, strict=True):
            known.update(zip(group, logps, strict=True))
    return [[known[pair] for pair in group] for group in pairs]


def _names_other_kind(question: Question, name: str) -> bool:
    """True if a relation's name says that its values are of a kind that the question excludes."""
    words = set(relation_words(name).split())
    asks_for_person = re.match(r"(?:\w+ )?(?:who|whom|whose)\b", question.text, re.IGNORECASE)
    return (
        bool(asks_for_person and words & _PLACES)
        or bool(question.expects == "name" and words & _TIMES)
        or (question.asks_place and "by" in words)
    )


def _grammar(question: Question, subject: str, relation: str) -> float:
    """Return the bonus or penalty in nats of a relation by the question's grammar."""
    words, noun = relation.split(), _NOUN_KIND.sub("", question.noun).split()
    text = question.text.replace(subject, " ").casefold()
    asked = re.findall(r"[^\W_]+", text)
    score = BONUS if any(f & set(asked) and f & set(words) for f in _FAMILIES) else 0.0
    content = [word for word in words if word not in PREPOSITIONS]
    if noun and _stems(words) == _stems(noun):
        return score + 2 * BONUS
    if names_whole(question, subject, relation):  # "leader after Ann Bell"
        return score + 2 * BONUS
    if noun and noun[-1] in _TYPES and (own := set(_stems(content)) - _TYPES):
        # "In what year was it sold?": "sold in" fits, "year created" has only the word year.
        return max(score, BONUS) if own & set(_stems(asked)) else score
    if noun == question.noun.split() and set(_stems(content)) & set(_stems(noun)):
        return score + BONUS
    if not noun and set(_stems(content)) & set(_stems(asked)):
        score = BONUS
    if len(words) < 2 or words[-1] not in PREPOSITIONS:
        return score
    asked = re.findall(r"[^\W_]+", question.text.casefold())
    if asked and asked[-1] == words[-1]:  # "... founded by?"
        return score + ((0.0 if noun else BONUS) if asked[-len(words) :] == words else -BONUS)
    before = rf"\b{re.escape(relation)}\s+(?:the\s+)?{re.escape(subject.casefold())}"
    return score - (BONUS if re.search(before, question.text.casefold()) else 0.0)


def _stems(words: Sequence[str]) -> list[str]:
    return [word.casefold().removesuffix("s").replace("colour", "color") for word in words]
