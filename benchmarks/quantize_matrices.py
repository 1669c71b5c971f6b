"""Quantization error of single matrices by block type and method; loss with a quantized embedding.

    python benchmarks/quantize_matrices.py block MODEL --texts MARKED.jsonl
    python benchmarks/quantize_matrices.py embedding MODEL --texts MARKED.jsonl

``block``: the output error of each matrix of the first block, relative to its output, on 32 texts.
``embedding``: the loss on 6 other texts if the embedding, which is also the head, is rounded: as
head alone, as input alone, and as both. Adds to ``results/quantize_matrices.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.layerwise import text_rows, walk_blocks
from lacy.model import BLOCK_TYPES, BlockMatrix, hidden_states, load_model
from lacy.quantize import compensated_matrix, search_matrix
from lacy.run import environment

OUT = Path(__file__).parent / "results" / "quantize_matrices.json"


def block(loaded, documents):
    """Return relative output errors by matrix, type and method."""
    rows = text_rows(documents, loaded.tokenizer, rows=32, length=256)
    visit = next(walk_blocks(loaded.model, rows))
    found = {"tokens": sum(ids_BT.numel() for ids_BT in rows), "errors": {}}
    inputs = visit.statistics()
    for matrix in visit.matrices:
        own, weight_OI = inputs[matrix.name], matrix.weight_OI
        whole = own.output_error(weight_OI)
        errors = {}
        for kind in BLOCK_TYPES:
            made = {
                "nearest": BlockMatrix.nearest(weight_OI, kind),
                "search": search_matrix(weight_OI, kind, own.squares_I),
                "gptq": compensated_matrix(weight_OI, kind, own.hessian_II),
            }
            errors[kind] = {
                how: own.output_error(blocks.dequantized() - weight_OI) / whole
                for how, blocks in made.items()
            }
        spread = float(own.squares_I.max() / own.squares_I.median())
        found["errors"][matrix.name] = {"largest_by_median_square": spread, **errors}
        print(matrix.name, spread, errors, flush=True)
    return found


@torch.no_grad()
def embedding(loaded, documents):
    """Return the change of the loss by ways of rounding the embedding to ``q5_1``."""
    model, documents = loaded.model, documents[:200]
    held = text_rows(documents, loaded.tokenizer, rows=6, length=129, seed=1)
    calibration = text_rows(documents, loaded.tokenizer, rows=8, length=192, seed=2)
    table = model.get_input_embeddings().weight
    true_VD = table[:-1].clone()
    states_ND = torch.cat([hidden_states(model, ids).flatten(0, 1) for ids in calibration])
    hessian_DD = (states_ND.T @ states_ND).double()

    def loss(states, head_VD):
        total = count = 0
        for ids_BT, states_BTD in zip(held, states, strict=True):
            logits_NV = states_BTD[:, :-1].flatten(0, 1) @ head_VD.T
            targets_N = ids_BT[:, 1:].flatten()
            total += float(torch.nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum"))
            count += len(targets_N)
        return total / count

    before = [hidden_states(model, ids) for ids in held]
    base = loss(before, true_VD)
    found = {"loss": base, "tokens": sum(ids.numel() for ids in held), "changes": {}}
    ways = {
        "nearest": lambda: BlockMatrix.nearest(true_VD, "q5_1"),
        "search": lambda: search_matrix(true_VD, "q5_1", hessian_DD.diagonal()),
        "search, all alike": lambda: search_matrix(true_VD, "q5_1"),
        "gptq, damping 0.01": lambda: compensated_matrix(true_VD, "q5_1", hessian_DD),
        "gptq, damping 1": lambda: compensated_matrix(true_VD, "q5_1", hessian_DD, damping=1.0),
    }
    for way, make in ways.items():
        begin = time.process_time()
        rounded_VD = make().dequantized()
        seconds = time.process_time() - begin
        head = loss(before, rounded_VD) - base
        table[:-1] = rounded_VD
        after = [hidden_states(model, ids) for ids in held]
        table[:-1] = true_VD
        found["changes"][way] = {
            "head": head, "input": loss(after, true_VD) - base,
            "both": loss(after, rounded_VD) - base, "cpu_seconds": seconds,
        }  # fmt: skip
        print(way, found["changes"][way], flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["block", "embedding"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded, documents = load_model(args.model), list(read(args.texts))
    found = {"block": block, "embedding": embedding}[args.command](loaded, documents)
    old = json.loads(OUT.read_text()) if OUT.exists() else {}
    key = f"{args.command}, {args.model.name}"
    data = {**old, key: {**found, "environment": environment()}}
    write_atomic(OUT, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
