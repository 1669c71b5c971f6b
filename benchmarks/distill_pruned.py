"""Recover SmolLM2-135M after a quarter of its blocks was removed, with and without a teacher.

    OMP_NUM_THREADS=1 python benchmarks/distill_pruned.py MODEL --train MARKED.jsonl \
        --valid MARKED.jsonl          # about three minutes for each arm

MODEL is SmolLM2-135M tuned to call, with a trained body (LoRA, merged); it is also the teacher. All
students start from the same blocks, chosen by block influence on training texts, and read the same
texts in the same order. The ``<CALL>`` row is fitted again after each run (``lacy tune``), on
training texts. The script measures the loss on and off fact tokens, and where the models call, on
held-out texts, with intervals over texts. Writes ``results/distill_pruned.json``; a stopped run
goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from lacy._text import json_safe
from lacy.annotate import encode_many
from lacy.corpus import PackedData, read
from lacy.distill import DistillSettings, distill
from lacy.evaluate import measure_on_texts
from lacy.layerwise import text_rows
from lacy.model import Loaded, load_model
from lacy.prune import prune_depth
from lacy.results import Score
from lacy.run import environment
from lacy.tune import tune

RESULTS = Path(__file__).parent / "results"
ARMS: dict[str, DistillSettings] = {
    "text alone": DistillSettings(weight=0.0, imitate="all"),
    "teacher everywhere": DistillSettings(imitate="all"),
    "not at facts": DistillSettings(imitate="unmarked"),
    "half at facts": DistillSettings(imitate="unmarked", fact_weight=0.5),
}


def pruned(place: Path, train: Path) -> Loaded:
    """Return the model without a quarter of its blocks."""
    loaded = load_model(place)
    rows = text_rows(itertools.islice(read(train), 64), loaded.tokenizer, rows=12, length=128)
    return prune_depth(loaded, rows, share=0.25, by="influence").loaded


def measure(loaded: Loaded, args: argparse.Namespace) -> dict[str, Any]:
    """Return losses and separation of facts on held-out texts."""
    found = measure_on_texts(loaded, itertools.islice(read(args.valid), args.count))
    margin = found.calls.separation["margin"]
    scores: dict[str, Score] = {
        "other_loss": found.language_loss, "fact_loss": found.fact_loss,
        "auroc_fact": margin.fact, "auroc_start": margin.value_start,
    }  # fmt: skip
    return {
        name: {"value": round(s.value, 4), "interval": [round(s.low, 4), round(s.high, 4)],
               "n": s.n}
        for name, s in scores.items()
    }  # fmt: skip


def fit_gate(loaded: Loaded, args: argparse.Namespace) -> Loaded:
    """Fit the ``<CALL>`` row of a model on training texts."""
    folder = args.out / "gate"
    made = tune(loaded, args.train, out=folder, articles=args.articles, tokens=192, device="cpu",
                threads=1, progress=False)  # fmt: skip
    shutil.rmtree(folder.with_name("gate-states"), ignore_errors=True)
    return made.loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("distill-pruned"))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--count", type=int, default=40, help="held-out texts")
    parser.add_argument("--articles", type=int, default=40, help="texts for the <CALL> row")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "distill_pruned.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.is_file() else []

    def add(arm: str, **figures: Any) -> None:
        rows.append({"arm": arm, "seed": args.seed, **figures})
        report = {
            "what": "recovery of a model after a quarter of its blocks was removed",
            "settings": {k: str(v) for k, v in vars(args).items()},
            "environment": environment(), "rows": rows,
        }  # fmt: skip
        RESULTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(json_safe(report), indent=1) + "\n")
        print(json.dumps(rows[-1]), flush=True)

    done = {row["arm"] for row in rows if row["seed"] == args.seed}
    if "teacher" not in done:
        add("teacher", measured=measure(load_model(args.model), args))
    if "pruned" not in done:
        student = pruned(args.model, args.train)
        before = measure(student, args)
        parameters = student.model.num_parameters()
        add("pruned", parameters=parameters, before_gate=before,
            measured=measure(fit_gate(student, args), args))  # fmt: skip
    for arm in args.arms:
        if arm in done:
            continue
        student, teacher = pruned(args.model, args.train), load_model(args.model)
        data = args.out / "packed"
        if not (data / "lacy_data.json").is_file():
            encoded = encode_many(read(args.train), student.tokenizer)
            PackedData.write(encoded, student.tokenizer, args.context, data)
        began = time.process_time()
        made = distill(
            student, teacher, PackedData.load(data), settings=ARMS[arm], seed=args.seed,
            tokens=args.steps * args.rows * args.context, batch_rows=args.rows, device="cpu",
            threads=1, save_minutes=0.0, grad_accum=2,
        )  # fmt: skip
        seconds = time.process_time() - began
        before = measure(made.loaded, args)
        add(arm, steps=made.steps, tokens=made.tokens, lr=made.run.lr,
            cpu_seconds=round(seconds, 1), before_gate=before,
            measured=measure(fit_gate(made.loaded, args), args))  # fmt: skip


if __name__ == "__main__":
    main()
