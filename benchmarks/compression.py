"""What every stage of a compression gains and loses, on a tuned model.

    python benchmarks/compression.py MODEL --data train.jsonl --held-out valid.jsonl --out OUT
        [--plans sizes norms ...] [--untuned FOLDER]

Each plan of ``PLANS`` is carried out by ``lacy.compress``, which compares all of its stages with
the original model on the same held-out texts and subjects. ``--untuned`` names the model before it
was tuned; its losses are compared with those of the original in the same way. A stopped run goes on
when the command is typed again. It writes ``benchmarks/results/compression.json`` and prints the
tables of ``docs/results/compression.md``.
"""

import argparse
import json
from pathlib import Path

from lacy.compress import (
    FACTS,
    OTHERS,
    CompressPlan,
    MeasureSettings,
    compress,
    compression_data,
    measure_stage,
    read_compress_plan,
    read_texts,
    relative_rise,
)
from lacy.model import load_model
from lacy.report import compression_markdown
from lacy.results import as_data
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"

PLANS = {
    "sizes": CompressPlan(
        outputs=(
            {"gguf": {"precision": "q8_0"}},
            {"gguf": {"bits": 5.3, "norm_tokens": 0}},
            {"gguf": {"bits": 4.7, "norm_tokens": 0}},
            {"gguf": {"precision": "q4_1", "method": "nearest", "norm_tokens": 0}},
        ),
    ),
    "refit": CompressPlan(steps=("refit",)),
    "norms": CompressPlan(outputs=({"gguf": {"bits": 4.7, "norm_tokens": 10_240}},)),
    "phone": CompressPlan(outputs=({"gguf": {"bits": 5.6}},)),
    "untrained norms": CompressPlan(outputs=({"gguf": {"bits": 5.6, "norm_tokens": 0}},)),
    "vocabulary": CompressPlan(steps=({"vocabulary": {"tolerance": 1.0}},)),
    "browser": CompressPlan(
        steps=({"vocabulary": {"tolerance": 1.0}},),
        outputs=({"gguf": {"bits": 4.7}}, {"gguf": {"bits": 4.5}}),
    ),
    "eightfold": CompressPlan(
        steps=(
            {"vocabulary": {"tokens": 18_000}},
            {"recover": {"tokens": 60_000, "teacher_weight": 0.3, "batch_rows": 8}},
        ),
    ),
    "two layers less": CompressPlan(
        steps=(
            {"vocabulary": {"tolerance": 1.0}},
            {"layers": {"remove": 2}},
            {"recover": {"tokens": 30_000, "batch_rows": 8}},
        ),
    ),
    "layers": CompressPlan(
        steps=({"layers": {"remove": 0.25}}, {"recover": {"tokens": 60_000, "batch_rows": 8}}),
    ),
    "layers, small steps": CompressPlan(
        steps=({"layers": {"remove": 0.25}}, {"recover": {"tokens": 60_000}}),
    ),
    "layers, longer": CompressPlan(
        steps=({"layers": {"remove": 0.25}}, {"recover": {"tokens": 200_000}}),
    ),
    "server": read_compress_plan("server"),
}


def untuned(args, plan):
    """Compare the losses of the model before it was tuned with those of the tuned one."""
    tuned = load_model(args.model)
    held_out = read_texts(args.data, args.held_out, tuned.tokenizer, plan).held_out
    plan.measure.subjects = 0
    before, after = (
        measure_stage(loaded, held_out, plan) for loaded in (tuned, load_model(args.untuned))
    )
    return {
        "environment": environment(),
        "texts": len(held_out),
        **{tokens: as_data(relative_rise(before, after, tokens, 0)) for tokens in (OTHERS, FACTS)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="texts for the steps")
    parser.add_argument("--held-out", required=True, help="texts to measure on")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and files")
    parser.add_argument("--plans", nargs="*", default=list(PLANS), choices=PLANS)
    parser.add_argument("--untuned", help="the model before it was tuned")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--name", default="compression", help="name of the file of results")
    args = parser.parse_args()
    path = RESULTS / f"{args.name}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    measure = MeasureSettings(texts=args.texts, subjects=args.subjects)
    for name in args.plans:
        plan = PLANS[name]
        plan.measure = measure
        done = compress(
            args.model, args.data, plan, args.out / name, held_out=args.held_out, notify=print
        )
        found[name] = compression_data(done)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n## {name}\n\n{compression_markdown(done)}\n", flush=True)
    if args.untuned:
        found["untuned"] = untuned(args, CompressPlan(measure=measure))
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(found["untuned"])


if __name__ == "__main__":
    main()
