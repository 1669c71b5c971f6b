"""Does quantization cost more late in a training? One run, quantized at several of its steps.

    OMP_NUM_THREADS=1 python benchmarks/quantize_checkpoints.py PACKED [--steps 1600] [--seeds 0 1]

PACKED is a folder of ``lacy data mark`` (vocabulary 4,096, context 256). A model of 3 million
parameters is trained with a constant learning rate, which decays to 0 over the last fifth of the
steps. At each checkpoint, a copy is rounded to q4_0 (embedding and head to q8_0), to the nearest
values and by GPTQ, and all three are measured on the same held-out rows. Writes
``results/quantize_checkpoints.json``.
"""

import argparse
import copy
import json
from pathlib import Path

import torch

from lacy.corpus import BatchOrder, PackedData
from lacy.model import Loaded, build_model, hidden_states
from lacy.objective import Objective
from lacy.quantize import quantize
from lacy.results import as_data, difference
from lacy.run import environment, write_atomic
from lacy.train import FitState, MicroBatch, fit

RESULTS = Path(__file__).parent / "results" / "quantize_checkpoints.json"
RATE, WARMUP, DECAY, ROWS, HELD_OUT, CALIBRATION = 3e-3, 50, 0.2, 8, 48, 16


def rate(step, steps):
    """Return the learning rate: warm-up, constant, linear decay."""
    return RATE * min(1.0, (step + 1) / WARMUP, (steps - step) / (DECAY * steps))


def losses(model, batches):
    """Return the summed loss of the text and the number of targets of each row."""
    sums, counts = [], []
    head_VD = model.get_output_embeddings().weight[:-1]
    for micro in batches:
        with torch.inference_mode():
            hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
            loss_BT = torch.nn.functional.cross_entropy(
                (hidden_BTD @ head_VD.T).transpose(1, 2), micro.targets_BT, reduction="none"
            )
        sums += loss_BT.sum(1).tolist()
        counts += micro.valid_BT.sum(1).tolist()
    return sums, counts


def rounded(model, tokenizer, rows, method):
    """Return a copy of the model with rounded matrices."""
    loaded = Loaded(copy.deepcopy(model).eval(), tokenizer, {})
    quantize(loaded, rows if method == "gptq" else (), "q4_0", method=method)
    return loaded.model


def run(data, seed, steps, checkpoints):
    """Train, and compare the model with its rounded copies at each checkpoint."""
    device, trained = torch.device("cpu"), len(data) - HELD_OUT - CALIBRATION
    numbers = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    fitted, rest = numbers[:trained], numbers[trained:]
    held = [MicroBatch.of(data.batch(rest[n : n + ROWS]), device) for n in range(0, HELD_OUT, ROWS)]
    calibration = [torch.as_tensor(data.batch([n])["input_ids"]).long() for n in rest[HELD_OUT:]]
    model = build_model("3m", data.tokenizer, context=data.context, seed=seed)
    order = BatchOrder(trained, batch_rows=ROWS, seed=seed)
    batches = (data.batch([fitted[n] for n in order.rows(step)]) for step in range(steps))
    found = []
    state = FitState.start(model, lr=RATE)
    for done in fit(
        state, batches, Objective(call_rate=0.15), lr=lambda step: rate(step, steps), seed=seed
    ):
        if done.step not in checkpoints:
            continue
        model.eval()
        before = losses(model, held)
        row = {"seed": seed, "step": done.step, "loss": sum(before[0]) / sum(before[1])}
        for method in ("nearest", "gptq"):
            after = losses(rounded(model, data.tokenizer, calibration, method), held)
            row[method] = as_data(difference(after, before, unit="nats per token"))
        model.train()
        found.append(row)
        print(json.dumps(row), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = PackedData.load(args.packed)
    shares = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.8, 1)
    checkpoints = {round(share * args.steps) for share in shares}
    rows = [row for seed in args.seeds for row in run(data, seed, args.steps, checkpoints)]
    record = {
        "steps": args.steps, "held_out_rows": HELD_OUT, "rows": rows, "environment": environment(),
    }  # fmt: skip
    write_atomic(RESULTS, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
