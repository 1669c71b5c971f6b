"""Train small students from scratch on texts of a made-up world, with and without a teacher.

    OMP_NUM_THREADS=1 python benchmarks/distill_world.py --seeds 0 1      # about 15 minutes a seed

The teacher is a plain model of 1.2M parameters, the students have a third of that and learn to call
beside. All students of a seed read the same texts in the same order from the same weights; one more
gets as many texts without a teacher as take the same processor time. Every fact of the world is
known, so the script measures the loss on and off fact tokens, where the students call, what they
know without a source, and which facts are right when a database answers their calls. Writes
``results/distill_world.json``; finished students are kept in ``--out``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch

from lacy._text import json_safe
from lacy.annotate import encode
from lacy.cascade import Budget, Never, calibrate
from lacy.corpus import PackedData, train_tokenizer
from lacy.distill import DistillSettings, distill
from lacy.evaluate import evaluate_world
from lacy.model import Loaded, build_model, load_model
from lacy.objective import Objective
from lacy.run import environment
from lacy.sources.db import Database
from lacy.train import TrainConfig, train
from lacy.world import load_world, make_world

RESULTS = Path(__file__).parent / "results"
VOCABULARY, CONTEXT, ROWS, PEOPLE = 2048, 256, 6, 200
TRAINING: dict[str, Any] = {
    "batch_rows": ROWS, "optimizer": "muon", "lr": 6e-3, "decay": 0.3, "decay_shape": "linear",
    "dtype": "fp32", "device": "cpu", "threads": 1, "save_minutes": 0.0,
}  # fmt: skip
CALLS = Objective(method="lacy", call_rate=0.15, call_negative="softmax", text_weight=0.5)
ARMS: dict[str, DistillSettings] = {
    "text alone": DistillSettings(weight=0.0, imitate="all"),
    "teacher everywhere": DistillSettings(imitate="all"),
    "teacher and text": DistillSettings(weight=0.5, imitate="all"),
    "not at facts": DistillSettings(imitate="unmarked"),
    "not where delegated": DistillSettings(imitate="undelegated"),
    "half where delegated": DistillSettings(imitate="undelegated", fact_weight=0.5),
}
SAME_TIME = "text alone, same time"


def prepare(seed: int, out: Path, steps: int) -> PackedData:
    """Write the world and its packed texts, and train the teacher, unless they exist."""
    folder = out / f"s{seed}"
    if not (folder / "world" / "world.json").is_file():
        make_world(PEOPLE, seed).save(folder / "world")
    world = load_world(folder / "world")
    if not (folder / "data" / "lacy_data.json").is_file():
        texts = list(world.documents("train", per_person=1 + 3 * steps * ROWS * 2 // PEOPLE))
        tokenizer = train_tokenizer((t.text for t in texts[:3000]), VOCABULARY, split_digits=False)
        encoded = (encode(text, tokenizer) for text in texts)
        PackedData.write(encoded, tokenizer, CONTEXT, folder / "data")
    teacher = TrainConfig(
        data=folder / "data", model="1m", out=folder / "teacher", method="none", steps=3 * steps,
        seed=seed, quiet=True, **TRAINING,
    )  # fmt: skip
    train(teacher)
    return PackedData.load(folder / "data")


def measure(loaded: Loaded, seed: int, out: Path, people: int) -> dict[str, Any]:
    """Return the figures of a model with 95% intervals over people."""
    world = load_world(out / f"s{seed}" / "world")
    policies: dict[str, Any] = {"alone": Never(), "database": Budget(0.22)}
    if not loaded.calls:  # the teacher
        del policies["database"]
    with Database(out / f"s{seed}" / "world" / "truth.sqlite", name="database") as source:
        found = evaluate_world(
            loaded, world, source, policies, people=people,
            call_rate=0.22, seed=seed,
            calibration=calibrate(loaded, itertools.islice(world.documents("train"), 100)),
        )  # fmt: skip
    rows: dict[str, Any] = {}
    for result in found.results():
        where = (result.conditions or {}).get("condition", "")
        name = f"{where} {result.metric}".strip()
        bounds = (result.low, result.high)
        rows[name] = {
            "value": round(result.value, 4),
            "interval": [round(x, 4) for x in bounds],
            "n": result.n,
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("distill-world"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--arms", nargs="*", default=[*ARMS, SAME_TIME])
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = RESULTS / "distill_world.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.is_file() else []
    for seed in args.seeds:
        data = prepare(seed, args.out, args.steps)
        teacher = load_model(args.out / f"s{seed}" / "teacher")
        seconds: dict[str, float] = {r["arm"]: r["cpu_seconds"] for r in rows if r["seed"] == seed}
        if "teacher" not in seconds:
            rows.append({"seed": seed, "arm": "teacher", "cpu_seconds": 0.0,
                         "measured": measure(teacher, seed, args.out, args.people)})  # fmt: skip
        for arm in args.arms:
            if arm in seconds:
                continue
            steps, settings = args.steps, ARMS.get(arm)
            if settings is None:
                settings = ARMS["text alone"]
                steps = round(steps * seconds["teacher everywhere"] / seconds["text alone"])
            start = build_model("demo", data.tokenizer, context=CONTEXT, seed=seed)
            student = Loaded(start, data.tokenizer, {"preset": "demo"})
            began = time.process_time()
            made = distill(
                student, teacher, data, settings=settings, objective=CALLS,
                out=args.out / f"s{seed}" / arm.replace(" ", "-").replace(",", ""), seed=seed,
                tokens=steps * ROWS * CONTEXT, **TRAINING,
            )  # fmt: skip
            seconds[arm] = time.process_time() - began
            row = {"seed": seed, "arm": arm, "steps": made.steps, "tokens": made.tokens,
                   "parameters": made.loaded.model.num_parameters(),
                   "cpu_seconds": round(seconds[arm], 1),
                   "measured": measure(made.loaded, seed, args.out, args.people)}  # fmt: skip
            rows.append(row)
            print(json.dumps({k: v for k, v in row.items() if k != "measured"}), flush=True)
            report = {
                "what": "students from scratch in a made-up world, with and without a teacher",
                "settings": {k: getattr(v, "name", str(v)) for k, v in vars(args).items()},
                "teacher_parameters": teacher.model.num_parameters(),
                "environment": environment(), "rows": rows,
            }  # fmt: skip
            RESULTS.mkdir(exist_ok=True)
            file.write_text(json.dumps(json_safe(report), indent=1) + "\n")


if __name__ == "__main__":
    main()
