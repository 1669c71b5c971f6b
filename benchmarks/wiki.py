"""Evaluate plain and calling models on held-out Wikipedia articles, alone and with the article.

    python benchmarks/wiki.py runs/wiki-plain runs/wiki-lacy wiki/valid.jsonl.gz

All models (``recipes/wiki-cpu.yaml``) write new beginnings of the same held-out biographies, under
policies of the same call rate; the article's own names, numbers and dates answer. Measured are the
share of generated entities that the article contains (``lacy evaluate --articles`` prints the
same), the share of birth dates that are right (a value of the right kind in the wrong place does
not count), and, along the true articles, how well each model's signal finds the annotator's marks.

*Recovered* is the share of the source's advantage, (condition - plain alone) / (source - plain),
paired over articles. *Source* is the plain model with a call wherever it would itself begin a name,
number or date (``oracle``, see ``evaluate/lookahead.py``), at any cost; ``oracle=0.22`` calls only
at the first of these places, as far as the budget allows.

Writes ``results/NAME.json``, ``.csv`` and ``NAME_articles.csv`` (counts per article). ``--tune``
scores other articles than those of the table, to choose settings; ``--wrong 20`` also prints
entities that the article does not contain.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lacy.annotate import SpacyAnnotator
from lacy.config import load as load_settings
from lacy.corpus import read
from lacy.evaluate.articles import ArticleAnswers, calibrate_on, evaluate_articles
from lacy.evaluate.bits import language_loss
from lacy.evaluate.calls import call_quality
from lacy.evaluate.entities import ArticleText, default_extract
from lacy.evaluate.provenance import SpanLookup
from lacy.evaluate.signals import read_signals
from lacy.model import load_model
from lacy.results import Score, as_data, difference, paired_test, ratio, recovered_share
from lacy.run import environment
from lacy.train import TrainConfig
from lacy.types import Document

RESULTS = Path(__file__).parent / "results"

SETTINGS = ("method", "delegate", "call_rate", "text_weight", "call_negative", "steps", "seed")
"""Settings of training that are stored with each model."""

COUNTS = (
    "own_entities", "own_supported", "borrowed_entities", "borrowed_supported", "tokens", "called",
    "births", "births_right",
)  # fmt: skip
"""Columns per article."""


SCORES = {
    "entities_right": "precision", "own_entities_right": "own_precision",
    "borrowed_entities_right": "borrowed_precision", "entities_per_text": "per_text",
}  # fmt: skip
"""Metrics of a condition and their column names in the stored tables."""


def policies(model: str, args: argparse.Namespace) -> list[str]:
    """Return the conditions to compare: budgets at several rates, controls at one of them."""
    rate = f"{args.rate:g}"
    if args.policies and model != "plain":
        return args.policies
    both = ["never", f"random={rate}"]
    if model == "plain":
        return [*both, f"oracle={rate}", "oracle"]
    by = "" if args.by == "margin" else f",by={args.by}"
    rates = dict.fromkeys([args.rate, *args.rates])
    return [*both, *(f"budget={r:g}{by}" for r in rates), "threshold=0"]


def counts_of(condition: ArticleAnswers) -> np.ndarray:
    """Return ``COUNTS`` of each article."""
    return np.stack([condition.counts[name] for name in COUNTS], axis=1)


def wrong(condition: ArticleAnswers, articles: list[Document], extract, count: int) -> list[str]:
    """Return a random sample of entities that the article does not contain, in their sentence."""
    found = []
    marks = extract([answer.text for answer in condition.answers])
    for answer, article, spans in zip(condition.answers, articles, marks, strict=True):
        held, given, lookup = ArticleText(article.text), len(answer.prompt), SpanLookup(answer)
        for mark in spans:
            entity = answer.text[mark.start : mark.end]
            if mark.end > given and not held.contains(entity):
                who = lookup.at(max(mark.start, given)).speaker
                around = answer.text[max(0, mark.start - 50) : mark.end + 25].replace("\n", " ")
                found.append(f"{mark.reason:7} {who:8} {entity!r:34} ...{around}...")
    return random.Random(0).sample(found, min(count, len(found)))


def one_model(name: str, folder: str, args: argparse.Namespace, data: dict) -> tuple:
    """Return facts about a model, a row per condition, and counts per condition and article."""
    loaded = load_model(folder)
    extract, articles = data["extract"], data["articles"]
    begin = time.perf_counter()
    result = evaluate_articles(
        loaded, articles, extract, policies(name, args), max_new_tokens=args.max_new_tokens,
        seed=args.seed, at=args.at, calls_in_row=args.in_row,
        calibration=calibrate_on(loaded, data["others"], extract),
    )  # fmt: skip
    rows, counts = [], {}
    for policy, condition in result.conditions.items():
        counts[name, policy] = counts_of(condition)
        calls = sum(answer.calls for answer in condition.answers) / len(condition.answers)
        rows.append({
            "model": name, "calls_per_text": calls, "policy": policy,
            "call_rate": condition.call_rate,
            **{short: as_data(condition.scores[metric]) for metric, short in SCORES.items()},
        })  # fmt: skip
        shown = [f"{metric} {condition.scores[metric]}" for metric in SCORES]
        print(name, policy, f"{condition.call_rate:.3f}", *shown, flush=True)
        if args.wrong and policy.startswith("budget"):
            print(*wrong(condition, articles, extract, args.wrong), sep="\n")
        if args.show and policy.startswith(("never", "budget", "oracle")):
            for answer in condition.answers[: args.show]:
                print("   ", *(f"[{s.text}]" if s.asked else s.text for s in answer.spans), sep="")
    readings = read_signals(loaded, data["marked"])
    quality = call_quality(readings, call_rate=args.rate, seed=args.seed)
    settings = load_settings(TrainConfig, Path(folder) / "config.yaml")
    found = {
        "training": {key: getattr(settings, key) for key in SETTINGS},
        "signals": {k: as_data(s) for k, s in quality.separation.items()},
        "at_rate": as_data(quality.at_rate) if quality.at_rate else None,
        "at_zero": as_data(quality.at_zero),
        "parameters": loaded.model.num_parameters(),
        "context": loaded.model.config.max_position_embeddings,
        "language_loss": as_data(language_loss(readings, seed=args.seed)),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return found, rows, counts


def right_and_all(counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the right entities and all entities, per article."""
    return counted[:, 1] + counted[:, 3], counted[:, 0] + counted[:, 2]


def add_scores(rows: list[dict], counts: dict, seed: int) -> None:
    """Add what follows from the counts: birth dates, and the share of the source's advantage.

    Of the birth dates that texts state (n), the share that is right; the advantage is relative to
    the plain model alone, if both are known.
    """
    ends = [counts.get(("plain", policy)) for policy in ("never", "oracle")]
    for row in rows:
        counted = counts[row["model"], row["policy"]]
        stated = counted[:, 6] > 0
        born = ratio(counted[stated, 7], counted[stated, 6], seed=seed)
        row["births_right"] = as_data(born)
        score = Score(float("nan"), float("nan"), float("nan"), 0)
        if all(end is not None for end in ends):
            score = recovered_share(*map(right_and_all, (counted, *ends)), seed=seed)
        row["recovered"] = as_data(score)


def comparisons(pairs: Iterable[tuple], counts: dict, seed: int) -> list[dict]:
    """Return differences of entity precision, paired over articles."""
    found = []
    for a, b in pairs:
        ours, theirs = (right_and_all(counts[condition]) for condition in (a, b))
        score, p = difference(ours, theirs, seed=seed), paired_test(ours, theirs, seed=seed)
        found.append({"a": "/".join(a), "b": "/".join(b), **as_data(score), "p": p})
    return found


def pairs_of(counts: dict, rate: float) -> list[tuple]:
    """Return pairs at one budget: each model and random calls, and each model and the others."""
    budgets = [w for w in counts if w[1].startswith(f"budget={rate:g}") and w[0] != "plain"]
    chance = [(w, (w[0], f"random={rate:g}")) for w in budgets]
    pairs = [*chance, *((b, a) for a, b in itertools.combinations(budgets, 2))]
    return [pair for pair in pairs if all(condition in counts for condition in pair)]


def flat(row: dict) -> dict:
    """Return a row for the CSV: each figure as value, low, high and n."""
    found = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found |= {f"{key}_{part}": value[part] for part in ("value", "low", "high", "n")}
        else:
            found[key] = value
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}


COLUMNS = {
    "precision": "entities right",
    "own_precision": "own",
    "borrowed_precision": "borrowed",
    "per_text": "entities per text",
    "recovered": "recovered",
    "births_right": "birth date right",
}


def markdown(rows: list[dict]) -> list[str]:
    """Return the table of docs/results/wikipedia.md; birth dates with the number of texts."""
    heads = ["model, policy", *COLUMNS.values(), "calls per text", "call rate"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [cell(row[name]) for name in COLUMNS]
        cells[-1] += f" ({row['births_right']['n']})"
        ends = [f"{row['calls_per_text']:.1f}", f"{row['call_rate']:.1%}"]
        lines.append(f"| {' | '.join([row['model'] + ', ' + row['policy'], *cells, *ends])} |")
    return lines


def cell(score: dict) -> str:
    """Return a figure with its interval."""
    if score["value"] is None:
        return "-"
    scale, digits = (100, ".0f") if score["unit"].startswith("share") else (1, ".1f")
    value, low, high = (
        "?" if score[k] is None else f"{scale * score[k]:{digits}}"
        for k in ("value", "low", "high")
    )
    return f"{value}{'%' if scale == 100 else ''} [{low}-{high}]"


def save_counts(file: Path, counts: dict, articles: list[Document]) -> None:
    """Write a row per condition and article."""
    with file.open("w", newline="") as sheet:
        writer = csv.writer(sheet)
        writer.writerow(["model", "policy", "article", *COUNTS])
        for condition, counted in counts.items():
            for article, row in zip(articles, counted.astype(int).tolist(), strict=True):
                writer.writerow([*condition, article.id, *row])


def load_counts(file: Path, articles: list[Document]) -> dict:
    """Read what ``save_counts`` wrote, for the same articles."""
    found: dict = {}
    with file.open(newline="") as sheet:
        for model, policy, article, *row in itertools.islice(csv.reader(sheet), 1, None):
            found.setdefault((model, policy), []).append((article, [float(x) for x in row]))
    ids = [article.id for article in articles]
    assert all([i for i, _ in rows] == ids for rows in found.values()), "other articles"
    return {condition: np.asarray([row for _, row in rows]) for condition, rows in found.items()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plain", help="folder of the plain model; - keeps its stored results")
    parser.add_argument("lacy", help="folder of the calling model; - keeps its stored results")
    parser.add_argument("articles")
    parser.add_argument("--also", nargs="*", default=[], help="other calling models, NAME=FOLDER")
    parser.add_argument("--only", default="is_biography")
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--calibrate", type=int, default=100)
    parser.add_argument(
        "--tune", type=int, default=0, help="score this many articles after those of the table"
    )
    parser.add_argument("--rate", type=float, default=0.22)
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="further budgets")
    parser.add_argument("--by", default="p_call", help="signal of the budgets of calling models")
    parser.add_argument(
        "--policies", nargs="*", default=[], help="other policies for calling models"
    )
    parser.add_argument("--at", default="word", help="where calls are allowed: word or any")
    parser.add_argument("--in-row", type=int, help="maximum number of answered calls in a row")
    parser.add_argument("--pipeline", default="bundled")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=int, default=0, help="print this many wrong entities")
    parser.add_argument("--show", type=int, default=0, help="print this many texts")
    parser.add_argument("--name", default="wiki_cpu")
    return parser.parse_args()


def read_data(args: argparse.Namespace) -> dict:
    """Return articles to score (with marks), and others to calibrate on."""
    chosen = read(args.articles, only=args.only or None)
    articles = list(itertools.islice(chosen, args.people))
    others = list(itertools.islice(chosen, args.calibrate))
    if args.tune:
        articles = list(itertools.islice(chosen, args.tune))
    found = SpacyAnnotator(args.pipeline).annotate([a.text for a in articles])
    return {
        "articles": articles,
        "others": others,
        "extract": default_extract(args.pipeline),
        "marked": [
            Document(a.id, a.text, a.meta, tuple(marks))
            for a, marks in zip(articles, found, strict=True)
        ],
    }


def main() -> None:
    args = arguments()
    data = read_data(args)
    file = RESULTS / f"{args.name}.json"
    counts_file = file.with_name(f"{args.name}_articles.csv")
    folders = {"plain": args.plain, "lacy": args.lacy}
    folders |= dict(pair.split("=", 1) for pair in args.also)
    old = json.loads(file.read_text()) if file.exists() else {"models": {}, "conditions": []}
    kept = {name for name, folder in folders.items() if folder == "-" and name in old["models"]}
    models = {name: old["models"][name] for name in kept}
    rows = [row for row in old["conditions"] if row["model"] in kept]
    counts = load_counts(counts_file, data["articles"]) if kept else {}
    counts = {condition: counted for condition, counted in counts.items() if condition[0] in kept}
    for name, folder in folders.items():
        if folder != "-":
            models[name], made, counted = one_model(name, folder, args, data)
            rows += made
            counts |= counted
    add_scores(rows, counts, args.seed)
    setup = {
        "command": f"python benchmarks/wiki.py {' '.join(map(str.upper, folders))} ARTICLES",
        "articles": len(data["articles"]), "tuning": bool(args.tune),
        "calibrated_on": len(data["others"]), "max_new_tokens": args.max_new_tokens,
        "rate": args.rate, "at": args.at, "calls_in_row": args.in_row, "seed": args.seed,
        "pipeline": args.pipeline, "environment": environment(),
    }  # fmt: skip
    found = comparisons(pairs_of(counts, args.rate), counts, args.seed)
    result = {"setup": setup, "models": models, "conditions": rows, "comparisons": found}
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    save_counts(counts_file, counts, data["articles"])
    with file.with_suffix(".csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, flat(rows[0]))
        writer.writeheader()
        writer.writerows(map(flat, rows))
    print("\n".join(markdown(rows)))


if __name__ == "__main__":
    main()
