"""Measure the CPU time of a call (ranking K candidates) relative to a token of the same model.

    python benchmarks/call_speed.py MODEL --texts marked.jsonl [--calibrate 40] [--bf16]

The texts are JSON lines with "text", "marks" of [start, end, reason], and "meta" with "title".
Where a value begins, K candidates are ranked: values of the same text and, if it has too few, of
others. Three computations are timed, in random order at every place: ``token`` (one step of
decoding), ``all`` (every candidate is scored) and ``pruned`` (only those that can win). Both
rankings must choose the same candidate.
With ``--calibrate``, ``first`` also has the reference log-likelihoods of new values. Intervals:
bootstrap over texts.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers

from lacy.cascade import Engine, calibrate
from lacy.cascade.local import LocalBackend
from lacy.cascade.pruning import best_index
from lacy.cascade.rank import min_score, rank, tokenize_candidates
from lacy.model import load_model
from lacy.sources import continuation
from lacy.types import Candidate, Document, Mark

RESULTS = Path(__file__).parent / "results" / "call_speed.json"
PLACES = 4
"""Places per text."""
READ = 96
"""Tokens of text before a place."""


def marked_texts(path: Path) -> Iterator[Document]:
    """Yield texts with their marks."""
    for line in path.open():
        data = json.loads(line)
        marks = tuple(Mark(*mark) for mark in data["marks"])
        yield Document(data["id"], data["text"], data["meta"], marks)


def values(document: Document) -> list[Candidate]:
    """Return the different values of a text in order."""
    subject = str(document.meta.get("title", ""))
    found = [
        Candidate(document.text[m.start : m.end], kind=m.relation or m.reason, subject=subject)
        for m in document.marks
    ]
    return list(dict.fromkeys(found))


def places(document: Document, others: list[Candidate], count: int, rng: random.Random):
    """Yield the text before a value and ``count`` candidates, the right one among them."""
    marks = [m for m in document.marks if m.start > 80]
    for mark in rng.sample(marks, min(PLACES, len(marks))):
        before = document.text[: mark.start].rstrip(" ")
        right = document.text[mark.start : mark.end]
        own = [c for c in values(document) if c.text != right]
        rng.shuffle(own)
        chosen = [c for c in values(document) if c.text == right][:1] + own
        chosen = (chosen + rng.sample(others, min(count, len(others))))[:count]
        yield before, chosen


def measure(engine: Engine, texts: list[Document], count: int, seed: int = 0) -> list[dict]:
    """Return CPU milliseconds of every side, one row per place."""
    kinds = Counter(c.kind for document in texts for c in values(document))
    pool = [c for document in texts for c in values(document)]
    found = []
    # In bf16, a score depends on what else is in its pass, by rounding.
    slack = 1e-3 if engine.model.dtype == torch.float32 else 0.5
    for number, document in enumerate(texts):
        rng = random.Random(f"{seed}/{number}")
        for before, chosen in places(document, pool, count, rng):
            ids = engine.token_text.encode(before)[-READ:]
            sequence = engine.sequence(0, engine.token_text.decode(ids), None, 64)
            backend = LocalBackend(engine, None)
            backend.add([sequence])
            backend.ready()
            candidates = [
                Candidate(continuation(before, c.text), "", c.kind, kinds[c.kind], c.subject)
                for c in chosen
            ]
            options = [tokenize_candidates(candidates, engine.token_text, 40)]
            limits = [[min_score(o.candidate, engine.abstain, engine.kinds) for o in options[0]]]
            row = {"text": number, "n": len(options[0])}
            begin = time.process_time()
            if engine.reference:
                asyncio.run(rank(backend, [sequence], options, engine.reference, limits))
                row["first"] = time.process_time() - begin
            decoder = backend._active.decoder
            ranked = {}

            def ranking(
                name, limits, *, sequence=sequence, options=options, backend=backend, ranked=ranked
            ):
                [ranked[name]] = asyncio.run(
                    rank(backend, [sequence], options, engine.reference, limits)
                )

            sides = {
                "token": lambda decoder=decoder: int(decoder.step([100])[0].argmax()),
                "all": lambda: ranking("all", None),
                "pruned": lambda limits=limits: ranking("pruned", limits),
            }
            order = list(sides)
            rng.shuffle(order)
            for name in order:
                begin = time.process_time()
                sides[name]()
                row[name] = time.process_time() - begin
                if name == "token":
                    decoder.rewind(1)
                    decoder.rewind(1)
                    decoder.step([sequence.ids[-1]])
            scores, best = ranked["all"], best_index(ranked["all"])
            mine = best_index(ranked["pruned"])
            fits = scores[best] >= limits[0][best]
            row["taken"] = int(fits)
            row["scored"] = sum(s is not None for s in ranked["pruned"])
            if fits:
                assert abs(scores[mine] - scores[best]) < slack, "another winner"
                assert abs(ranked["pruned"][mine] - scores[best]) < slack, "another score"
            else:
                pruned = ranked["pruned"][mine]
                assert pruned is None or pruned < limits[0][mine], "a value was taken"
            found.append(row)
    return found


def summary(rows: list[dict]) -> dict:
    """Return means in milliseconds, and ratios to one token with intervals over texts."""
    rng = np.random.default_rng(0)
    texts = sorted({row["text"] for row in rows})
    by_text = [[row for row in rows if row["text"] == text] for text in texts]
    draws = rng.integers(len(texts), size=(1000, len(texts)))
    token = float(np.median([row["token"] for row in rows]))
    found = {"calls": len(rows), "texts": len(texts), "token_ms": 1000 * token}
    for name in [n for n in ("all", "pruned", "first") if n in rows[0]]:
        sums = np.array([sum(row[name] for row in group) for group in by_text])
        counts = np.array([len(group) for group in by_text])
        ratio = sums.sum() / counts.sum() / token
        drawn = sums[draws].sum(1) / counts[draws].sum(1) / token
        low, high = np.quantile(drawn, [0.025, 0.975])
        found[f"{name}_ms"] = 1000 * sums.sum() / counts.sum()
        found[f"{name}_tokens"], found[f"{name}_interval"] = ratio, [low, high]
        found[f"{name}_median_tokens"] = float(np.median([row[name] for row in rows])) / token
    found["scored"] = float(np.mean([row["scored"] for row in rows]))
    found["taken"] = float(np.mean([row["taken"] for row in rows]))
    return {k: np.round(v, 3).tolist() if not isinstance(v, int) else v for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--texts", type=Path, required=True, help="marked texts as JSON lines")
    parser.add_argument("--n", type=int, default=6, help="number of texts")
    parser.add_argument("--counts", type=int, nargs="+", default=[8, 24, 100])
    parser.add_argument("--calibrate", type=int, default=0, help="texts to calibrate on")
    parser.add_argument("--bf16", action="store_true", help="weights in bfloat16")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(args.model)
    if args.bf16:
        loaded.model.to(torch.bfloat16)
    documents = list(itertools.islice(marked_texts(args.texts), args.n + args.calibrate))
    texts, rest = documents[: args.n], documents[args.n :]
    calibration = calibrate(loaded, rest) if args.calibrate else None
    engine = Engine(loaded, policy="always", calibration=calibration)
    tables = json.loads(args.out.read_text()) if args.out.exists() else []
    measure(engine, texts[:1], 8)  # the first passes load kernels
    for count in args.counts:
        row = {
            "model": Path(args.model).name, "dtype": "bf16" if args.bf16 else "fp32",
            "calibrated": args.calibrate, "candidates": count,
            **summary(measure(engine, texts, count)), "threads": 1,
            "torch": torch.__version__, "transformers": transformers.__version__,
        }  # fmt: skip
        print(row)
        same = ("model", "dtype", "calibrated", "candidates")
        tables = [t for t in tables if any(t[k] != row[k] for k in same)] + [row]
    args.out.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
