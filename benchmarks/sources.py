"""How long two sources take to answer: a database of a million facts, a folder of short texts.

    OMP_NUM_THREADS=1 python benchmarks/sources.py

- ``Database`` over SQLite, 1,000,000 rows (five facts of each of 200,000 people), with an index on
  the subject, as ``lacy source build`` and ``lacy world`` make it, asked with texts that name one
  person each; every person once, so that no answer is one it remembers. ``linked``: it finds the
  name in the text; ``told``: the request says whom the text is about.
- ``Documents``: as many short texts of one passage as can be indexed in ``--build-seconds``, with
  their values marked (no annotator is timed), then asked with the beginning of a sentence about one
  of the people. ``about nobody`` names no one, so that the words alone find the passages.

Rows (one per way, quantiles over requests asked one by one, with a 95% bootstrap interval of the
p95) are written to ``results/sources.csv``, conditions to ``results/sources.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lacy.run import environment
from lacy.sources import Database
from lacy.sources.documents import Documents
from lacy.sources.index import BuildReport
from lacy.types import Document, Mark, Request

RESULTS = Path(__file__).parent / "results"
SYLLABLES = (
    "ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne ra ro sa so ta to".split()
)
PLACES = "Ulm Bern Lund Graz Metz Brno Bath Cork Oslo Riga Linz Gent Pisa Trier Turku Varna".split()
FIELDS = "botany optics law music geology chemistry painting history logic surgery".split()
TEXTS_AT_ONCE = 5_000
"""Documents handed to one build: the clock is looked at between them."""


def name_of(number: int) -> str:
    """A name of its own for each number."""
    chance = random.Random(number)
    first, last = ("".join(chance.choices(SYLLABLES, k=3)).capitalize() for _ in range(2))
    tail = "".join(SYLLABLES[int(digit)] for digit in str(number))
    return f"{first} {last}{tail}"


def facts_of(number: int) -> dict[str, str]:
    chance = random.Random(-number - 1)
    day = f"{chance.randint(1, 28)} May {chance.randint(1700, 1999)}"
    return {
        "born": day, "birthplace": chance.choice(PLACES), "field": chance.choice(FIELDS),
        "died": f"{chance.randint(1, 28)} June {chance.randint(1700, 1999)}",
        "children": str(chance.randint(0, 9)),
    }  # fmt: skip


def fill(path: Path, rows: int) -> int:
    """A table of facts; the number of people in it."""
    people = rows // 5
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        lines = (
            (name_of(n), relation, value)
            for n in range(people)
            for relation, value in facts_of(n).items()
        )
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", lines)
        db.execute("CREATE INDEX by_subject ON fact (subject)")
    db.close()
    return people


def text_of(number: int) -> Document:
    """One passage with marked values."""
    name, facts = name_of(number), facts_of(number)
    text, marks = name, []
    for link, relation in (
        (" was born on ", "born"),
        (" in ", "birthplace"),
        (" and taught ", "field"),
    ):
        text += link
        marks.append(Mark(len(text), len(text) + len(facts[relation]), "VALUE", relation))
        text += facts[relation]
    return Document(str(number), text + ".", {"title": name}, tuple(marks))


def texts() -> Iterator[Document]:
    return map(text_of, itertools.count())


def timed(source, requests: list[Request]) -> tuple[np.ndarray, float]:
    """Milliseconds of each request asked by itself, and the share that got candidates."""

    async def ask() -> tuple[list[float], int]:
        took, answered = [], 0
        for request in requests:
            begin = time.perf_counter()
            (reply,) = await source.ask([request])
            took.append(1000 * (time.perf_counter() - begin))
            answered += bool(reply.candidates)
        return took, answered

    took, answered = asyncio.run(ask())
    return np.array(took), answered / len(requests)


def row(what: str, size: int, took: np.ndarray, answered: float) -> dict:
    draws = np.random.default_rng(0).choice(took, (1000, len(took)))
    low, high = np.quantile(np.quantile(draws, 0.95, axis=1), (0.025, 0.975))
    line = {
        "way": what, "size": size, "n": len(took), "answered": round(answered, 4),
        "median_ms": np.median(took), "p95_ms": np.quantile(took, 0.95), "low": low, "high": high,
        "max_ms": took.max(),
    }  # fmt: skip
    line = {k: round(float(v), 3) if isinstance(v, float) else v for k, v in line.items()}
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--build-seconds", type=float, default=90.0)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--wait-until", type=float, default=0.0, help="Unix time to measure from")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        begin = time.perf_counter()
        people = fill(folder / "facts.sqlite", args.rows)
        took["fill_database"] = time.perf_counter() - begin
        begin = time.perf_counter()
        database = Database(folder / "facts.sqlite")
        took["open_database"] = time.perf_counter() - begin
        written, report, supply = 0, BuildReport(), texts()
        begin = time.perf_counter()
        while written < args.texts and time.perf_counter() - begin < args.build_seconds:
            part = itertools.islice(supply, min(TEXTS_AT_ONCE, args.texts - written))
            Documents.build(part, folder / "kb", report=report).close()
            written = report.added
        took["index_texts"] = time.perf_counter() - begin
        begin = time.perf_counter()
        documents = Documents(folder / "kb")
        took["open_texts"] = time.perf_counter() - begin
        print(took, written, report.skipped[:3], flush=True)
        time.sleep(max(0.0, args.wait_until - time.time()))
        asked = [name_of(n) for n in chance.sample(range(people), 2 * args.requests)]
        linked, told = asked[: args.requests], asked[args.requests :]
        known = [name_of(n) for n in chance.sample(range(written), args.requests)]
        words = [f"The one who taught {chance.choice(FIELDS)} in {chance.choice(PLACES)} on"
                 for _ in range(args.requests // 40)]  # fmt: skip
        born = [Request(f"{name} was born on") for name in linked]
        ways = {
            "database, linked": (database, people * 5, born),
            "database, told": (database, people * 5, [Request("It is", subject=n) for n in told]),
            "texts, linked": (documents, written, [Request(f"{n} was born on") for n in known]),
            "texts, about nobody": (documents, written, [Request(text) for text in words]),
        }
        lines = []
        for what, (source, size, requests) in ways.items():
            timed(source, [Request("Nobody was born on")] * 3)
            lines.append(row(what, size, *timed(source, requests)))
        database.close()
        documents.close()
    with (args.out / "sources.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    conditions = {
        "command": "python benchmarks/sources.py", "seed": args.seed, "rows": people * 5,
        "texts": written, "seconds": {k: round(v, 1) for k, v in took.items()},
        "environment": environment(),
    }  # fmt: skip
    (args.out / "sources.json").write_text(json.dumps(conditions, indent=1) + "\n")


if __name__ == "__main__":
    main()
