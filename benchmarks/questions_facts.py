"""Facts for the questions of ``questions.py``: values of a dozen relations of each subject.

Values (places, people, schools, works) are drawn from EntityQuestions' answers or invented (dates,
numbers).
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

from lacy.evaluate.questions import TestQuestion

PERSON = (
    "date of birth", "date of death", "place of birth", "place of death", "occupation", "spouse",
    "father", "mother", "child", "educated at", "employer", "residence", "religion", "sport",
    "country of citizenship", "notable work", "award received", "height", "position played",
)  # fmt: skip
WORK = (
    "author", "genre", "publication date", "country of origin", "language", "director", "producer",
    "screenwriter", "composer", "performer", "record label", "publisher", "color", "duration",
    "creator",
)  # fmt: skip
ORGANISATION = (
    "founded by", "owned by", "headquarters location", "inception", "location of formation",
    "country", "industry", "creator", "number of employees", "genre", "record label",
    "manufacturer", "performer",
)  # fmt: skip
PLACE = (
    "country", "located in", "capital", "capital of", "population", "area", "inception",
    "official language", "head of government", "time zone", "continent",
)  # fmt: skip
TEMPLATES = (
    ("Who is the father of {}?", "father", PERSON), ("Who is the mother of {}?", "mother", PERSON),
    ("What is the religion of {}?", "religion", PERSON),
    ("What sport does {} play?", "sport", PERSON), ("What genre is {}?", "genre", WORK),
    ("Who was the producer of {}?", "producer", WORK),
    ("Who was the director of {}?", "director", WORK),
    ("Who was the screenwriter for {}?", "screenwriter", WORK),
    ("Who was the composer of {}?", "composer", WORK), ("What color is {}?", "color", WORK),
    ("Who is the author of {}?", "author", WORK), ("In what country is {}?", "country", PLACE),
    ("What is {} the capital of?", "capital of", PLACE),
    ("What is the capital of {}?", "capital", PLACE),
    ("In what city was {} born?", "place of birth", PERSON),
    ("What is {}'s occupation?", "occupation", PERSON),
)  # fmt: skip
"""PopQA's sixteen templates with their relations."""
ENTITY_RELATIONS = {
    "P17": ("country", PLACE), "P19": ("place of birth", PERSON), "P20": ("place of death", PERSON),
    "P26": ("spouse", PERSON), "P36": ("capital", PLACE), "P40": ("child", PERSON),
    "P50": ("author", WORK), "P69": ("educated at", PERSON), "P106": ("occupation", PERSON),
    "P112": ("founded by", ORGANISATION), "P127": ("owned by", ORGANISATION),
    "P131": ("located in", PLACE), "P136": ("genre", ORGANISATION),
    "P159": ("headquarters location", ORGANISATION), "P170": ("creator", WORK),
    "P175": ("performer", WORK), "P176": ("manufacturer", ORGANISATION),
    "P264": ("record label", ORGANISATION), "P276": ("located in", PLACE),
    "P407": ("language", WORK), "P413": ("position played", PERSON),
    "P495": ("country of origin", WORK),
    "P740": ("location of formation", ORGANISATION), "P800": ("notable work", PERSON),
}  # fmt: skip


class Values:
    """Plausible values of each relation, from EntityQuestions' answers or invented."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.answers = {
            file.name.split(".")[0]: [row["answers"][0] for row in json.loads(file.read_text())]
            for file in sorted(folder.glob("P*.json"))
        }

    def of(self, relation: str) -> str:
        """Return a value of a relation."""
        rng = self.rng
        if relation in ("date of birth", "date of death", "publication date"):
            month = rng.choice(("January", "April", "July", "October"))
            return f"{rng.randint(1, 28)} {month} {rng.randint(1820, 1990)}"
        invented = {
            "inception": lambda: str(rng.randint(1700, 2010)),
            "population": lambda: f"{rng.randint(1, 900)},{rng.randint(100, 999)}",
            "area": lambda: f"{rng.randint(3, 900)} km²",
            "number of employees": lambda: str(rng.randint(20, 9000)),
            "height": lambda: f"{rng.randint(150, 205)} cm",
            "duration": lambda: f"{rng.randint(20, 200)} minutes",
            "time zone": lambda: f"UTC+{rng.randint(1, 9)}",
            "religion": lambda: rng.choice(("Catholicism", "Islam", "Judaism", "Buddhism")),
            "sport": lambda: rng.choice(("basketball", "tennis", "rowing", "ice hockey")),
            "color": lambda: rng.choice(("blue", "red", "green", "yellow")),
            "continent": lambda: rng.choice(("Europe", "Asia", "Africa")),
            "industry": lambda: rng.choice(("software", "mining", "retail", "banking")),
            "award received": lambda: rng.choice(("Order of Merit", "Guggenheim Fellowship")),
            "position played": lambda: rng.choice(self.answers["P413"]),
        }
        if relation in invented:
            return invented[relation]()
        same = {
            "residence": "P19", "father": "P26", "mother": "P26", "director": "P50",
            "producer": "P50", "screenwriter": "P50", "composer": "P175", "publisher": "P176",
            "head of government": "P26", "capital of": "P131", "official language": "P407",
            "employer": "P69", "country of citizenship": "P17", "publisher of": "P176",
        }  # fmt: skip
        key = same.get(relation) or next(
            (k for k, (name, _) in ENTITY_RELATIONS.items() if name == relation), "P26"
        )
        return self.rng.choice(self.answers[key])


def with_facts(
    question: TestQuestion, value: str, relations: tuple[str, ...], values: Values
) -> TestQuestion:
    """Return a question with facts of its subject: the asked one and a dozen others, shuffled."""
    others = [name for name in relations if name != question.relation]
    others = values.rng.sample(others, min(len(others), 12))
    facts = [(question.relation, value), *((name, values.of(name)) for name in others)]
    values.rng.shuffle(facts)
    return replace(question, facts=tuple(facts))


def neighbours(questions: list[TestQuestion], values: Values) -> list[TestQuestion]:
    """Return people with similar names, for every tenth subject; they are in the database too."""
    found = []
    for question in questions[::10]:
        name = f"{question.subject} {values.rng.choice(('Jr.', 'Smith', 'II', 'Foundation'))}"
        facts = tuple((relation, values.of(relation)) for relation in PERSON[:8])
        found.append(replace(question, subject=name, facts=facts))
    return found


def renamed(questions: list[TestQuestion], rng: random.Random) -> list[TestQuestion]:
    """Rename relations in the style of database columns: ``birth_place`` or ``birthPlace``."""

    def column(name: str, camel: bool) -> str:
        words = re.sub(r"^(place|date|country) of (\w+)$", r"\2 \1", name).split()
        if not camel:
            return "_".join(words)
        return words[0] + "".join(word.capitalize() for word in words[1:])

    found = []
    for question in questions:
        camel = rng.random() < 0.5
        facts = tuple((column(name, camel), value) for name, value in question.facts)
        found.append(replace(question, facts=facts, relation=column(question.relation, camel)))
    return found


def relation_questions(values: Values, folder: Path, each: int) -> list[TestQuestion]:
    """Return questions of PopQA's and EntityQuestions' relations with facts."""
    rng, found = values.rng, []
    rows = {
        file.name.split(".")[0]: json.loads(file.read_text()) for file in sorted(folder.glob("P*"))
    }
    names = {id(PERSON): "P19", id(WORK): "P50", id(ORGANISATION): "P112", id(PLACE): "P17"}
    templates = json.loads((folder.parent / "relation_query_templates.json").read_text())

    def subject_of(key: str, text: str) -> str:
        before, after = templates[key].split("[X]")
        return text.removeprefix(before).removesuffix(after)

    for template, relation, relations in TEMPLATES:
        key = names[id(relations)]
        for row in rng.sample(rows[key], each):
            subject, value = subject_of(key, row["question"]), values.of(relation)
            question = TestQuestion(template.format(subject), (value,), subject, relation)
            found.append(with_facts(question, value, relations, values))
    for key, (relation, relations) in ENTITY_RELATIONS.items():
        for row in rng.sample(rows[key], each):
            subject = subject_of(key, row["question"])
            question = TestQuestion(row["question"], tuple(row["answers"]), subject, relation)
            found.append(with_facts(question, row["answers"][0], relations, values))
    return found
