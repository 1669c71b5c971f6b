"""Measure what quantization to GGUF block types costs: bytes, loss on and off facts, call AUROC.

    python benchmarks/quantize.py arm NAME --model FOLDER --train MARKED.jsonl --valid MARKED.jsonl
        --work DIR [--permute] [--types q4_1] [--table q8_0] [--method gptq] [--megabytes 96]
    python benchmarks/quantize.py peer NAME ... --peer quanto4    (in an environment with the peer)
    python benchmarks/quantize.py table --work DIR                (writes results/quantize.json)

An arm is one model, quantized in one way. Its losses per text are kept in ``DIR/NAME.json``, so
that arms can be measured one by one; ``table`` compares each with the arm of the same model in
float32 (MODEL.fp32) on the same texts. Every arm reads the same beginnings of the same held-out
texts. *AUROC before*: the row of ``<CALL>`` as it was fitted to the float32 model; *after*: fitted
again on states of the quantized model, on other texts.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import quantize_peers
import torch

from lacy.annotate import encode
from lacy.cascade import truncate_document
from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.evaluate import read_losses
from lacy.layerwise import text_rows
from lacy.model import load_model
from lacy.quantize import choose_types, matrix_costs, permute_channels, quantize
from lacy.results import as_data, auroc, difference, ratio
from lacy.run import environment
from lacy.tune.gate import fit_row
from lacy.types import MarkFlag

RESULTS = Path(__file__).parent / "results"
HEADER = 2_300_000
"""Bytes of SmolLM2's tokenizer, fields and norms in a GGUF file, which a budget leaves room for."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["arm", "peer", "table"])
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--valid", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--permute", action="store_true")
    parser.add_argument("--types", default="")
    parser.add_argument("--table", default="q8_0")
    parser.add_argument("--method", default="gptq")
    parser.add_argument("--megabytes", type=float, default=0.0)
    parser.add_argument("--kinds", default="q4_0,iq4_nl,q4_1,q5_0,q5_1,q8_0")
    parser.add_argument("--rows", type=int, default=32, help="calibration texts")
    parser.add_argument("--length", type=int, default=256, help="tokens of each")
    parser.add_argument("--texts", type=int, default=32, help="held-out texts")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of each")
    parser.add_argument(
        "--fit", type=int, default=32, help="texts on which the row is fitted again"
    )
    parser.add_argument("--peer", default="")
    parser.add_argument("--keep", action="store_true", help="keep the GGUF file")
    parser.add_argument("--out", type=Path, default=RESULTS / "quantize.json")
    return parser.parse_args()


def measured(loaded, documents):
    """Return losses, states before each token, and where a value starts, of each text."""
    states = []
    head = loaded.model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: states.append(args[0][0].float()))
    try:
        losses = list(read_losses(loaded, documents, 4096, 4096))
    finally:
        hook.remove()
    due = [
        np.not_equal(np.asarray(encode(d, loaded.tokenizer).marks[1:-1]) & MarkFlag.START, 0)
        for d in documents
    ]
    return losses, [state.numpy() for state in states], due


def beginnings(path, tokenizer, count, length):
    """Return the first texts, cut to a number of tokens."""
    return [truncate_document(d, tokenizer, length) for d in read(path, limit=count)]


def figures(loaded, args):
    """Return sums per text of the losses, and scores of both rows at each position."""
    valid = beginnings(args.valid, loaded.tokenizer, args.texts, args.tokens)
    losses, states, due = measured(loaded, valid)
    row_D = loaded.model.get_output_embeddings().weight[-1].detach().float().numpy()
    gate = [state @ row_D for state in states]
    gated = getattr(loaded.model.config, "lacy_gate", "") == "sigmoid"
    if not gated:  # the margin to the largest other logit, without the matrix of all logits
        head_VD = loaded.model.get_output_embeddings().weight[:-1].detach().float()
        largest = [(torch.from_numpy(s) @ head_VD.T).amax(1).numpy() for s in states]
        gate = [g - m for g, m in zip(gate, largest, strict=True)]
    again = {}
    if args.fit:
        fit = beginnings(args.train, loaded.tokenizer, args.fit, args.tokens)
        _, fit_states, fit_due = measured(loaded, fit)
        new_D = fit_row(np.concatenate(fit_states), np.concatenate(fit_due), 0.01)
        again = {"after": [np.round(s @ new_D, 4).tolist() for s in states]}
    return {
        "texts": [
            {
                "others": float(x.loss[~x.fact].sum()), "n_others": int((~x.fact).sum()),
                "facts": float(x.loss[x.fact].sum()), "n_facts": int(x.fact.sum()),
            }
            for x in losses
        ],
        "due": [d.astype(int).tolist() for d in due],
        "before": [np.round(g, 4).tolist() for g in gate],
        **again,
    }  # fmt: skip


def run_arm(args):
    """Quantize a model in one way, write its file, and measure it."""
    begin, loaded = time.process_time(), load_model(args.model)
    if args.permute:
        permute_channels(loaded)
    setup = {key: str(value) for key, value in vars(args).items() if key not in ("work", "out")}
    found = {"setup": setup, "parameters": sum(p.numel() for p in loaded.model.parameters())}
    said = []
    if args.types or args.megabytes:
        documents = list(read(args.train))
        rows = text_rows(documents, loaded.tokenizer, rows=args.rows, length=args.length)
        types = args.types
        if args.megabytes:
            few = text_rows(documents, loaded.tokenizer, rows=args.rows // 2, length=args.length)
            costs = matrix_costs(loaded, few, args.kinds.split(","))
            types = choose_types(costs, round(args.megabytes * 1e6) - HEADER)
            found["estimated"] = sum(c.loss[types[c.name]] for c in costs)
            found["types"] = types
        quantized = quantize(
            loaded, rows, types, table=args.table, method=args.method, notify=said.append
        )
        path = quantized.write(args.work / f"{args.name}.gguf", [d.text for d in documents[:40]])
        found |= {"bytes": path.stat().st_size, "report": as_data(quantized.report)}
        if not args.keep:
            path.unlink()
    found |= {"quantize_cpu_seconds": time.process_time() - begin, "notes": said}
    finish(args, loaded, found, begin)


def run_peer(args):
    """Measure a model that another library has quantized in memory."""
    begin, loaded = time.process_time(), load_model(args.model)
    if args.permute:
        permute_channels(loaded)
    rows = text_rows(read(args.train), loaded.tokenizer, rows=args.rows, length=args.length)
    size, what = quantize_peers.apply(args.peer, loaded, rows, args.work)
    setup = {key: str(value) for key, value in vars(args).items() if key not in ("work", "out")}
    found = {
        "setup": setup, "bytes": size, "what": what,
        "quantize_cpu_seconds": time.process_time() - begin,
    }  # fmt: skip
    finish(args, loaded, found, begin)


def finish(args, loaded, found, begin):
    found |= figures(loaded, args)
    found |= {"cpu_seconds": time.process_time() - begin, "environment": environment()}
    args.work.mkdir(parents=True, exist_ok=True)
    write_atomic(args.work / f"{args.name}.json", json.dumps(found))
    print(args.name, found.get("bytes"), summary(found))


def summary(found):
    texts = found["texts"]
    parts = ("others", "facts")
    loss = {p: sum(t[p] for t in texts) / sum(t[f"n_{p}"] for t in texts) for p in parts}
    return {
        **loss,
        **{w: auroc(found[w], found["due"]).value for w in ("before", "after") if w in found},
    }


def column(found, part):
    return [t[part] for t in found["texts"]], [t[f"n_{part}"] for t in found["texts"]]


def write_table(args):
    """Compare every arm with the float32 model of its name's first part (MODEL.ARM)."""
    arms = {p.stem: json.loads(p.read_text()) for p in sorted(args.work.glob("*.*.json"))}
    arms = {n: found for n, found in arms.items() if f"{n.split('.')[0]}.fp32" in arms}
    rows = {}
    for name, found in arms.items():
        base = arms[f"{name.split('.')[0]}.fp32"]
        full = 4 * base["parameters"]
        row = {"bytes": found.get("bytes", full), "smaller": full / found.get("bytes", full)}
        for part in ("others", "facts"):
            now, before = column(found, part), column(base, part)
            row[part] = as_data(ratio(*now, unit="nats per token"))
            change = as_data(difference(now, before, unit="nats per token"))
            scale = sum(before[0]) / sum(before[1])
            limits = {key: change[key] / scale for key in ("value", "low", "high")}
            row[f"{part}_change"] = limits
        for when in [when for when in ("before", "after") if when in found]:
            row[f"auroc_{when}"] = as_data(auroc(found[when], found["due"]))
        report = found.get("report")
        if report:
            row["bits_per_weight"] = report["bits_per_weight"]
            row["kinds"] = kinds_of(report)
        keys = ("estimated", "what", "notes", "quantize_cpu_seconds", "cpu_seconds")
        row |= {key: found[key] for key in keys if key in found}
        rows[name] = row
    setup = next(iter(arms.values()))
    data = {
        "arms": rows, "setup": {n: f["setup"] for n, f in arms.items()},
        "texts": len(setup["texts"]), "environment": setup["environment"],
    }  # fmt: skip
    old = json.loads(args.out.read_text()) if args.out.exists() else {}
    write_atomic(args.out, json.dumps({**old, **data}, indent=1) + "\n")
    for name, row in rows.items():
        change = [
            f"{100 * row[f'{p}_change'][k]:+.2f}"
            for p in ("others", "facts")
            for k in ("value", "low", "high")
        ]
        aucs = [f"{row[k]['value']:.4f}" for k in ("auroc_before", "auroc_after") if k in row]
        print(name, f"{row['bytes'] / 1e6:.1f} MB", f"{row['smaller']:.2f}x", *change, *aucs)


def kinds_of(report):
    """Return how many bytes each block type has."""
    sizes = {}
    for matrix in report["matrices"]:
        sizes[matrix["kind"]] = sizes.get(matrix["kind"], 0) + matrix["bytes"]
    return sizes


if __name__ == "__main__":
    given = arguments()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    {"arm": run_arm, "peer": run_peer, "table": write_table}[given.command](given)
