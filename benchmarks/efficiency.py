"""Measure what models cost: size, operations, memory, speed, energy, price; without and with calls.

    python benchmarks/efficiency.py MODEL [MODEL ...] [--texts TEXTS.jsonl]
        [--source facts.sqlite --questions questions.jsonl --rate 0.10]

All models are measured in one process, one after another, with one thread (``lacy evaluate MODEL
--speed`` measures one). A model that was taught to call is also measured with calls. The metrics
are those of the survey of small language models (arXiv 2410.20011, table 2).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

import torch

from lacy.cascade import open_engine
from lacy.corpus import read
from lacy.efficiency import Efficiency, Load, RateCard
from lacy.evaluate import read_questions
from lacy.model import load_model
from lacy.results import as_data
from lacy.run import environment

RESULTS = Path(__file__).parent / "results" / "efficiency.json"


def measure(name: str, args) -> list[dict]:
    """Return the results of one model."""
    loaded = load_model(name)
    load = Load(args.prompt_tokens, args.new_tokens, args.repeat, args.batch)
    rate = RateCard(args.rate) if args.rate is not None else None
    found = Efficiency(loaded, load, reference=args.reference, rate=rate)
    texts = [d.text for d in itertools.islice(read(args.texts), args.batch)] if args.texts else []
    questions = read_questions(args.questions)[: args.people] if args.questions else []
    found.sizes()
    found.privacy()
    found.peak(name)
    for source, policy in [([], "never"), *([([args.source], None)] if loaded.calls else [])]:
        engine = open_engine(loaded, source, policy)
        print(name, engine.policy, file=sys.stderr, flush=True)
        found.speed(engine, texts)
        if questions:
            found.right_answers(engine, questions)
    return as_data(found.measured().results())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--source", help="what answers calls")
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--people", type=int, default=20, help="number of questions")
    parser.add_argument("--reference", help="model or file to compare the size with")
    parser.add_argument("--rate", type=float, help="US dollars per hour of the machine")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = [row for name in args.models for row in measure(name, args)]
    for row in results:
        how = {k: v for k, v in row["conditions"].items() if k in ("policy", "quantile", "model")}
        print(row["metric"], row["value"], row["unit"], how)
    data = {"results": results, "environment": environment()}
    args.out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
