"""Real text: a plain and a LaCy model on held-out Wikipedia articles, alone and with the article.

    python benchmarks/wiki.py runs/wiki-plain runs/wiki-lacy wiki/valid.jsonl.gz

Both models (``recipes/wiki-cpu.yaml``) begin the same held-out biographies anew, under policies of
the same call rate; the article's own names, numbers and dates answer. Measured are the share of
generated entities that the article holds (``lacy evaluate --articles`` prints the same), the share
of birth dates that are right (which a value of the right kind in the wrong place does not pass),
and, along the true articles, how well each model's signal finds the annotator's marks.

Writes ``results/NAME.json`` and ``.csv``; ``--wrong 20`` also prints entities that are not held.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import re
import time
from pathlib import Path

import numpy as np

from lacy.annotate import SpacyAnnotator
from lacy.corpus import read
from lacy.evaluate.articles import ArticleWay, calibrate_on, evaluate_articles
from lacy.evaluate.bits import language_loss
from lacy.evaluate.calls import call_quality
from lacy.evaluate.entities import Reference, dates, default_extract
from lacy.evaluate.provenance import Speakers
from lacy.evaluate.signals import read_signals
from lacy.evaluate.statistics import Score, ratio
from lacy.model import load
from lacy.run import environment
from lacy.types import Document

RESULTS = Path(__file__).parent / "results"
BRACKET = re.compile(r"\(([^()]*)")
NEAR = 120
"""Characters in which the bracket with the birth date begins."""


def policies(rate: float, model: str) -> list[str]:
    """The ways to compare; all but ``never`` and the threshold at one call rate."""
    both = ["never", f"random={rate:g}"]
    if model == "plain":
        return [*both, f"budget={rate:g},by=entropy"]
    return [*both, f"budget={rate:g}", f"budget={rate:g},by=p_call", "threshold=0"]


def birth(text: str) -> tuple[int | None, int | None, int | None] | None:
    """The first date of the bracket that follows the name, by parts."""
    found = BRACKET.search(text[:NEAR])
    if found is None:
        return None
    inside = BRACKET.search(text, found.start())
    assert inside is not None
    cut = re.split(r"[–—]| - ", inside.group(1))[0]  # what follows is the death
    stated = dates(cut)
    return next(iter(stated)) if len(stated) == 1 else None


def births(way: ArticleWay, articles: list[Document], seed: int) -> Score:
    """Of the birth dates that answers state, the share that is the article's own."""
    pairs = [
        (birth(answer.text), birth(article.text))
        for answer, article in zip(way.answers, articles, strict=True)
    ]
    stated = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
    right = [
        all(said in (None, known) for said, known in zip(ours, theirs, strict=True))
        for ours, theirs in stated
    ]
    return ratio(right, np.ones(len(stated)), seed=seed)


def wrong(way: ArticleWay, articles: list[Document], extract, count: int) -> list[str]:
    """A random sample of generated entities that the article does not hold, in their sentence."""
    found = []
    marks = extract([answer.text for answer in way.answers])
    for answer, article, spans in zip(way.answers, articles, marks, strict=True):
        held, given, speakers = Reference(article.text), len(answer.prompt), Speakers(answer)
        for mark in spans:
            entity = answer.text[mark.start : mark.end]
            if mark.end > given and not held.holds(entity):
                who = speakers.at(max(mark.start, given)).speaker
                around = answer.text[max(0, mark.start - 50) : mark.end + 25].replace("\n", " ")
                found.append(f"{mark.reason:7} {who:8} {entity!r:34} ...{around}...")
    return random.Random(0).sample(found, min(count, len(found)))


def one_model(name: str, folder: str, args: argparse.Namespace, data: dict) -> tuple[dict, list]:
    loaded = load(folder)
    extract, articles = data["extract"], data["articles"]
    begin = time.perf_counter()
    ways = evaluate_articles(
        loaded, articles, extract, policies(args.rate, name), max_new_tokens=args.max_new_tokens,
        seed=args.seed, calibration=calibrate_on(loaded, data["others"], extract),
    )  # fmt: skip
    readings = read_signals(loaded, data["marked"])
    quality = call_quality(readings, call_rate=args.rate, seed=args.seed)
    rows = []
    for policy, way in ways.items():
        calls = sum(answer.calls for answer in way.answers) / len(way.answers)
        row = {"model": name, "calls_per_text": calls, **way.as_dict()}
        rows.append(row | {"births_right": births(way, articles, args.seed).as_dict()})
        print(name, policy, f"{way.scores.precision.value:.3f}", f"{way.call_rate:.3f}",
              flush=True)  # fmt: skip
        if args.wrong and policy.startswith("budget"):
            print(*wrong(way, articles, extract, args.wrong), sep="\n")
        if args.show and policy.startswith(("never", "budget")):
            for answer in way.answers[: args.show]:
                print("   ", *(f"[{s.text}]" if s.asked else s.text for s in answer.spans), sep="")
    found = {
        "signals": {k: s.as_dict() for k, s in quality.separation.items()},
        "at_rate": quality.at_rate.as_dict() if quality.at_rate else None,
        "parameters": loaded.model.num_parameters(),
        "context": loaded.model.config.max_position_embeddings,
        "language_loss": language_loss(readings, seed=args.seed).as_dict(),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return found, rows


def flat(row: dict) -> dict:
    """A row for the CSV: each figure as value, low, high and n."""
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
    "births_right": "birth date right",
}


def markdown(rows: list[dict]) -> list[str]:
    """The table of docs/results.md; in brackets behind birth dates, how many texts state one."""
    heads = ["model, policy", *COLUMNS.values(), "calls per text", "asked for"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [cell(row[name]) for name in COLUMNS]
        cells[-1] += f" ({row['births_right']['n']})"
        ends = [f"{row['calls_per_text']:.1f}", f"{row['call_rate']:.1%}"]
        lines.append(f"| {' | '.join([row['model'] + ', ' + row['policy'], *cells, *ends])} |")
    return lines


def cell(score: dict) -> str:
    """A figure with its interval."""
    if score["value"] is None:
        return "-"
    scale, digits = (100, ".0f") if score["unit"] == "share" else (1, ".1f")
    value, low, high = (
        "?" if score[k] is None else f"{scale * score[k]:{digits}}"
        for k in ("value", "low", "high")
    )
    return f"{value}{'%' if scale == 100 else ''} [{low}-{high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plain", help="folder of the plain model; - keeps what is known of it")
    parser.add_argument("lacy", help="folder of the LaCy model; - likewise")
    parser.add_argument("articles")
    parser.add_argument("--also", nargs="*", default=[], help="other LaCy models, NAME=FOLDER")
    parser.add_argument("--only", default="is_biography")
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--calibrate", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.22)
    parser.add_argument("--pipeline", default="bundled")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=int, default=0)
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--name", default="wiki_cpu")
    args = parser.parse_args()
    chosen = (d for d in read(args.articles) if not args.only or d.meta.get(args.only))
    articles = list(itertools.islice(chosen, args.people))
    others = list(itertools.islice(chosen, args.calibrate))
    found = SpacyAnnotator(args.pipeline).annotate([a.text for a in articles])
    data = {
        "articles": articles,
        "others": others,
        "extract": default_extract(args.pipeline),
        "marked": [
            Document(a.id, a.text, a.meta, tuple(marks))
            for a, marks in zip(articles, found, strict=True)
        ],
    }
    file = RESULTS / f"{args.name}.json"
    models, rows = {}, []
    folders = {"plain": args.plain, "lacy": args.lacy}
    folders |= dict(pair.split("=", 1) for pair in args.also)
    for name, folder in folders.items():
        if folder == "-":
            if not file.exists():
                continue
            old = json.loads(file.read_text())
            models[name] = old["models"][name]
            rows += [row for row in old["ways"] if row["model"] == name]
        else:
            models[name], made = one_model(name, folder, args, data)
            rows += made
    conditions = {
        "command": f"python benchmarks/wiki.py {' '.join(map(str.upper, folders))} ARTICLES",
        "articles": len(articles), "calibrated_on": len(others),
        "max_new_tokens": args.max_new_tokens, "rate": args.rate, "seed": args.seed,
        "pipeline": args.pipeline, "environment": environment(),
    }  # fmt: skip
    result = {"conditions": conditions, "models": models, "ways": rows}
    RESULTS.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n")
    with file.with_suffix(".csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, flat(rows[0]))
        writer.writeheader()
        writer.writerows(map(flat, rows))
    print("\n".join(markdown(rows)))


if __name__ == "__main__":
    main()
