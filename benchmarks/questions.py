"""Measure answers to questions: a real model alone, with a database, edited facts, and documents.

    python benchmarks/questions.py smollm2 --popqa popqa_dev.jsonl.gz --entities entityquestions_dev

PopQA's questions come with the asked value, aliases and paragraphs. The script gives each subject a
database row for the asked fact and up to a dozen other relations; their values (places, dates,
people, schools, works) are drawn from EntityQuestions or invented. Every tenth subject gets a
neighbour with a similar name. Conditions:

- ``alone``: the model without a source;
- ``database``, and ``columns``: the same facts with names as in ``birth_place`` or ``birthPlace``;
- ``edited``: the asked fact is replaced by another question's; only the edited value is right;
- ``missing``: the asked fact is absent; a source that answers anyway answers wrongly;
- ``documents``: an index of all paragraphs of all questions;
- ``relations``: questions of EntityQuestions' 24 relations (and PopQA's templates) over invented
  facts, a few of each, to see relations that were not looked at.

Figures with 95% bootstrap intervals over questions go to ``results/questions.json``, with the
answers themselves (``--answers``).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from lacy.cascade import open_engine
from lacy.evaluate import edited, evaluate_questions, facts_database, read_questions, without_fact
from lacy.evaluate.questions import TestQuestion
from lacy.run import environment
from lacy.sources import Database
from lacy.sources.texts import Documents
from lacy.types import Document

RESULTS = Path(__file__).parent / "results" / "questions.json"

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
    """Give a question's subject the asked fact and about a dozen others, in random order."""
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
    """Write the names of relations as columns are named: ``birth_place`` or ``birthPlace``."""

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model with a <CALL> row, or a raw one")
    parser.add_argument("--popqa", type=Path, required=True)
    parser.add_argument("--entities", type=Path, required=True, help="folder of EntityQuestions")
    parser.add_argument("--policy", default="threshold=0")
    parser.add_argument("--only", nargs="*", help="conditions to measure; all by default")
    parser.add_argument("--limit", type=int, default=0, help="number of PopQA questions; 0 for all")
    parser.add_argument("--each", type=int, default=3, help="questions per relation")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", type=Path, help="also write the answers, as JSON lines")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = open_engine(args.model, policy="never").loaded
    loaded.model.to(getattr(torch, args.dtype))
    rng = random.Random(args.seed)
    values = Values(args.entities, rng)
    raw = read_questions(args.popqa)
    rows = [with_facts(q, q.answers[0], PERSON, values) for q in raw]
    similar = neighbours(rows, values)
    asked = list(range(len(rows)))
    rng.shuffle(asked)
    asked = asked[: args.limit or None]
    data = json.loads(args.out.read_text()) if args.out.is_file() else {"conditions": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def database(name, questions, others=()):
            return Database(facts_database([*questions, *others], folder / f"{name}.sqlite"))

        def documents():
            texts = dict.fromkeys(paragraph for q in raw for paragraph in q.paragraphs)
            listed = [
                Document(str(n), text, {"title": re.sub(r" \(.*\)$", "", title)})
                for n, (title, text) in enumerate(texts)
            ]
            return Documents.build(listed, folder / "index")

        def all_of(questions):
            return [questions[n] for n in asked]

        edits, columns = edited(rows), renamed(rows, rng)
        by_text = {q.text: q for q in edits}
        plans = {
            "alone": lambda: (all_of(rows), None, "never"),
            "database": lambda: (all_of(rows), database("facts", rows, similar), args.policy),
            "columns": lambda: (all_of(columns), database("columns", columns), args.policy),
            "edited": lambda: (
                [by_text[q.text] for q in all_of(rows) if q.text in by_text],
                database("edited", edits, similar), args.policy,
            ),
            "missing": lambda: (
                all_of(rows), database("missing", without_fact(rows), similar), args.policy
            ),
            "documents": lambda: (all_of(raw), documents(), args.policy),
            "relations": lambda: (
                relations := relation_questions(values, args.entities, args.each),
                database("relations", relations), args.policy,
            ),
        }  # fmt: skip
        for name, plan in plans.items():
            if args.only and name not in args.only:
                continue
            questions, source, policy = plan()
            begin = time.time()
            measured = evaluate_questions(loaded, questions, source, policies=[policy])
            [answers] = measured.conditions.values()
            scores = {**answers.scores, **{f"right: {k}": v for k, v in answers.by_group.items()}}
            data["conditions"][name] = {
                "scores": {key: [s.value, s.low, s.high, s.n] for key, s in scores.items()},
                "cpu_seconds": answers.cpu_seconds, "policy": answers.policy,
                "dtype": args.dtype, "seed": args.seed, "model": args.model,
            }  # fmt: skip
            data["environment"] = environment()
            args.out.write_text(json.dumps(data, indent=2) + "\n")
            shown = {key: f"{s.value:.3f} [{s.low:.3f}-{s.high:.3f}]" for key, s in scores.items()}
            print(name, len(questions), f"{time.time() - begin:.0f} s", shown, flush=True)
            if args.answers:
                with args.answers.open("a") as file:
                    for question, answer in zip(questions, answers.answers, strict=True):
                        spans = [[s.text, s.speaker, s.reason] for s in answer.spans[1:]]
                        row = {"condition": name, "question": question.text, "spans": spans}
                        row |= {"accepted": question.answers, "relation": question.relation}
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
