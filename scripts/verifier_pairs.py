"""Pairs of statements and pages for ``train_verifier.py``, made from articles without people.

A statement that an article makes is supported; the same with a name, number or date swapped for
another one of the article or of another article is not, nor is what another article says of its own
subject. LMLM's triples (entity, relation, value) become short statements in words that the article
does not use. Some pairs are wrong by chance; the network is trained on people's labels afterwards.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

MAX_WORDS = 900
"""Words of an article that are read."""
PER_PAGE = 9
"""Statements of one page at most, for triples."""
SENTENCES = 8
"""Sentences of an article that become statements."""

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = re.compile(rf"(?:\d{{1,2}} {_MONTH},? \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}})")
YEAR = re.compile(r"\b(?:1[5-9]\d\d|20[0-2]\d)\b")
NUMBER = re.compile(r"\b\d{1,3}(?:,\d{3})*\b")
NAME = re.compile(
    r"\b[A-Z][\w'’.-]*(?: (?:of|de|the|von|van|and) (?=[A-Z])| (?=[A-Z]))?"
    r"(?:[A-Z][\w'’-]*(?: (?=[A-Z]))?)*"
)
DETAILS = {"date": DATE, "year": YEAR, "number": NUMBER, "name": NAME}
NO_NAMES = frozenset(["The", "She", "His", "Her", "They", "After", "This", "When"])
SENTENCE = re.compile(r'(?<=[a-z0-9)"][.!?])\s+(?=[A-Z"])')
LOOKUP = re.compile(r"\[dblookup\('((?:[^'\\]|\\.|'(?!, ))*)', '(.*?)'\) -> (.*?)\]")
VERB = (
    r"(?:was|is|has|had|became|won|received|served|played|joined|worked|studied|married|moved|died)"
    r"\b"
)
CLAUSE = re.compile(rf", (?:and |but |who |which |where )|; | and (?={VERB})")
SUBJECT = re.compile(r"((?:He|She|They|It|[A-Z][\w.'-]+(?: [A-Z][\w.'-]+)*))\b")
LEAD = re.compile(
    rf"^(?P<name>[^(]{{3,60}}) \((?:[^()]*?)(?:born )?(?P<born>{DATE.pattern})"
    rf"(?: in (?P<place>[A-Z][\w .,'-]+?))?(?:\s*[–-]\s*(?P<died>{DATE.pattern}))?[^()]*\) "
    r"(?:is|was) (?:an? |the )?(?P<is>[^.;,]{4,80})"
)
"""The first words of a biography: "Name (1 May 1900 in Place – 2 June 1980) was a ..."."""
NATIONALITY = re.compile(r"^((?:former |retired )?(?:[A-Z][\w-]+ )+)(.*)")

TEMPLATES = {
    "birth date": "{e} was born on {v}.", "birth year": "{e} was born in {v}.",
    "death date": "{e} died on {v}.", "death year": "{e} died in {v}.",
    "birth place": "{e} was born in {v}.", "birthplace": "{e} was born in {v}.",
    "place of birth": "{e} was born in {v}.", "death place": "{e} died in {v}.",
    "place of death": "{e} died in {v}.", "nationality": "{e} is {v}.",
    "occupation": "{e} is a {v}.", "education": "{e} attended {v}.",
    "alma mater": "{e} attended {v}.", "spouse": "{e} was married to {v}.",
    "award": "{e} received {v}.", "father": "{e}'s father was {v}.",
    "mother": "{e}'s mother was {v}.", "location": "{e} is located in {v}.",
    "genre": "{e} is in the genre {v}.", "director": "{e} was directed by {v}.",
    "starring": "{e} stars {v}.", "release year": "{e} was released in {v}.",
    "release date": "{e} was released on {v}.", "position": "{e} was {v}.",
    "team": "{e} played for {v}.", "residence": "{e} lives in {v}.",
    "known for": "{e} is known for {v}.",
}  # fmt: skip
"""Statements for frequent relations of LMLM's triples."""
ANY_RELATION = (
    "{e}'s {r} is {v}.",
    "The {r} of {e} was {v}.",
    "{e} has the {r} {v}.",
)

Fact = tuple[str, bool]
"""A statement, and whether its page supports it."""


class Pairs(NamedTuple):
    """Statements about one page."""

    topic: str
    text: str
    facts: list[Fact]


class _Article(NamedTuple):
    title: str
    text: str
    sentences: list[str]
    details: dict[str, list[str]]
    lead: re.Match[str] | None


# ------------------------------------------------------------------------------------- triples


def triple_pairs(paths: Iterable[Path], rng: random.Random) -> list[Pairs]:
    """Make statements from documents with LMLM's look-ups."""
    documents = []
    by_relation, by_kind = defaultdict(list), defaultdict(list)
    for path in paths:
        for example in json.loads(path.read_text(encoding="utf-8"))["examples"]:
            text = example["text"]
            found = [
                (match[1].replace("_", " "), match[2].lower(), match[3].strip())
                for match in LOOKUP.finditer(example["annotated_text"])
            ]
            triples = [t for t in dict.fromkeys(found) if t[2] and len(t[2]) < 60]
            triples = [t for t in triples if t[2].lower() in text.lower()]
            if triples:
                documents.append((text, triples))
            for _, relation, value in triples:
                by_relation[relation].append(value)
                by_kind[_kind(value)].append(value)
    return [_of_document(text, ts, by_relation, by_kind, rng) for text, ts in documents]


def _of_document(text, triples, by_relation, by_kind, rng: random.Random) -> Pairs:
    topic = Counter(entity for entity, _, _ in triples).most_common(1)[0][0]
    facts: list[Fact] = []
    for entity, relation, value in triples:
        facts.append((_statement(entity, relation, value, rng), True))
        same = [v for _, _, v in triples if v != value and _kind(v) == _kind(value)]
        pool = by_relation[relation] if len(by_relation[relation]) > 5 else by_kind[_kind(value)]
        for _ in range(rng.choice((0, 1, 1, 2))):
            inside = same and rng.random() < (0.15 if _kind(value) == "text" else 0.5)
            other = rng.choice(same if inside else pool)
            if other.lower() != value.lower() and (inside or other.lower() not in text.lower()):
                facts.append((_statement(entity, relation, other, rng), False))
    return Pairs(topic, text, rng.sample(facts, min(len(facts), PER_PAGE)))


def _statement(entity: str, relation: str, value: str, rng: random.Random) -> str:
    template = TEMPLATES.get(relation)
    if template is None or rng.random() > 0.8:
        template = rng.choice(ANY_RELATION)
    return template.format(e=entity, r=relation, v=value)


def _kind(value: str) -> str:
    if DATE.fullmatch(value):
        return "date"
    if YEAR.fullmatch(value):
        return "year"
    return "number" if re.fullmatch(r"[\d,.]+( \w+)?", value) else "text"


# ------------------------------------------------------------------------------------ articles


def read_articles(paths: Iterable[Path], limit: int, exclude: set[str]) -> list[tuple[str, str]]:
    """Read titles and texts of JSON lines; where articles say so, only biographies."""
    found = []
    for path in paths:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                words = record["text"].split(" ")
                long = len(record["text"].split()) >= 80
                if long and record.get("is_biography", True) and record["title"] not in exclude:
                    found.append((record["title"], " ".join(words[:MAX_WORDS])))
                if len(found) == limit:
                    return found
    return found


def article_pairs(articles: Sequence[tuple[str, str]], rng: random.Random) -> list[Pairs]:
    """Make statements from the sentences of articles."""
    read = [_read(title, text) for title, text in articles]
    pool = defaultdict(list, {name: ["1900"] for name in DETAILS})
    elsewhere = []
    for one in read:
        for name, values in one.details.items():
            pool[name] += values[:8]
        firsts = [clauses(sentence)[:1] for sentence in one.sentences[1:4]]
        elsewhere += [c for cs in firsts for c in cs if re.match(r"(?:He|She|His|Her)\b", c)]
    leads = [one.lead for one in read if one.lead]
    found = []
    for one in read:
        if len(one.sentences) < 3:
            continue
        name = re.sub(r" \(.*", "", one.title)
        facts = _of_lead(one, name, leads, rng) if one.lead else []
        facts = rng.sample(facts, min(len(facts), 6))
        facts += _of_sentences(one, name, pool, rng)
        for clause in rng.sample(elsewhere, min(2, len(elsewhere))):
            stated = re.sub(r"^(He|She)\b", name, clause)
            facts.append((re.sub(r"^(His|Her)\b", f"{name}'s", stated), False))
        found.append(Pairs(name, one.text, facts))
    return found


def _read(title: str, text: str) -> _Article:
    sentences = [
        sentence
        for line in text.split("\n")
        for sentence in SENTENCE.split(line)
        if 5 <= len(sentence.split()) <= 45 and sentence.rstrip().endswith(".")
    ]
    body = " ".join(sentences)
    details = {}
    for name, pattern in DETAILS.items():
        values = [match[0].strip(" .") for match in pattern.finditer(body)]
        if name == "name":
            values = [v for v in values if len(v) > 2 and v not in NO_NAMES]
        details[name] = list(dict.fromkeys(values))
    return _Article(title, text, sentences, details, LEAD.match(text))


def clauses(sentence: str) -> list[str]:
    """Return short statements of a sentence: the whole of it, its beginning, its further verbs."""
    sentence = sentence.strip()
    found = [sentence] if len(sentence.split()) <= 16 else []
    subject = SUBJECT.match(sentence)
    for number, part in enumerate(CLAUSE.split(sentence)):
        part = part.strip(" .")
        if number:
            if not subject or not re.match(VERB, part):
                continue
            part = f"{subject[1]} {part}"
        if 4 <= len(part.split()) <= 18:
            found.append(f"{part}.")
    return list(dict.fromkeys(found))


def swapped(clause: str, details, pool, rng: random.Random) -> str | None:
    """Return a clause with one detail changed, or None if it has none."""
    places = []
    for name, pattern in DETAILS.items():
        for match in pattern.finditer(clause):
            end = match.end() - (len(match[0]) - len(match[0].rstrip(" .")))
            year = name == "number" and YEAR.fullmatch(match[0])
            if not year and not (name == "name" and match.start() == 0):
                places.append((name, match.start(), end))
    if not places:
        return None
    name, start, end = rng.choice(places)
    value = clause[start:end]
    same = [v for v in details[name] if v not in value and value not in v]
    if name == "year" and rng.random() < 0.4:
        other = str(int(value) + rng.choice([-11, -7, -3, -2, -1, 1, 2, 3, 5, 10]))
    else:
        other = rng.choice(same if same and rng.random() < 0.5 else pool[name])
    return None if other == value else clause[:start] + other + clause[end:]


def _of_sentences(one: _Article, name: str, pool, rng: random.Random) -> list[Fact]:
    facts: list[Fact] = []
    for sentence in rng.sample(one.sentences, min(len(one.sentences), SENTENCES)):
        for clause in clauses(sentence)[:2]:
            if rng.random() < 0.6:
                clause = re.sub(r"^(He|She)\b", name, clause)
            if rng.random() < 0.5:
                facts.append((clause, True))
            elif other := swapped(clause, one.details, pool, rng):
                facts.append((other, False))
    return facts


def _of_lead(one: _Article, name: str, leads, rng: random.Random) -> list[Fact]:
    """Make statements of birth, death, nationality and occupation; wrong ones of other people."""
    lead, other = one.lead, rng.choice(leads)
    year = int(lead["born"][-4:])
    wrong_year = year + rng.choice([-9, -4, -2, -1, 1, 2, 3, 8])
    facts = [
        (f"{name} was born on {lead['born']}.", True),
        (f"{name} was born in {year}.", True),
        (f"{name} was born in {wrong_year}.", False),
    ]
    if other["born"] != lead["born"]:
        facts.append((f"{name} was born on {other['born']}.", False))
    if lead["died"]:
        facts.append((f"{name} died on {lead['died']}.", True))
        wrong = lead["born"] if rng.random() < 0.3 else other["born"]
        facts.append((f"{name} died on {wrong}.", False))
    place = lead["place"] or next(
        iter(re.findall(r"born in ([A-Z][\w-]+(?:,? [A-Z][\w-]+)*)", one.text)), None
    )
    if place:
        facts.append((f"{name} was born in {place}.", True))
    places = [one["place"] for one in leads if one["place"]]
    if places and (wrong := rng.choice(places)) not in one.text:
        facts.append((f"{name} was born in {wrong}.", False))
    if match := NATIONALITY.match(lead["is"]):
        facts.append((f"{name} is {match[1].strip()}.", True))
        parts = [p.strip() for p in re.split(r",? and |, ", match[2])[:2]]
        facts += [(f"{name} is a {part}.", True) for part in parts if part]
    if match := NATIONALITY.match(other["is"]):
        if match[1].split()[-1] not in one.text:
            facts.append((f"{name} is {match[1].strip()}.", False))
        if match[2] and match[2].lower() not in one.text.lower():
            facts.append((f"{name} is a {match[2].strip()}.", False))
    return facts
