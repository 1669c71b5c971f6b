"""What every stage of a compression gains and loses, on a tuned model: ``lacy compress``.

    python benchmarks/compression.py MODEL --data train.jsonl --held-out valid.jsonl --out OUT

Three plans are carried out: GGUF files at several sizes for any text; the same with the vocabulary
of the domain; and fewer layers with a short training. Each compares all of its stages with the
original model and with the original whose ``<CALL>`` row was fitted again, on the same held-out
texts and the same subjects. The command can be stopped and typed again. It writes
``benchmarks/results/compression.json`` and prints the tables for ``docs/results/compression.md``.
"""

import argparse
import json
from pathlib import Path

from lacy.compress import CompressPlan, MeasureSettings, compress, compression_data, stage_rows
from lacy.report import compression_figure, compression_markdown

RESULTS = Path(__file__).parent / "results"

PLANS = {
    "sizes": CompressPlan(
        steps=("refit",),
        outputs=(
            {"gguf": {"bits": 5.6}},
            {"gguf": {"precision": "q8_0"}},
            {"gguf": {"bits": 4.7}},
            {"gguf": {"precision": "q4_1", "method": "nearest", "norm_tokens": 0}},
        ),
    ),
    "vocabulary": CompressPlan(
        steps=({"vocabulary": {"tolerance": 1.0}},),
        outputs=({"gguf": {"bits": 4.6}},),
    ),
    "layers": CompressPlan(
        steps=({"layers": {"remove": 3}}, {"recover": {"tokens": 60_000}}),
        outputs=({"gguf": {"bits": 5.6}},),
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="texts for the steps")
    parser.add_argument("--held-out", required=True, help="texts to measure on")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and files")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=PLANS)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--name", default="compression", help="name of the files of results")
    args = parser.parse_args()
    path = RESULTS / f"{args.name}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for name in args.plans:
        plan = PLANS[name]
        plan.measure = MeasureSettings(texts=args.texts, subjects=args.subjects)
        done = compress(
            args.model, args.data, plan, args.out / name, held_out=args.held_out, notify=print
        )
        found[name] = compression_data(done)
        path.write_text(json.dumps(found, indent=1) + "\n")
        compression_figure(args.out / f"{name}.svg", stage_rows(done))
        print(f"\n## {name}\n\n{compression_markdown(done)}\n", flush=True)


if __name__ == "__main__":
    main()
