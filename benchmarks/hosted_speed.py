"""Compare the speed of a model in this process (fp32) with llama.cpp, one text at a time.

    python benchmarks/hosted_speed.py MODEL TEXTS.jsonl

MODEL is a folder with a separate gate. Conditions: calls off, and calls by the gate with an instant
source and a budget of 22% of the tokens. Engines take turns within
each round, with one thread each, and continue the first 16 words of articles. Speeds are tokens of
the answers (borrowed ones included) per second and per CPU second of all processes together; on a
busy machine, only the latter are comparable. Also the share of texts whose spans equal those in
process. Writes ``results/hosted_speed.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from llama_server import llama_server

RESULTS = Path(__file__).parent / "results"


def cpu_seconds():
    """Return the CPU seconds of this process and of its running children."""
    own = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in [own, *own.children(recursive=True)])


def source():
    """Return a source that answers at once, with values that differ from call to call."""
    from lacy.sources import ScriptedSource

    return ScriptedSource(lambda request: f" Ulm {len(request.text)},")


def main():
    import torch

    from lacy.cascade import Engine, connect
    from lacy.corpus import read
    from lacy.model import load_model, write_gguf
    from lacy.types import call_rate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", nargs="+", default=["never", "budget=0.22"])
    parser.add_argument("--precisions", nargs="+", default=["f16", "q8_0", "q4_1"])
    parser.add_argument(
        "--files", nargs="*", default=[], help="further files of the same model, NAME=FILE.gguf"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "hosted_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    loaded = load_model(args.model)
    prompts = [" ".join(d.text.split()[:16]) for d in read(args.texts, limit=args.prompts)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        models = {"in process, fp32": loaded}
        for precision in args.precisions:
            path = write_gguf(loaded, Path(folder) / f"{precision}.gguf", precision)
            url = stack.enter_context(llama_server(path, 256))
            models[f"llama.cpp, {precision}"] = connect(f"{url}/v1", "", args.model)
        for name, path in (given.split("=", 1) for given in args.files):
            url = stack.enter_context(llama_server(Path(path), 256))
            models[f"llama.cpp, {name}"] = connect(f"{url}/v1", "", args.model)
        found = {}
        for policy in args.policies:
            engines = {
                name: Engine(model, source(), policy, max_new_tokens=args.new, at="word")
                for name, model in models.items()
            }
            told = {name: [] for name in engines}
            rows = {name: {"per_second": [], "per_cpu_second": []} for name in engines}
            for engine in engines.values():
                engine.generate(prompts[:1], max_new_tokens=4)
            for _ in range(args.rounds):
                for name, engine in engines.items():
                    wall, cpu = time.perf_counter(), cpu_seconds()
                    answers = [engine.generate([prompt])[0] for prompt in prompts]
                    tokens = sum(answer.tokens for answer in answers)
                    rows[name]["per_second"].append(tokens / (time.perf_counter() - wall))
                    rows[name]["per_cpu_second"].append(tokens / (cpu_seconds() - cpu))
                    told[name] = answers
            mine = [[(s.text, s.speaker) for s in a.spans] for a in told["in process, fp32"]]
            for name, row in rows.items():
                spans = [[(s.text, s.speaker) for s in a.spans] for a in told[name]]
                row |= {f"{unit}_median": float(np.median(row[unit])) for unit in list(row)}
                row["equal_texts"] = float(
                    np.mean([a == b for a, b in zip(mine, spans, strict=True)])
                )
                row["call_rate"] = call_rate(told[name])
            found[policy] = rows
            print(json.dumps({policy: rows}, indent=1), flush=True)
    found["setup"] = {
        "machine": platform.platform(), "cores": os.cpu_count(), "threads": 1,
        "torch": torch.__version__, "xllamacpp": version("xllamacpp"), "model": args.model.name,
        "prompts": len(prompts), "new_tokens": args.new, "rounds": args.rounds,
        "load_average": os.getloadavg(), "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
