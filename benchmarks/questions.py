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
run, with the answers themselves in another file (``--answers``), from which an interrupted run
continues.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from questions_facts import PERSON, Values, neighbours, relation_questions, renamed, with_facts

from lacy.cascade import open_engine
from lacy.disk import write_atomic
from lacy.evaluate import edited, evaluate_questions, facts_database, read_questions, without_fact
from lacy.evaluate.questions import QUESTION_COUNTS, TestQuestion, contains_answer
from lacy.results import ratio_scores
from lacy.run import environment
from lacy.sources import Database
from lacy.sources.texts import Documents
from lacy.types import Document

RESULTS = Path(__file__).parent / "results" / "questions.json"

PARTS = ("dev", "test")
FEWEST = 10
"""Groups of fewer questions are not listed."""
BATCH = 20
"""Number of questions after which answers are stored."""


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
        answers: a file for the answers; those that it has already are not asked again.
    """

    def __init__(self, loaded, policy: str, folder: Path, answers: Path) -> None:
        self.loaded, self.policy, self.folder, self.answers = loaded, policy, folder, answers
        self.figures: dict[str, dict] = {}
        rows = answers.read_text().splitlines() if answers.is_file() else []
        self.known = {(r["condition"], r["question"]): r for r in map(json.loads, rows)}

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
        left = [q for q in questions if (name, q.text) not in self.known]
        for start in range(0, len(left), BATCH):
            self._ask(name, left[start : start + BATCH], source, policy)
        rows = [self.known[name, q.text] for q in questions]
        groups = {"": rows, **{q.relation: [] for q in questions}}
        for question, row in zip(questions, rows, strict=True):
            groups[question.relation].append(row)
        if any(q.paragraphs for q in questions):
            groups["stated"] = [row for row in rows if row["stated"]]
        listed = {}
        for group, chosen in groups.items():
            counts = {key: np.array([r["counts"][key] for r in chosen]) for key in QUESTION_COUNTS}
            for key, score in ratio_scores(counts, seed=0).items() if chosen else ():
                if not group or (key == "answers_right" and len(chosen) >= FEWEST):
                    shown = f"right: {group}" if group else key
                    listed[shown] = [score.value, score.low, score.high, len(chosen)]
        seconds = sum(row["cpu_seconds"] for row in rows) / len(rows)
        self.figures[name] = {"scores": listed, "cpu_seconds": seconds, "policy": policy}
        shown = {key: [round(number, 3) for number in row] for key, row in listed.items()}
        print(name, len(questions), f"{seconds:.2f} CPU s per question", shown, flush=True)

    def _ask(self, name: str, questions: Sequence[TestQuestion], source, policy: str) -> None:
        """Ask some questions and store the answers."""
        measured = evaluate_questions(self.loaded, questions, source, policies=[policy])
        [found] = measured.conditions.values()
        with self.answers.open("a") as file:
            for n, (question, answer) in enumerate(zip(questions, found.answers, strict=True)):
                row = {
                    "condition": name, "question": question.text, "accepted": question.answers,
                    "spans": [[s.text, s.speaker, s.reason] for s in answer.spans[1:]],
                    "counts": {key: float(found.counts[key][n]) for key in QUESTION_COUNTS},
                    "cpu_seconds": found.cpu_seconds,
                    "stated": any(
                        contains_answer(text, question.answers)
                        for _, text in question.paragraphs[:1]
                    ),
                }  # fmt: skip
                self.known[name, question.text] = row
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
    parser.add_argument("--answers", type=Path, required=True,
                        help="file for the answers; an interrupted run continues")  # fmt: skip
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
    raw = list({q.text: q for q in raw}.values())
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
            "documents": lambda: (
                raw[: args.documents or None], run.documents("index", paragraphs_of(everything))
            ),
            "summaries": of_summaries,
            "relations": of_relations,
            "unknown": unknown,
        }  # fmt: skip
        for name, plan in plans.items():
            if name not in (args.only or plans) or (name == "summaries" and not args.summaries):
                continue
            values.rng = rng = random.Random(f"{args.seed} {name}")
            run.measure(name, *plan())
            data = {
                "model": Path(args.model).name, "dtype": args.dtype, "seed": args.seed,
                "part": args.part, "skipped": len(skipped), "conditions": run.figures,
                "environment": environment(),
            }  # fmt: skip
            write_atomic(args.out, json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
