"""Measure how often misspelt names are linked to the right subject, and unknown ones to any.

    OMP_NUM_THREADS=1 python benchmarks/linking.py --titles TITLES.jsonl.gz

The names are the people of a made-up world and, if given, the titles of articles (JSON lines with a
``title``). A random half of them is in the database. From this half, variants are drawn by seed:
spellings (other case, no accents, no punctuation, "Last, First", doubled spaces) and typos (one or
two letters added, left out, replaced or swapped). The other half is unknown: any link for such a
name is false, with or without a typo. Each name is looked up alone (``resolve``) and at the
beginning of a text (``find``).

Rows (one per kind of variant, threshold and margin) go to ``results/linking.csv``, the setup and
the figures at the default threshold and margin to ``results/linking.json``. No name is written.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import string
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from lacy.run import environment
from lacy.sources.names import EntityLinker
from lacy.sources.names.linking import MARGIN, THRESHOLD
from lacy.world import make_world

RESULTS = Path(__file__).parent / "results"
THRESHOLDS = (0.80, 0.85, 0.88, 0.90, 0.92)
MARGINS = (0.0, 0.03, 0.05, 0.10)


def no_accents(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


def no_marks(name: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " * (c in "-–,") or " " * (c == " ")
                            for c in name).split())  # fmt: skip


def last_first(name: str) -> str:
    words = name.split()
    return f"{words[-1]}, {' '.join(words[:-1])}" if len(words) in (2, 3) else name


SPELLINGS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "small letters": str.lower,
    "no accents": no_accents,
    "no punctuation": no_marks,
    "last, first": last_first,
    "doubled spaces": lambda name: name.replace(" ", "  "),
}


def mistyped(name: str, times: int, rng: random.Random) -> str:
    """Return a name with typos."""
    letters = list(name)
    for _ in range(times):
        at = [n for n, c in enumerate(letters) if c.isalpha()]
        if len(at) < 2:
            return name
        place, kind = rng.choice(at), rng.choice(("add", "drop", "replace", "swap"))
        other = rng.choice(string.ascii_lowercase)
        if kind == "add":
            letters.insert(place + 1, other)
        elif kind == "drop":
            del letters[place]
        elif kind == "replace":
            letters[place] = other.upper() if letters[place].isupper() else other
        elif place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)


def titles_of(path: Path, limit: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = (json.loads(line) for _, line in zip(range(limit), file, strict=False))
        return [row["title"] for row in rows]


def variants(known: list[str], unknown: list[str], seed: int) -> Iterator[tuple[str, list]]:
    """Yield each kind of variant with its pairs (name or None, spelling)."""
    rng = random.Random(seed)
    yield "as it is", [(name, name) for name in known]
    for kind, write in SPELLINGS.items():
        made = [(name, write(name)) for name in known]
        yield kind, [(name, text) for name, text in made if text != name]
    for times in (1, 2):
        made = [(name, mistyped(name, times, rng)) for name in known]
        yield f"{times} mistakes", [(name, text) for name, text in made if text != name]
    yield "unknown", [(None, name) for name in unknown]
    yield "unknown, 1 mistake", [(None, mistyped(name, 1, rng)) for name in unknown]


def count_links(linker: EntityLinker, pairs: list, lookup: str) -> dict:
    """Count right, wrong and missing links, by stage."""
    stages: Counter[str] = Counter()
    took = []
    for name, text in pairs:
        begin = time.perf_counter()
        if lookup == "alone":
            link, _ = linker.resolve(text)
        else:
            link, _ = linker.find(f"{text} was first seen in")
        took.append(time.perf_counter() - begin)
        if link is not None:
            stages[f"{link.stage} {'right' if link.name == name else 'wrong'}"] += 1
    took.sort()
    right = sum(n for stage, n in stages.items() if stage.endswith("right"))
    wrong = sum(n for stage, n in stages.items() if stage.endswith("wrong"))
    every = ("exact right", "exact wrong", "normalised right", "normalised wrong", "similar right",
             "similar wrong")  # fmt: skip
    return {
        "n": len(pairs), "right": right, "wrong": wrong,
        "recall": round(right / max(1, len(pairs)), 4),
        "precision": round(right / (right + wrong), 4) if right + wrong else None,
        "wrong_share": round(wrong / max(1, len(pairs)), 5),
        **{stage.replace(" ", "_"): stages[stage] for stage in every},
        "median_ms": round(1e3 * took[len(took) // 2], 3) if took else None,
        "p95_ms": round(1e3 * took[int(0.95 * len(took))], 3) if took else None,
    }  # fmt: skip


def measure(what: str, names: list[str], per_kind: int, seed: int) -> Iterator[dict]:
    rng = random.Random(seed)
    names = sorted(set(names))
    rng.shuffle(names)
    half = len(names) // 2
    known, unknown = names[:half], names[half:]
    begin = time.perf_counter()
    linker = EntityLinker(known)
    opened = time.perf_counter() - begin
    begin = time.perf_counter()
    EntityLinker(known, fuzzy=False)
    exact = time.perf_counter() - begin
    print(what, len(known), f"{opened:.2f} s to open, exact names only {exact:.2f} s", flush=True)
    some = rng.sample(known, min(per_kind, len(known)))
    others = rng.sample(unknown, min(per_kind, len(unknown)))
    for kind, pairs in variants(some, others, seed):
        grid = [(THRESHOLD, MARGIN)]
        if "mistake" in kind or kind == "unknown":
            grid += [(t, m) for t in THRESHOLDS for m in MARGINS if (t, m) != grid[0]]
        for linker.threshold, linker.margin in grid:
            default = (linker.threshold, linker.margin) == grid[0]
            for lookup in ("alone", "text") if default else ("alone",):
                row = {
                    "names": what, "known": len(known), "kind": kind, "lookup": lookup,
                    "threshold": linker.threshold, "margin": linker.margin,
                    **count_links(linker, pairs, lookup),
                }  # fmt: skip
                if default:
                    print({k: row[k] for k in ("kind", "lookup", "n", "right", "wrong", "p95_ms")})
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--titles", type=Path, help="JSON lines (.gz), each with a title")
    parser.add_argument("--limit", type=int, default=40_000, help="number of titles to read")
    parser.add_argument("--people", type=int, default=5_000)
    parser.add_argument("--per-kind", type=int, default=1_500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    people = [person.name for person in make_world(args.people, seed=args.seed).everyone]
    sets = {"world": people}
    if args.titles:
        sets["titles"] = titles_of(args.titles, args.limit)
    rows = [row for what, names in sets.items()
            for row in measure(what, names, args.per_kind, args.seed)]  # fmt: skip
    with (args.out / "linking.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    default = [r for r in rows if (r["threshold"], r["margin"]) == (THRESHOLD, MARGIN)]
    setup = {
        "command": "python benchmarks/linking.py --titles TITLES.jsonl.gz", "seed": args.seed,
        "threshold": THRESHOLD, "margin": MARGIN, "figures": default, "environment": environment(),
    }  # fmt: skip
    (args.out / "linking.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
