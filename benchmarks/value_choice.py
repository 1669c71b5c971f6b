"""Measure whether the SLM chooses the right value for people of PopQA, with and without reading.

    python benchmarks/value_choice.py MODEL POPQA.jsonl.gz --entity-questions DIR

Each person of PopQA has a place of birth or an occupation. ``database``: the fact stands among
seven others of the same person (places of death and residence, date of birth, spouse, school,
child), whose values are drawn from other people and from EntityQuestions. ``paragraphs``: the
person's paragraphs are an index of documents, whose names, dates and numbers are the candidates;
people whose answer is none of them count as wrong. ``edited``: the database with another value of
the same kind; a choice is right if it follows the edit. ``entities``: questions of EntityQuestions'
24 relations in completion form ("Zynga was founded by"), the fact among a dozen others of the same
subject (``questions_facts``). Random order, one seed; intervals are over people or subjects.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from questions_facts import ENTITY_RELATIONS, TEMPLATES, Values, relation_questions

from lacy.cascade import Engine
from lacy.disk import write_atomic
from lacy.evaluate import facts_database
from lacy.evaluate.questions import TestQuestion
from lacy.model import load_model
from lacy.run import environment
from lacy.sources import Database
from lacy.sources.texts import Documents
from lacy.types import Document

OPENINGS = {"place of birth": "{} was born in", "occupation": "{} works as a"}
ENTITY_OPENINGS = {
    "P17": "{} is located in the country of", "P19": "{} was born in", "P20": "{} died in",
    "P26": "{} is married to", "P36": "The capital of {} is", "P40": "The child of {} is",
    "P50": "The author of {} is", "P69": "{} was educated at", "P106": "{} works as a",
    "P112": "{} was founded by", "P127": "{} is owned by", "P131": "{} is located in",
    "P136": "The music that {} plays is", "P159": "The headquarters of {} is in",
    "P170": "{} was created by", "P175": "{} was performed by", "P176": "{} was produced by",
    "P264": "The record label of {} is", "P276": "{} is located in",
    "P407": "{} was written in the language", "P413": "{} plays in the position of",
    "P495": "{} was created in the country of", "P740": "{} was founded in",
    "P800": "{} is famous for",
}  # fmt: skip
"""EntityQuestions' questions as the beginnings of statements."""
OTHERS = {"place of death": "P20", "spouse": "P26", "educated at": "P69", "child": "P40"}


def people(path: Path, count: int, seed: int) -> list[dict]:
    """Return as many people with a place of birth as with an occupation."""
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(seed).shuffle(rows)
    found = [[r for r in rows if r["prop"] == prop][: count // 2] for prop in OPENINGS]
    return [row for group in found for row in group]


def facts_of(rows: list[dict], questions: Path, seed: int, edited: bool) -> list[dict[str, str]]:
    """Return eight facts of each person, in random order."""
    rng = random.Random(seed)
    pools = {prop: sorted({r["obj"] for r in rows if r["prop"] == prop}) for prop in OPENINGS}
    others = {}
    for name, code in OTHERS.items():
        rows_of = json.loads((questions / f"{code}.dev.json").read_text(encoding="utf-8"))
        others[name] = [row["answers"][0] for row in rows_of]
    result = []
    for row in rows:
        facts = {prop: rng.choice(values) for prop, values in pools.items()}
        facts |= {name: rng.choice(values) for name, values in others.items()}
        facts["residence"] = rng.choice(pools["place of birth"])
        year = rng.randint(1850, 1990)
        facts["date of birth"] = f"{rng.randint(1, 28)} {rng.choice(['March', 'July'])} {year}"
        if not edited:
            facts[row["prop"]] = row["obj"]
        result.append(dict(rng.sample(sorted(facts.items()), len(facts))))
    return result


def chosen(loaded, source, openings: list[str], subjects: list[str], **settings) -> list[str]:
    """Return what each opening is continued by: the borrowed value, or ""."""
    engine = Engine(
        loaded, source, "always", max_new_tokens=24, calls_in_row=1, abstain=None, **settings
    )
    answers = engine.generate(openings, subjects, max_new_tokens=24)
    spans = [next((s for s in answer.spans if s.asked), None) for answer in answers]
    return [span.text.strip() if span and span.speaker != "slm" else "" for span in spans]


def entity_questions(questions: Path, each: int, seed: int) -> list[tuple[str, TestQuestion]]:
    """Return openings with facts, for a few subjects of each relation of EntityQuestions."""
    values = Values(questions, random.Random(seed))
    asked = relation_questions(values, questions, each)[len(TEMPLATES) * each :]
    codes = [code for code in ENTITY_RELATIONS for _ in range(each)]
    pairs = zip(codes, asked, strict=True)
    return [(ENTITY_OPENINGS[code].format(q.subject), q) for code, q in pairs]


def interval(right: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95% bootstrap interval of a share."""
    draws = np.random.default_rng(seed).choice(right, (2000, len(right))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("popqa", type=Path)
    parser.add_argument("--entity-questions", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--each", type=int, default=2, help="subjects per relation")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument(
        "--sources", nargs="+", default=["database", "edited", "paragraphs", "entities"]
    )
    parser.add_argument("--rankings", nargs="+", default=["likelihood", "reading"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/value_choice.json"))
    args = parser.parse_args()
    loaded, results = load_model(args.model), []
    loaded.model.to(getattr(torch, args.dtype))
    rows = people(args.popqa, args.people, args.seed)
    for name in args.sources:
        openings = [OPENINGS[row["prop"]].format(row["subj"]) for row in rows]
        subjects, groups = [row["subj"] for row in rows], [row["prop"] for row in rows]
        with TemporaryDirectory() as folder:
            if name == "entities":
                asked = entity_questions(args.entity_questions, args.each, args.seed)
                openings = [opening for opening, _ in asked]
                subjects, groups = [q.subject for _, q in asked], [q.relation for _, q in asked]
                answers = [list(q.answers) for _, q in asked]
                source = Database(facts_database([q for _, q in asked], Path(folder) / "f.sqlite"))
            elif name == "paragraphs":
                texts = [
                    Document(f"{row['id']}-{n}", p["text"], {"title": p["title"]})
                    for row in rows
                    for n, p in enumerate(row["paragraphs"])
                ]
                source = Documents.build(texts, Path(folder) / "index")
                answers = [json.loads(row["possible_answers"]) for row in rows]
            else:
                facts = facts_of(rows, args.entity_questions, args.seed, name == "edited")
                known = [
                    TestQuestion("", (row["obj"],), row["subj"], facts=tuple(found.items()))
                    for row, found in zip(rows, facts, strict=True)
                ]
                source = Database(facts_database(known, Path(folder) / "f.sqlite"))
                answers = [[found[row["prop"]]] for row, found in zip(rows, facts, strict=True)]
            for ranking in args.rankings:
                settings = {"read": 0} if ranking == "likelihood" else {}
                begin = time.process_time()
                values = chosen(loaded, source, openings, subjects, **settings)
                seconds = (time.process_time() - begin) / len(openings)
                right = np.array(
                    [
                        value.casefold() in [answer.casefold() for answer in known]
                        for value, known in zip(values, answers, strict=True)
                    ],
                    float,
                )
                row_of = {"source": name, "ranking": ranking, "n": len(openings)}
                row_of |= {"right": float(right.mean()), "interval": interval(right, args.seed)}
                for group in dict.fromkeys(groups):
                    mine = [r for r, g in zip(right, groups, strict=True) if g == group]
                    row_of[group] = float(np.mean(mine))
                row_of["cpu_seconds_per_text"] = round(seconds, 2)
                print(row_of, flush=True)
                results.append(row_of)
            source.close()
    data = {
        "model": Path(args.model).name, "dtype": args.dtype, "seed": args.seed, "results": results,
        "environment": environment(),
    }  # fmt: skip
    write_atomic(args.out, json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
