"""Compare a small model in this process and on llama.cpp: agreement, speed, cost of ranking.

    export LACY_LLAMA_PYTHON=...    # a Python with llama-cpp-python[server]; or install it here
    OMP_NUM_THREADS=1 python benchmarks/hosted.py --model demo/lacy     # about five minutes

``demo/lacy`` is what ``lacy demo`` trains. Each engine has one thread; the server is a separate
process on loopback that computes one text after the other. Engines take turns within each round, so
that other load on the machine affects all alike. Parts:

- ``agreement``: the model as GGUF (f32, f16, q8_0) against ``transformers`` on true texts: the
  largest difference of a logit, and the share of places with the same most likely token.
- ``speed``: tokens per second of one text, without calls and with an instant source at 20% calls
  (``random=0.2``), for the model and for one of random weights with the shape of a larger preset.
- ``ranking``: seconds for a call whose candidates the model ranks, and if the spans are equal.

Writes ``results/hosted.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("f32", "f16", "q8_0")
LOGITS = """
import json, sys
import numpy as np
from llama_cpp import Llama
jobs = json.load(open(sys.argv[1]))
n = max(map(len, jobs["ids"]))
m = Llama(jobs["model"], n_ctx=n, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)
rows = []
for ids in jobs["ids"]:
    m.reset()
    m.eval(ids)
    rows.append(np.array(m.scores[: len(ids)]))
np.savez(sys.argv[2], *rows)
"""


def llama_python():
    found = sys.executable if importlib.util.find_spec("llama_cpp") else None
    python = found or os.environ.get("LACY_LLAMA_PYTHON")
    if python is None:
        sys.exit("set LACY_LLAMA_PYTHON to a Python with llama-cpp-python[server]")
    return python


def clean():
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def agreement(loaded, files, texts, scratch):
    import torch

    from lacy.corpus import TokenText

    text = TokenText(loaded.tokenizer)
    ids = [[0, *text.encode(t)][: loaded.context] for t in texts]
    with torch.inference_mode():
        mine = [loaded.model(torch.tensor([row])).logits[0].numpy() for row in ids]
    found = {}
    for precision, path in files.items():
        jobs, out = scratch / "jobs.json", scratch / "logits.npz"
        jobs.write_text(json.dumps({"model": str(path), "ids": ids}))
        subprocess.run([llama_python(), "-c", LOGITS, jobs, out], check=True, env=clean())
        theirs = list(np.load(out).values())
        pairs = list(zip(mine, theirs, strict=True))
        same = np.concatenate([a.argmax(-1) == b.argmax(-1) for a, b in pairs])
        found[precision] = {
            "places": len(same),
            "largest_logit_difference": max(float(np.abs(a - b).max()) for a, b in pairs),
            "same_likeliest_token": float(same.mean()),
            "bytes": path.stat().st_size,
        }
    return found


@contextmanager
def server(path, context):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    flags = {"model": path, "n_ctx": context, "port": port, "n_threads": 1, "n_threads_batch": 1,
             "verbose": "false", "logits_all": "true", "type_k": 0, "type_v": 0}  # fmt: skip
    words = [str(w) for name, value in flags.items() for w in (f"--{name}", value)]
    running = subprocess.Popen(
        [llama_python(), "-m", "llama_cpp.server", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean(),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(300):
            try:
                httpx.get(f"{url}/models", timeout=5)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield url
    finally:
        running.terminate()
        running.wait(timeout=20)


def timed(engines, prompts, new, rounds):
    """Return the tokens per second of each engine: medians over rounds, one text at a time."""
    speeds = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            begin, tokens = time.perf_counter(), 0
            for prompt in prompts:
                tokens += engine.generate([prompt], max_new_tokens=new)[0].tokens
            speeds[name].append(tokens / (time.perf_counter() - begin))
    return {name: {"median": float(np.median(v)), "rounds": v} for name, v in speeds.items()}


def count_requests(client):
    """Return a list that grows by one with each request of a client."""
    requests = []

    def counted(method):
        def send(*args, **fields):
            requests.append(1)
            return method(*args, **fields)

        return send

    client.complete, client.stream = counted(client.complete), counted(client.stream)
    return requests


def speed(loaded, folder, path, prompts, args):
    from lacy.cascade import Engine, connect
    from lacy.sources import ScriptedSource

    with server(path, loaded.context) as url:
        hosted = connect(url, path.stem, folder)
        engines = {}
        for policy in ("never", "random=0.2"):
            for name, given in (("in process", loaded), ("llama.cpp", hosted)):
                engines[f"{name}, {policy}"] = Engine(given, ScriptedSource([" Ulm"]), policy)
        for engine in engines.values():
            engine.generate(prompts[:1], max_new_tokens=4)
        return timed(engines, prompts, args.new, args.rounds)


def ranking(loaded, folder, path, prompts, world):
    from lacy.cascade import Engine, connect
    from lacy.sources import open_source

    source = open_source(str(world))
    with server(path, loaded.context) as url:
        hosted = connect(url, path.stem, folder)
        requests = count_requests(hosted.server.client)
        found = {}
        texts = {}
        for name, given in (("in process", loaded), ("llama.cpp", hosted)):
            engine = Engine(given, source, "threshold=0", max_new_tokens=40)
            begin = time.perf_counter()
            answers = engine.generate(prompts)
            seconds = time.perf_counter() - begin
            calls = sum(answer.calls for answer in answers)
            texts[name] = [[(s.text, s.speaker, s.tokens) for s in a.spans] for a in answers]
            found[name] = {"calls": calls, "seconds_per_call": seconds / max(1, calls)}
        equal = [a == b for a, b in zip(*texts.values(), strict=True)]
        return {**found, "texts_with_equal_spans": sum(equal), "texts": len(equal),
                "requests": len(requests)}  # fmt: skip


def main():
    import torch

    from lacy.model import build_model, load_model, save_model
    from lacy.model.gguf import write_gguf
    from lacy.world import load_world

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("demo/lacy"))
    parser.add_argument(
        "--world",
        type=Path,
        help="folder of the world (default: the folder world next to the model)",
    )
    parser.add_argument("--preset", default="15m", help="preset of the model with random weights")
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--new", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "hosted.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    loaded = load_model(args.model)
    where = args.world or args.model.parent / "world"
    world = load_world(where)
    prompts = world.prompts(limit=args.prompts)
    texts = [d.text for d, _ in zip(world.documents("train"), range(40), strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        files = {p: write_gguf(loaded, scratch / f"{p}.gguf", p) for p in PRECISIONS}
        result = {"agreement": agreement(loaded, files, texts, scratch)}
        print(json.dumps(result["agreement"], indent=2), flush=True)
        sizes = {"trained": (loaded, loaded.path)}
        larger = build_model(args.preset, loaded.tokenizer, context=loaded.context)
        save_model(scratch / "larger", larger, loaded.tokenizer)
        sizes[args.preset] = (load_model(scratch / "larger"), scratch / "larger")
        result["speed"] = {}
        for name, (model, place) in sizes.items():
            path = write_gguf(model, scratch / f"{name}.gguf", "f32")
            result["speed"][name] = {
                "parameters": sum(p.numel() for p in model.model.parameters()),
                **speed(model, place, path, prompts, args),
            }
            print(json.dumps(result["speed"][name], indent=2), flush=True)
        result["ranking"] = ranking(loaded, loaded.path, files["f32"], prompts[:3], where)
    version = subprocess.run(
        [llama_python(), "-c", "import llama_cpp; print(llama_cpp.__version__)"],
        capture_output=True, text=True, check=True, env=clean(),
    )  # fmt: skip
    result["setup"] = {
        "machine": platform.platform(), "cores": os.cpu_count(),
        "python": platform.python_version(), "torch": torch.__version__,
        "llama_cpp_python": version.stdout.strip(), "threads": 1,
        "prompts": args.prompts, "new_tokens": args.new, "rounds": args.rounds,
        "load_average": os.getloadavg(), "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ranking"], indent=2))


if __name__ == "__main__":
    main()
