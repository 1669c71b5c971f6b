"""Measure the perplexity of texts after each token that could begin them.

    python benchmarks/begin_token.py smollm2 --data held-out.jsonl --out results.json

An instruct model's begin token may be a mark of its chat template, while pretraining separated
documents by another token. All variants are scored on the same tokens in one go; the interval is a
bootstrap over texts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacy.corpus import begin_end, encode_texts, read
from lacy.model import load_model
from lacy.run import environment, write_atomic


@torch.inference_mode()
def losses(model: Any, begin: int | None, texts: list[list[int]]) -> list[float]:
    """Return each text's summed loss in nats, without its first token."""
    found = []
    for ids in texts:
        row = ids if begin is None else [begin, *ids]
        logp = torch.log_softmax(model(torch.tensor([row]), use_cache=False).logits[0].float(), -1)
        first = len(row) - len(ids)  # position of the first token of the text
        targets = torch.tensor(row[first + 1 :])
        found.append(-float(logp[first:-1].gather(-1, targets[:, None]).sum()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="texts, as lacy data mark reads")
    parser.add_argument("--texts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=256, help="first tokens of each text")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    loaded = load_model(args.model)
    tokenizer, model = loaded.tokenizer, loaded.model.eval()
    documents = itertools.islice(read(args.data), args.texts)
    texts = [
        list(e.ids[: args.tokens]) for e in encode_texts(tokenizer, [d.text for d in documents])
    ]
    chosen = begin_end(tokenizer)[0]
    specials = {n: str(t) for n, t in tokenizer.added_tokens_decoder.items() if t.special}
    tried = {chosen, tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}
    counts = np.array([len(ids) - 1 for ids in texts])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(texts), (1000, len(texts)))
    rows = []
    for begin in [*sorted(tried), None]:
        sums = np.array(losses(model, begin, texts))
        boot = np.exp(sums[drawn].sum(1) / counts[drawn].sum(1))
        row = {
            "begin": "none" if begin is None else specials.get(begin, str(begin)),
            "chosen": begin == chosen,
            "perplexity": math.exp(sums.sum() / counts.sum()),
            "interval": [float(x) for x in np.quantile(boot, [0.025, 0.975])],
        }
        rows.append(row)
        print(row, flush=True)
    about = {"model": args.model, "data": args.data.name, "texts": len(texts), "seed": 0,
             "tokens": int(counts.sum()), "environment": environment(), "rows": rows}  # fmt: skip
    if args.out:
        write_atomic(args.out, json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
