"""Measure texts and cost if a model keeps its source's sentences while it writes.

    python benchmarks/writing_after_reading.py MODEL ARTICLES.jsonl --pipeline en_core_web_sm

A tuned model continues articles, which are the documents that answer its calls. Conditions: the
sentences stay until the value is chosen or until the sentence ends (``Engine(read_until=)``), and
``--limits`` of the choice's probability. For each, the shares of right entities, with 95% intervals
over articles, and CPU time per token; ``never`` is the model alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from lacy.cascade import open_model
from lacy.corpus import read
from lacy.disk import write_atomic
from lacy.evaluate import answer_articles, article_prompts, default_extract, open_article_source
from lacy.model import set_precision
from lacy.results import as_data
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"
METRICS = (
    "entities_right", "own_entities_right", "borrowed_entities_right", "right_per_text",
    "entity_recall", "call_rate", "calls_per_answer",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model")
    parser.add_argument("articles", type=Path)
    parser.add_argument("--only", default="is_biography")
    parser.add_argument("--skip", type=int, default=0, help="articles to leave out first")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--pipeline", default="auto")
    parser.add_argument("--policy", default="budget=0.22,by=gate+entropy")
    parser.add_argument("--limits", type=float, nargs="*", default=(0.1, 0.2))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS / "writing_after_reading.json")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    loaded, extract = open_model(flags.model), default_extract(flags.pipeline)
    set_precision(loaded.model, flags.dtype)
    chosen = read(flags.articles, only=flags.only)
    articles = list(itertools.islice(chosen, flags.skip, flags.skip + flags.count))
    prompts = article_prompts(articles, extract, 16)
    conditions: dict[str, tuple[str, dict[str, Any]]] = {
        "never": ("never", {}),
        "value": (flags.policy, {"read_until": "value"}),
        "sentence": (flags.policy, {}),
    }
    for limit in flags.limits:
        conditions[f"limit {limit:g}"] = (flags.policy, {"abstain": math.log(limit)})
    rows = {}
    with open_article_source("documents", articles, extract, prompts) as (source, subjects):
        for name, (policy, settings) in conditions.items():
            begin = time.process_time()
            found = answer_articles(
                loaded, articles, extract, policy, source, prompts, subjects, max_new_tokens=64,
                batch_size=flags.batch, **settings,
            )  # fmt: skip
            tokens = sum(answer.tokens for answer in found.answers)
            scores = {metric: as_data(found.scores[metric]) for metric in METRICS}
            per_token = 1000 * (time.process_time() - begin) / tokens
            rows[name] = {**scores, "cpu_ms_per_token": round(per_token, 1)}
            print(name, f"{found.scores['entities_right']}, {per_token:.0f} ms", flush=True)
    names = ("only", "skip", "count", "pipeline", "policy", "batch", "dtype")
    setup = {name: getattr(flags, name) for name in names}
    data = {"conditions": rows, "setup": {**setup, **environment(), "n": len(articles)}}
    write_atomic(flags.out, json.dumps(data, indent=1) + "\n")
    print(f"Written: {flags.out}")


if __name__ == "__main__":
    main()
