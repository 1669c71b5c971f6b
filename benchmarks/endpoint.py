"""Compare streamed and complete answers of a model behind a server, in seconds per answer.

    OMP_NUM_THREADS=1 python benchmarks/endpoint.py        # about two minutes

The server is ``transformers serve`` in its own process, over loopback, with one thread and a random
Llama of 19 million parameters. ``Endpoint`` requests a ``word`` (at most 12 tokens) or a ``value``
(at most 16), 1 or 8 requests at a time, with ``stream=True`` and ``False``. Both sides send the
same requests in each round, in random order. Measured are wall seconds per call of ``ask``:
medians, and the median of the ratios of complete to streamed within a round, with a 95% bootstrap
interval. The model writes letters, spaces and commas. Chance decides where a unit ends
(``characters`` of a unit, equal for both sides; each is a token of the model). Streaming saves the
rest up to the limit. Writes ``results/endpoint.csv`` (a row per call) and
``results/endpoint.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from streams import interval
from transformers import LlamaConfig, LlamaForCausalLM

from lacy.model import save_model
from lacy.run import environment
from lacy.sources.models import Endpoint
from lacy.sources.models.base import DEFAULT_MAX_TOKENS
from lacy.testing import byte_tokenizer
from lacy.types import Request

RESULTS = Path(__file__).parent / "results"
SIDES = {"streamed": True, "whole": False}


def make(folder: Path, width: int, layers: int) -> int:
    """Save a model of random weights in ``folder`` and return its number of parameters."""
    torch.manual_seed(1)
    tokenizer = byte_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width,
        num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8,
        max_position_embeddings=512, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=False,
    ))  # fmt: skip
    scale = torch.zeros(len(tokenizer), 1)
    scale[[tokenizer.encode(c)[0] for c in "abcdefghijklmnopqrstuvwxyz"]] = 1.0
    scale[tokenizer.encode(" ")[0]], scale[tokenizer.encode(",")[0]] = 4.0, 2.0
    # A zero row gives a logit of 0; the largest of the scaled rows is always above that.
    model.lm_head.weight.data *= scale
    save_model(folder, model, tokenizer)
    return sum(p.numel() for p in model.parameters())


@contextmanager
def served(log: Path) -> Iterator[str]:
    """Run ``transformers serve`` and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", "--host", "127.0.0.1"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu"], stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        for _ in range(600):
            time.sleep(0.2)
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def measure(url: str, model: str, args: argparse.Namespace) -> list[dict]:
    """Return a row per round, unit, number of requests and side."""
    rng = random.Random(args.seed)
    rows = []
    with ExitStack() as stack:
        sides = {
            side: stack.enter_context(
                Endpoint(url, model, key_variable=None, mode="completions", timeout=120.0,
                         stream=streamed, retries=0)
            )
            for side, streamed in SIDES.items()
        }  # fmt: skip
        settings = [(unit, count) for unit in ("word", "value") for count in args.requests]
        for source in sides.values():
            asyncio.run(source.ask([Request("warm", "word")]))
        for number in range(args.rounds):
            for unit, count in rng.sample(settings, len(settings)):
                requests = [Request(f"Ada {number} {k} was born in", unit) for k in range(count)]
                texts = {}
                for side in rng.sample(list(sides), len(sides)):
                    begin = time.perf_counter()
                    replies = asyncio.run(sides[side].ask(requests))
                    took = time.perf_counter() - begin
                    if failed := [reply.error for reply in replies if reply.fault]:
                        raise SystemExit(f"{side}: {failed[0]}")
                    texts[side] = [[c.text for c in reply.candidates] for reply in replies]
                    rows.append({"round": number, "unit": unit, "requests": count, "side": side,
                                 "seconds": took, "answered": sum(map(bool, texts[side])),
                                 "characters": sum(len(t) for each in texts[side] for t in each),
                                 })  # fmt: skip
                if texts["streamed"] != texts["whole"]:
                    raise SystemExit(f"the sides gave different texts: {texts}")
            print(f"round {number + 1} of {args.rounds}", flush=True)
    return sorted(rows, key=lambda row: (row["unit"], row["requests"], row["round"]))


def summary(rows: list[dict]) -> dict[str, dict]:
    found = {}
    for unit, count in dict.fromkeys((row["unit"], row["requests"]) for row in rows):
        each = {
            side: [r["seconds"] for r in rows
                   if (r["unit"], r["requests"], r["side"]) == (unit, count, side)]
            for side in SIDES
        }  # fmt: skip
        lengths = [
            r["characters"] / count for r in rows if (r["unit"], r["requests"]) == (unit, count)
        ]
        ratios = [b / a for a, b in zip(each["streamed"], each["whole"], strict=True)]
        found[f"{unit}, {count} at a time"] = {
            **{f"{side} s": interval(took) for side, took in each.items()},
            "whole / streamed": interval(ratios),
            "characters": interval(lengths),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="lacy") as place:
        folder = Path(place)
        parameters = make(folder / "model", args.width, args.layers)
        with served(folder / "log") as url:
            rows = measure(url, str(folder / "model"), args)
    found = summary(rows)
    for setting, figures in found.items():
        print(setting, {n: tuple(map(float, (f["value"], f["low"], f["high"])))
                    for n, f in figures.items()})  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "endpoint.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    setup = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/endpoint.py", "seed": args.seed,
        "rounds": args.rounds, "width": args.width, "layers": args.layers,
        "parameters": parameters, "max_tokens": DEFAULT_MAX_TOKENS, "server_threads": 1,
        "summary": found, "environment": environment(),
    }  # fmt: skip
    (args.out / "endpoint.json").write_text(json.dumps(setup, indent=1) + "\n")


if __name__ == "__main__":
    main()
