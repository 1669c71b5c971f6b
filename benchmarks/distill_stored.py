"""Measure what is lost if only a teacher's k likeliest tokens are stored.

    OMP_NUM_THREADS=1 python benchmarks/distill_stored.py MODEL --texts TEXTS.jsonl

MODEL is the teacher; the student is the same model without its last quarter of blocks. For each k,
the script compares the divergence from k tokens and a rest with the one from all tokens, on the
same positions: value, gradient by the student's hidden states, and bytes per position. Intervals
are over texts. Writes ``results/distill_stored.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacy.corpus import read
from lacy.distill import LiveTeacher, RowPredictions, divergence
from lacy.layerwise import text_rows
from lacy.model import head_weight, hidden_states, load_model
from lacy.prune import prune_depth
from lacy.run import environment
from lacy.train import MicroBatch

RESULTS = Path(__file__).parent / "results"


class Top:
    """The predictions of a teacher reduced as ``store_teacher`` does it."""

    def __init__(self, logq_NV: torch.Tensor, top: int) -> None:
        top_NK, self.ids_NK = logq_NV.topk(top)
        rest_N = logq_NV.scatter(1, self.ids_NK, -torch.inf).logsumexp(1)
        stored = torch.cat((top_NK, rest_N[:, None]), 1).half().float()
        self.logq_NM = stored - stored.logsumexp(1, keepdim=True)

    def chunk(self, rows_n: torch.Tensor) -> RowPredictions:
        """Return the predictions for some positions."""
        return RowPredictions(self.logq_NM[rows_n], self.ids_NK[rows_n])


def interval(values: np.ndarray, draws: np.ndarray) -> list[float]:
    return [round(float(q), 4) for q in np.quantile(values[draws].mean(1), [0.025, 0.975])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tops", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024])
    args = parser.parse_args()
    torch.set_num_threads(1)
    teacher = load_model(args.model)
    texts = itertools.islice(read(args.texts), 4 * args.count)
    batches = text_rows(texts, teacher.tokenizer, rows=args.count, length=args.tokens)
    student = prune_depth(load_model(args.model), share=0.25, by="last").loaded
    head_VD = head_weight(student.model).detach()
    rows: dict[str, list[tuple[float, ...]]] = {}
    for ids_T in (row for ids_BT in batches for row in ids_BT):
        micro = MicroBatch.of({"input_ids": ids_T[None]}, torch.device("cpu"))
        keep_N = micro.valid_BT.flatten().nonzero()[:, 0]
        live = LiveTeacher(teacher.model).predict(micro, torch.float32)
        logq_NV = live.chunk(keep_N).logq_nM
        with torch.no_grad():
            hidden_ND = hidden_states(student.model, micro.ids_BT)[0][keep_N]

        def losses(predictions: Any, hidden_ND: torch.Tensor = hidden_ND) -> tuple:
            hidden_ND = hidden_ND.clone().requires_grad_()
            total = divergence(hidden_ND, head_VD, predictions, torch.ones(len(hidden_ND)))
            return total.item() / len(hidden_ND), torch.autograd.grad(total, hidden_ND)[0]

        class All:
            def chunk(self, rows_n: torch.Tensor, logq_NV: torch.Tensor = logq_NV) -> Any:
                return RowPredictions(logq_NV[rows_n])

        full, gradient = losses(All())
        for top in args.tops:
            predictions = Top(logq_NV, top)
            value, other = losses(predictions)
            mass = 1 - predictions.logq_NM[:, -1].exp().mean()
            cosine = torch.cosine_similarity(gradient.flatten(), other.flatten(), dim=0)
            error = (other - gradient).norm() / gradient.norm()
            rows.setdefault(str(top), []).append(
                (value / full, float(mass), float(cosine), float(error))
            )
    names = ("divergence_kept", "mass", "gradient_cosine", "gradient_error")
    draws = np.random.default_rng(0).integers(0, args.count, (1000, args.count))
    table = {}
    for top, found in rows.items():
        columns = np.array(found)
        table[top] = {"bytes_per_position": 6 * int(top) + 2} | {
            name: {"value": round(float(c.mean()), 4), "interval": interval(c, draws)}
            for name, c in zip(names, columns.T, strict=True)
        }
        print(top, json.dumps(table[top]), flush=True)
    report = {
        "what": "divergence from the k likeliest tokens and a rest, against all tokens",
        "settings": {k: getattr(v, "name", str(v)) for k, v in vars(args).items()}, "n": args.count,
        "vocabulary": len(teacher.tokenizer), "table": table, "environment": environment(),
    }  # fmt: skip
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "distill_stored.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
