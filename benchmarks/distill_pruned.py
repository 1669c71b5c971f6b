"""Recover a model after a quarter of its blocks was removed, with and without a teacher.

    OMP_NUM_THREADS=1 python benchmarks/distill_pruned.py MODEL --train MARKED.jsonl \
        --valid MARKED.jsonl          # about three minutes for each arm

MODEL is SmolLM2-135M tuned to call, with a trained body (LoRA, merged), or a small model that lacy
trained (``--name distill_own3m --steps 48 --count 60 --articles 60``). It is also the teacher. All
students start from the same blocks, chosen by block influence on training texts, and read the same
texts in the same order. The ``<CALL>`` row is fitted again after each run (``lacy tune``), on
training texts. The script measures the loss on and off fact tokens, and where the models call, on
held-out texts, with intervals over texts; differences from the arm without a teacher are paired.
Writes ``results/NAME.json``; a stopped run goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacy._text import json_safe
from lacy.annotate import encode_many
from lacy.corpus import PackedData, read
from lacy.distill import DistillSettings, distill
from lacy.evaluate.bits import fact_loss, language_loss
from lacy.evaluate.calls import call_quality
from lacy.evaluate.signals import read_signals
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
    "text alone, twice as long": DistillSettings(weight=0.0, imitate="all"),
}
LONGER = "text alone, twice as long"
"""An arm with twice the steps: about the processor time of an arm with a teacher."""


def pruned(place: Path, train: Path) -> Loaded:
    """Return the model without a quarter of its blocks."""
    loaded = load_model(place)
    rows = text_rows(itertools.islice(read(train), 64), loaded.tokenizer, rows=12, length=128)
    return prune_depth(loaded, rows, share=0.25, by="influence").loaded


def measure(loaded: Loaded, args: argparse.Namespace) -> dict[str, Any]:
    """Return losses and separation of facts on held-out texts, with the sums of each text."""
    signals = read_signals(loaded, itertools.islice(read(args.valid), args.count))
    margin = call_quality(signals).separation["margin"]
    scores: dict[str, Score] = {
        "other_loss": language_loss(signals), "fact_loss": fact_loss(signals),
        "auroc_fact": margin.fact, "auroc_start": margin.value_start,
    }  # fmt: skip
    found: dict[str, Any] = {
        name: {"value": round(s.value, 4), "interval": [round(s.low, 4), round(s.high, 4)]}
        for name, s in scores.items()
    }
    for name, fact in (("other_loss", False), ("fact_loss", True)):
        masks = [text.is_fact == fact for text in signals]
        found[name]["texts"] = [
            [round(float(text.loss[mask].sum()), 3), int(mask.sum())]
            for text, mask in zip(signals, masks, strict=True)
        ]
    return found


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the losses of each arm minus those of two others, over the seeds that both have.

    Texts are resampled in pairs; the sums of a text are added over seeds.
    """
    texts: dict[tuple[str, int], dict[str, np.ndarray]] = {
        (row["arm"], row["seed"]): {
            name: np.array(row["measured"][name]["texts"]) for name in ("other_loss", "fact_loss")
        }
        for row in rows
    }
    found = []
    for base, arm in itertools.product(("text alone", "teacher everywhere"), ARMS):
        seeds = [seed for one, seed in texts if one == arm and (base, seed) in texts]
        for name in ("other_loss", "fact_loss") if seeds and arm != base else ():
            own_N2 = sum(texts[arm, seed][name] for seed in seeds)
            base_N2 = sum(texts[base, seed][name] for seed in seeds)
            draws = np.random.default_rng(0).integers(0, len(own_N2), (1000, len(own_N2)))
            gains = _mean(own_N2[draws]) - _mean(base_N2[draws])
            found.append({
                "arm": arm, "minus": base, "metric": name, "seeds": seeds, "n": len(own_N2),
                "difference": round(float(_mean(own_N2) - _mean(base_N2)), 4),
                "interval": [round(float(q), 4) for q in np.quantile(gains, [0.025, 0.975])],
            })  # fmt: skip
    return found


def _mean(sums_N2: np.ndarray) -> np.ndarray:
    """Return the loss per token of texts, from their sums and numbers of tokens."""
    total = sums_N2.sum(-2)
    return total[..., 0] / total[..., 1]


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
    parser.add_argument("--name", default="distill_pruned", help="of the file of results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / f"{args.name}.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.is_file() else []

    def add(arm: str, **figures: Any) -> None:
        rows.append({"arm": arm, "seed": args.seed, **figures})
        report = {
            "what": "recovery of a model after a quarter of its blocks was removed",
            "settings": {k: getattr(v, "name", str(v)) for k, v in vars(args).items()},
            "environment": environment(), "differences": differences(rows), "rows": rows,
        }  # fmt: skip
        RESULTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(json_safe(report), indent=1) + "\n")
        shown = {
            name: {part: score for part, score in found.items() if part != "texts"}
            for name, found in rows[-1]["measured"].items()
        }
        print(json.dumps({**rows[-1], "measured": shown}), flush=True)

    done = {row["arm"] for row in rows if row["seed"] == args.seed}
    done |= {row["arm"] for row in rows} & {"teacher", "pruned"}  # no seed changes these
    if "teacher" not in done:
        add("teacher", measured=measure(load_model(args.model), args))
    if "pruned" not in done:
        student = pruned(args.model, args.train)
        before = measure(student, args)["auroc_start"]
        parameters = student.model.num_parameters()
        add("pruned", parameters=parameters, auroc_before_fit=before,
            measured=measure(fit_gate(student, args), args))  # fmt: skip
    for arm in args.arms:
        if arm in done:
            continue
        student, teacher = pruned(args.model, args.train), load_model(args.model)
        data = args.out / "packed"
        if not (data / "lacy_data.json").is_file():
            encoded = encode_many(read(args.train), student.tokenizer)
            PackedData.write(encoded, student.tokenizer, args.context, data)
        steps = args.steps * (2 if arm == LONGER else 1)
        began = time.process_time()
        made = distill(
            student, teacher, PackedData.load(data), settings=ARMS[arm], seed=args.seed,
            tokens=steps * args.rows * args.context, batch_rows=args.rows, device="cpu",
            threads=1, save_minutes=0.0, grad_accum=2,
        )  # fmt: skip
        seconds = time.process_time() - began
        before = measure(made.loaded, args)["auroc_start"]
        add(arm, steps=made.steps, tokens=made.tokens, lr=made.run.lr,
            cpu_seconds=round(seconds, 1), auroc_before_fit=before,
            measured=measure(fit_gate(made.loaded, args), args))  # fmt: skip


if __name__ == "__main__":
    main()
