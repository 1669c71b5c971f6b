"""Compare a model tuned with LoRA with the model that it started from.

    python benchmarks/tune_lora.py --before TUNED_ROW --after RUN/model [RUN/model ...] \
        --articles MARKED.jsonl [--general TEXTS.jsonl.gz]

Both models process the first tokens of held-out marked articles. The script measures the AUROC of
the ``<CALL>`` logit at value starts and at misses (first mentions that the *first* model gets
wrong, so that the positions are the same for both), and the loss of the text without ``<CALL>``.
Differences are paired: articles are resampled, never tokens.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lacy.annotate import encode
from lacy.corpus import read
from lacy.model import bf16_is_fast, head_weight, load_model, model_fingerprint
from lacy.run import environment
from lacy.tune.misses import first_mentions
from lacy.tune.states import read_states

RESULTS = Path(__file__).parent / "results"


def table_of(place: Path, args: argparse.Namespace, source: Path) -> tuple[Any, np.ndarray, Any]:
    """Return the states of the articles, the gate's logit per token, and first mentions."""
    loaded = load_model(place, verify=False)
    loaded.model.eval()
    articles = []
    for document in read(source):
        found = encode(document, loaded.tokenizer)
        ids, marks = found.input_ids[: args.tokens], found.marks[: args.tokens]
        articles.append(replace(found, input_ids=ids, marks=marks))
        if len(articles) == args.count:
            break
    fast, _ = bf16_is_fast(torch.device("cpu"))
    states, _ = read_states(
        loaded.model, articles, args.states, fingerprint=model_fingerprint(loaded.model), bf16=fast
    )
    row_D = head_weight(loaded.model)[-1].detach().float().numpy()
    return states, states.hidden_ND @ row_D, first_mentions(articles, loaded.tokenizer)


def interval(values: list[float]) -> list[float]:
    return [round(float(q), 4) for q in np.quantile(values, [0.025, 0.975])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, nargs="+", required=True)
    parser.add_argument("--articles", type=Path, required=True)
    parser.add_argument("--general", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=193)
    parser.add_argument("--states", type=Path, default=Path("states"))
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--name", default="tune_lora")
    args = parser.parse_args()
    torch.set_num_threads(1)

    before, gate_before, first = table_of(args.before, args, args.articles)
    general = table_of(args.before, args, args.general)[0] if args.general else None
    due = {"start": before.is_start, "miss": before.is_start & first & ~before.right_N}
    chance = np.random.default_rng(0)
    rows_of = [np.flatnonzero(before.article_N == n) for n in range(before.article_N.max() + 1)]
    draws = [chance.integers(0, len(rows_of), len(rows_of)) for _ in range(args.draws)]
    samples = [np.concatenate([rows_of[n] for n in draw]) for draw in draws]
    report: dict[str, Any] = {
        "what": "AUROC of the <CALL> logit and language loss before and after LoRA",
        "settings": {k: str(v) for k, v in vars(args).items()},
        "tokens": len(before), "articles": len(rows_of),
        "positions": {name: int(flags.sum()) for name, flags in due.items()},
        "before": {name: round(roc_auc_score(flags, gate_before), 4) for name, flags in due.items()}
        | {"loss": round(float(before.loss_N.mean()), 4)},
        "after": [], "environment": environment(),
    }  # fmt: skip
    if general is not None:
        report["before"]["general_loss"] = round(float(general.loss_N.mean()), 4)
    for place in args.after:
        after, gate, _ = table_of(place, args, args.articles)
        row: dict[str, Any] = {"model": str(place)}
        for name, flags in due.items():
            gains = [
                roc_auc_score(flags[s], gate[s]) - roc_auc_score(flags[s], gate_before[s])
                for s in samples[:200]
            ]
            row[name] = round(roc_auc_score(flags, gate), 4)
            row[f"{name}_interval"] = interval(
                [roc_auc_score(flags[s], gate[s]) for s in samples[:200]]
            )
            row[f"{name}_gain"] = round(row[name] - report["before"][name], 4)
            row[f"{name}_gain_interval"] = interval(gains)
        change = after.loss_N - before.loss_N
        row["loss"] = round(float(after.loss_N.mean()), 4)
        row["loss_change_interval"] = interval([float(change[s].mean()) for s in samples])
        own = after.is_start & first & ~after.right_N
        row["own_misses"] = {
            "positions": int(own.sum()),
            "auroc": round(roc_auc_score(own, gate), 4),
        }
        if general is not None:
            row["general_loss"] = round(
                float(table_of(place, args, args.general)[0].loss_N.mean()), 4
            )
        report["after"].append(row)
        print(json.dumps(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["before"]))


if __name__ == "__main__":
    main()
