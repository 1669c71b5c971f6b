"""Compare a small model in this process and on llama.cpp: agreement, speed, cost of ranking.

    OMP_NUM_THREADS=1 python benchmarks/hosted.py --model demo/lacy     # some minutes

``demo/lacy`` is what ``lacy demo`` trains. llama.cpp's own server comes from the wheel xllamacpp
and runs in a separate process. Each engine has one thread; engines take turns within each round, so
that other load on the machine affects all alike. Parts:

- ``agreement``: the model as GGUF (f32, f16, q8_0) against ``transformers`` on true texts: the
  largest difference of a log-probability, and the share of places with the same most likely token.
- ``speed``: tokens per second of one text, without calls and with an instant source at 20% calls
  (``random=0.2``), for the model and for one of random weights with the shape of a larger preset.
- ``ranking``: seconds for a call whose candidates the model ranks, and if the spans are equal.

Writes ``results/hosted.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
from llama_server import llama_server

RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("f32", "f16", "q8_0")


def agreement(loaded, files, texts):
    import torch

    from lacy.corpus import TokenText

    text = TokenText(loaded.tokenizer)
    ids = [[0, *text.encode(t)][: loaded.context - 1] for t in texts]
    with torch.inference_mode():
        logits = [loaded.model(torch.tensor([row])).logits[0] for row in ids]
    mine = np.concatenate([rows.log_softmax(-1).numpy() for rows in logits])
    found = {}
    for precision, path in files.items():
        with llama_server(path, loaded.context) as url, httpx.Client(base_url=url) as client:
            rows = [
                next_scores(client, row[: n + 1], len(mine[0]))
                for row in ids
                for n in range(len(row))
            ]
        theirs = np.array(rows)
        found[precision] = {
            "places": len(theirs),
            "largest_difference_of_a_log_probability": float(np.abs(mine - theirs).max()),
            "same_likeliest_token": float((mine.argmax(-1) == theirs.argmax(-1)).mean()),
            "bytes": path.stat().st_size,
        }
    return found


def next_scores(client, ids, size):
    """Return the log-probabilities of all next tokens; a forced token ensures an answer."""
    body = {"prompt": ids, "n_predict": 1, "n_probs": size, "logit_bias": [[1, 1000.0]]}
    answer = client.post("/completion", json=body, timeout=60).raise_for_status().json()
    (first,) = answer["completion_probabilities"]
    by_id = {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}
    return [by_id[token] for token in range(size)]


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


def speed(loaded, folder, path, prompts, args):
    from lacy.cascade import Engine, connect
    from lacy.sources import ScriptedSource

    with llama_server(path, loaded.context) as url:
        hosted = connect(f"{url}/v1", path.stem, folder)
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
    with llama_server(path, loaded.context) as url:
        hosted = connect(f"{url}/v1", path.stem, folder)
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
                "requests": hosted.server.client.sent}  # fmt: skip


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
        result = {"agreement": agreement(loaded, files, texts)}
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
    result["setup"] = {
        "machine": platform.platform(), "cores": os.cpu_count(),
        "python": platform.python_version(), "torch": torch.__version__,
        "xllamacpp": version("xllamacpp"), "threads": 1,
        "prompts": args.prompts, "new_tokens": args.new, "rounds": args.rounds,
        "load_average": os.getloadavg(), "seconds": time.perf_counter() - begin,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ranking"], indent=2))


if __name__ == "__main__":
    main()
