"""Measure answers to questions: a real model alone, with a database, edited facts, and documents.

    python benchmarks/questions.py smollm2 --popqa popqa_dev.jsonl.gz \
        --entities entityquestions_dev --summaries vital_summaries.jsonl.gz --part test

PopQA's questions come with the asked value, aliases and paragraphs. The script gives each subject a
database row for the asked fact and up to a dozen other relations; their values (places, dates,
people, schools, works) are drawn from EntityQuestions or invented. Every tenth subject gets a
neighbour with a similar name. Conditions:

- ``alone``: the model without a source;
- ``database``, and ``columns``: the same facts with names as in ``birth_place`` or ``birthPlace``;
- ``edited``: the asked fact is replaced by another question's; only the edited value is right;
- ``missing``: the asked fact is absent; a source that answers anyway answers wrongly;
- ``documents``: an index of all paragraphs of all questions; ``stated`` counts the questions whose
  answer stands in the first paragraph, which is about the subject;
- ``summaries``: occupations of famous people from their Wikipedia leads, an index of 1,800; right
  answers are the words of the short description after the nationality;
- ``relations``: questions of EntityQuestions' 24 relations (and PopQA's templates) over invented
  facts, a few of each;
- ``unknown``: the same without the asked relation, for all subjects; no source should answer.

Subjects are split into halves by a hash of their names; rules and weights were made with ``dev``.
Figures with 95% bootstrap intervals over questions go to ``results/questions.json``, all from one
run, with the answers themselves in another file (``--answers``).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lacy.cascade import open_engine
from lacy.disk import write_atomic
from lacy.evaluate import edited, evaluate_questions, facts_database, read_questions, without_fact
from lacy.evaluate.questions import TestQuestion, contains_answer
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


PARTS = ("dev", "test")


def part_of(subject: str) -> str:
    """Return the half that a subject belongs to."""
    return PARTS[int(hashlib.sha256(subject.encode()).hexdigest(), 16) % 2]


def summaries(path: Path) -> tuple[list[TestQuestion], list[Document]]:
    """Return questions for people's occupations, and the leads of all people as documents."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["topic"].startswith("People")]
    found = []
    for row in rows:
        person = re.fullmatch(r"(.*?) \(\d{4}\s*[–-]\s*\d{4}\)", row["description"] or "")
        words = person and re.findall(r"(?<![\w-])[a-z][\w-]*(?: [a-z][\w-]*)*", person[1])
        parts = [p for phrase in words or () for p in re.split(r"\band\b|\bof\b.*", phrase)]
        if accepted := tuple(p.strip() for p in parts if len(p.strip()) > 3):
            text = f"What was {row['title']}'s occupation?"
            found.append(TestQuestion(text, accepted, row["title"], "occupation"))
    texts = [
        Document(str(n), row["extract"], {"title": row["title"]})
        for n, row in enumerate(rows) if row["extract"]
    ]  # fmt: skip
    return found, texts


def paragraphs_of(questions: Sequence[TestQuestion]) -> list[Document]:
    """Return all paragraphs of all questions as documents."""
    texts = dict.fromkeys(paragraph for q in questions for paragraph in q.paragraphs)
    return [
        Document(str(n), text, {"title": re.sub(r" \(.*\)$", "", title)})
        for n, (title, text) in enumerate(texts)
    ]


class Measurement:
    """Asks the questions of each condition, and collects figures and answers.

    Args:
        loaded: the model.
        policy: when it calls.
        folder: for databases and indexes.
        answers: a file for the answers, if wanted.
    """

    def __init__(self, loaded, policy: str, folder: Path, answers: Path | None) -> None:
        self.loaded, self.policy, self.folder, self.answers = loaded, policy, folder, answers
        self.figures: dict[str, dict] = {}
        if answers:
            answers.unlink(missing_ok=True)

    def database(
        self, name: str, questions: Iterable[TestQuestion], others: Iterable[TestQuestion] = ()
    ) -> Database:
        """Return a database of the facts of questions."""
        return Database(facts_database([*questions, *others], self.folder / f"{name}.sqlite"))

    def documents(self, name: str, documents: Sequence[Document]) -> Documents:
        """Return an index of documents."""
        return Documents.build(documents, self.folder / name)

    def measure(self, name: str, questions: Sequence[TestQuestion], source) -> None:
        """Ask questions, print and keep the figures."""
        policy = "never" if source is None else self.policy
        begin = time.time()
        measured = evaluate_questions(self.loaded, questions, source, policies=[policy])
        [found] = measured.conditions.values()
        scores = {**found.scores, **{f"right: {k}": v for k, v in found.by_group.items()}}
        listed = {key: [s.value, s.low, s.high, s.n] for key, s in scores.items()}
        stated = [contains_answer(q.paragraphs[0][1], q.answers) for q in questions if q.paragraphs]
        if any(stated):
            right = found.counts["contained"]
            listed["stated"] = [sum(stated) / len(stated), len(stated)]
            known = [r for r, s in zip(right, stated, strict=True) if s]
            listed["right where stated"] = [sum(known) / len(known), len(known)]
        self.figures[name] = {
            "scores": listed, "cpu_seconds": found.cpu_seconds, "policy": found.policy,
        }  # fmt: skip
        shown = {key: [round(number, 3) for number in row] for key, row in listed.items()}
        print(name, len(questions), f"{time.time() - begin:.0f} s", shown, flush=True)
        if self.answers:
            with self.answers.open("a") as file:
                for question, answer in zip(questions, found.answers, strict=True):
                    spans = [[s.text, s.speaker, s.reason] for s in answer.spans[1:]]
                    row = {"condition": name, "question": question.text, "spans": spans}
                    row |= {"accepted": question.answers, "relation": question.relation}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model with a <CALL> row, or a raw one")
    parser.add_argument("--popqa", type=Path, required=True)
    parser.add_argument("--entities", type=Path, required=True, help="folder of EntityQuestions")
    parser.add_argument("--summaries", type=Path, help="leads of Wikipedia with descriptions")
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--skip", type=Path, nargs="*", default=[],
                        help="files with questions (JSON lines) that are left out")  # fmt: skip
    parser.add_argument("--policy", default="threshold=0")
    parser.add_argument("--only", nargs="*", help="conditions to measure; all by default")
    parser.add_argument("--limit", type=int, default=60, help="questions per condition")
    parser.add_argument("--documents", type=int, default=0,
                        help="questions to documents; 0 for all")  # fmt: skip
    parser.add_argument("--each", type=int, default=2, help="questions per relation")
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
    everything = read_questions(args.popqa)
    skipped = {
        json.loads(line)["question"] for file in args.skip for line in file.open() if line.strip()
    }
    raw = [q for q in everything if args.part in ("all", part_of(q.subject))]
    raw = [q for q in raw if q.text not in skipped]
    rng.shuffle(raw)
    rows = [with_facts(q, q.answers[0], PERSON, values) for q in raw]
    similar, columns = neighbours(rows, values), renamed(rows, rng)
    edits = edited(rows)
    with tempfile.TemporaryDirectory() as temporary:
        run = Measurement(loaded, args.policy, Path(temporary), args.answers)
        few = slice(args.limit)

        def unknown() -> tuple[list[TestQuestion], Database]:
            """Return the asked questions, and facts without any relation of an asked one."""
            asked = relation_questions(values, args.entities, args.each)
            names = {q.relation for q in asked}
            part = sorted(rng.sample(sorted(names), len(names) // 2))
            chosen = [q for q in asked if q.relation in part]
            kept = [replace(q, facts=tuple(f for f in q.facts if f[0] not in part)) for q in chosen]
            return chosen, run.database("unknown", kept)

        def of_relations() -> tuple[list[TestQuestion], Database]:
            asked = relation_questions(values, args.entities, args.each)
            return asked, run.database("relations", asked)

        def of_summaries() -> tuple[list[TestQuestion], Documents]:
            people, texts = summaries(args.summaries)
            people = [q for q in people if args.part in ("all", part_of(q.subject))]
            return rng.sample(people, min(args.limit, len(people))), run.documents("leads", texts)

        plans = {
            "alone": lambda: (rows[few], None),
            "database": lambda: (rows[few], run.database("facts", rows, similar)),
            "columns": lambda: (columns[few], run.database("columns", columns)),
            "edited": lambda: (edits[few], run.database("edited", edits, similar)),
            "missing": lambda: (rows[few], run.database("missing", without_fact(rows), similar)),
            "relations": of_relations,
            "unknown": unknown,
            "documents": lambda: (
                raw[: args.documents or None], run.documents("index", paragraphs_of(everything))
            ),
            "summaries": of_summaries,
        }  # fmt: skip
        for name, plan in plans.items():
            if name not in (args.only or plans) or (name == "summaries" and not args.summaries):
                continue
            run.measure(name, *plan())
            data = {
                "model": args.model, "dtype": args.dtype, "seed": args.seed, "part": args.part,
                "skipped": len(skipped), "conditions": run.figures, "environment": environment(),
            }  # fmt: skip
            write_atomic(args.out, json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
