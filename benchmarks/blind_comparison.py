"""Compare the texts of two conditions of a study on articles blindly, by a written rule.

    python benchmarks/blind_comparison.py make studies/real ARTICLES.jsonl \
        --a raw/alone --b row/gate_entropy --out pairs
    python benchmarks/blind_comparison.py score pairs JUDGE1.jsonl JUDGE2.jsonl

``make`` draws articles and writes ``pairs.md`` for the judges: the article, the given words, and
both continuations in random order, without marks of what was borrowed. ``key.json`` has the order;
judges must not see it. ``score`` reads one file per judge, one JSON object per pair with the fields
of ``FIELDS``, and writes ``--out`` (``benchmarks/results/blind_comparison.json``): true and false
claims per text, which text is better, which reads better, and how far the judges agree. Intervals:
bootstrap over articles. The stored judgments are scored by

    python benchmarks/blind_comparison.py score results/blind results/blind/judge*.jsonl \
        --judges-are "two ..."

The rule is part of ``pairs.md`` (``RULE``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np

from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.results import as_data, ratio

RULE = """\
Rule. A claim is one checkable statement in a continuation (after the bar) about the person or
anything else: a relation and a value ("was born in Oslo", "won the 1998 cup", "is a painter"). Do
not count statements that only repeat the given words or an earlier claim of the same text, or a
sentence that is cut off before it says anything. A claim is true if the article supports it, in any
words; otherwise it is false, even if it may be true in the world. Count true and false claims of
both texts. The better text has more true minus false claims; with equal differences it is the one
with fewer false claims; otherwise it is a tie (0). Then say which text reads better as English,
whatever it says (0 if equal).
"""

FIELDS = ("id", "true_1", "false_1", "true_2", "false_2", "better", "reads_better")
RESULTS = Path(__file__).parent / "results"
ARTICLE = 3000
"""Maximum number of characters of an article that a judge sees."""


def texts_of(study: Path, name: str) -> dict[str, str]:
    """Return the texts of a condition (method/condition) by article."""
    method, _, condition = name.partition("/")
    (file,) = study.glob(f"runs/{method}.s0.*/conditions/{condition}.*.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    return dict(zip(data["articles"], map(unmarked, data["texts"]), strict=True))


def unmarked(text: str) -> str:
    """Return a text without the brackets around borrowed values."""
    given, bar, written = text.partition(" |")
    return given + bar + re.sub(r"\[([^\[\]]*)\]", r"\1", written)


def make(flags: argparse.Namespace) -> None:
    """Write the pairs and their key."""
    a, b = texts_of(flags.study, flags.a), texts_of(flags.study, flags.b)
    articles = {d.id: d for d in itertools.islice(read(flags.articles, only=flags.only), 10_000)}
    draw = random.Random(flags.seed)
    chosen = draw.sample(sorted(a.keys() & b.keys()), flags.n)
    key, parts = {}, [RULE]
    for number, article in enumerate(chosen, 1):
        first = draw.random() < 0.5
        key[str(number)] = {"article": article, "text_1": flags.a if first else flags.b}
        one, two = (a[article], b[article]) if first else (b[article], a[article])
        parts.append(
            f"## Pair {number}\n\nArticle: {articles[article].text[:ARTICLE]}\n\n"
            f"Text 1: {one}\n\nText 2: {two}\n"
        )
    flags.out.mkdir(parents=True, exist_ok=True)
    write_atomic(flags.out / "pairs.md", "\n".join(parts))
    setup = {"a": flags.a, "b": flags.b, "seed": flags.seed, "key": key}
    write_atomic(flags.out / "key.json", json.dumps(setup, indent=1) + "\n")
    print(f"{flags.n} pairs: {flags.out / 'pairs.md'}")


def judged(file: Path, setup: dict) -> dict[str, np.ndarray]:
    """Return a judge's counts per article: claims of a and b, and -1, 0 or 1 for what is better."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    by_id = {str(line["id"]): line for line in lines}
    if missing := setup["key"].keys() - by_id.keys():
        raise SystemExit(f"{file}: no judgment of pairs {', '.join(sorted(missing))}")
    rows = []
    for number, known in setup["key"].items():
        line = by_id[number]
        a, b = (1, 2) if known["text_1"] == setup["a"] else (2, 1)
        sign = {0: 0, a: -1, b: 1}
        rows.append([
            line[f"true_{a}"], line[f"false_{a}"], line[f"true_{b}"], line[f"false_{b}"],
            sign[line["better"]], sign[line["reads_better"]],
        ])  # fmt: skip
    names = ("true_a", "false_a", "true_b", "false_b", "better", "reads_better")
    return dict(zip(names, np.array(rows, float).T, strict=True))


def kappa(one: np.ndarray, two: np.ndarray) -> float:
    """Return Cohen's kappa of two judges."""
    agreed = float((one == two).mean())
    chance = sum(float((one == c).mean() * (two == c).mean()) for c in np.unique([*one, *two]))
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def score(flags: argparse.Namespace) -> None:
    """Write the figures of all judges."""
    setup = json.loads((flags.pairs / "key.json").read_text(encoding="utf-8"))
    judges = [judged(file, setup) for file in flags.judges]
    found = []
    for counts in judges:
        ones = np.ones(len(counts["better"]))
        row = {}
        for side in "ab":
            right, wrong = counts[f"true_{side}"], counts[f"false_{side}"]
            row[f"claims_right_{side}"] = as_data(ratio(right, right + wrong))
            row[f"true_per_text_{side}"] = as_data(ratio(right, ones, unit="claims"))
            row[f"false_per_text_{side}"] = as_data(ratio(wrong, ones, unit="claims"))
        for name in ("better", "reads_better"):
            for verdict, sign in (("a", -1), ("tie", 0), ("b", 1)):
                row[f"{name}_{verdict}"] = as_data(ratio(counts[name] == sign, ones))
        found.append(row)
    agreement = {
        f"{name}_kappa": [
            kappa(one[name], two[name]) for one, two in itertools.combinations(judges, 2)
        ]
        for name in ("better", "reads_better")
    }
    data = {
        "a": setup["a"], "b": setup["b"], "seed": setup["seed"], "pairs": len(setup["key"]),
        "judges_are": flags.judges_are, "rule": RULE, "judges": found, **agreement,
    }  # fmt: skip
    write_atomic(flags.out, json.dumps(data, indent=1) + "\n")
    print(json.dumps({"judges": found, **agreement}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("make", help="draw pairs")
    made.add_argument("study", type=Path)
    made.add_argument("articles", type=Path)
    made.add_argument("--only", default="is_biography")
    made.add_argument("--a", required=True, help="method/condition")
    made.add_argument("--b", required=True, help="method/condition")
    made.add_argument("--n", type=int, default=50)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, required=True)
    made.set_defaults(do=make)
    scored = commands.add_parser("score", help="count the judgments")
    scored.add_argument("pairs", type=Path)
    scored.add_argument("judges", type=Path, nargs="+")
    scored.add_argument("--judges-are", required=True, help="who judged, such as 'two people'")
    scored.add_argument("--out", type=Path, default=RESULTS / "blind_comparison.json")
    scored.set_defaults(do=score)
    flags = parser.parse_args()
    flags.do(flags)


if __name__ == "__main__":
    main()
