"""Seconds per answer of a model behind a server: read as it is written, or waited for as a whole.

    OMP_NUM_THREADS=1 python benchmarks/endpoint.py        # about two minutes

The server is ``transformers serve``, a process of its own on loopback with one thread and a random
Llama of 19 million parameters made on the spot. ``Endpoint`` asks it for a ``word`` (at most 12
tokens) or a ``value`` (at most 16), 1 or 8 requests at a time, with ``stream=True`` and ``False``:
both sides ask the same in each round, in random order. Wall seconds per call of ``ask``; medians,
and the median of the ratios of whole to streamed within a round, with a 95% bootstrap interval.
The model says letters, spaces and commas; where it ends a unit is chance (``characters`` of a unit,
the same for both sides; each is a token of the model), and what streaming saves is the rest up to
the limit. Writes ``results/endpoint.csv`` (a row per call) and ``results/endpoint.json``.
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
    """A model of random weights in ``folder``; its parameters."""
    torch.manual_seed(1)
    tokenizer = byte_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width,
        num_hidden_layers=layers, num_attention_heads=8, num_key_value_heads=8,
        max_position_embeddings=512, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=False,
    ))  # fmt: skip
    spoken = torch.zeros(len(tokenizer), 1)
    spoken[[tokenizer.encode(c)[0] for c in "abcdefghijklmnopqrstuvwxyz"]] = 1.0
    spoken[tokenizer.encode(" ")[0]], spoken[tokenizer.encode(",")[0]] = 4.0, 2.0
    # Logits are 0 where a row is; the largest of those spoken is above that at every step.
    model.lm_head.weight.data *= spoken
    save_model(folder, model, tokenizer)
    return sum(p.numel() for p in model.parameters())


@contextmanager
def served(log: Path) -> Iterator[str]:
    """The address of a running ``transformers serve``."""
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
    """A row per round, unit, number of requests and side."""
    chance = random.Random(args.seed)
    rows = []
    with ExitStack() as stack:
        sides = {
            side: stack.enter_context(
                Endpoint(url, model, key_variable=None, mode="completions", timeout=120.0,
                         stream=streamed, retries=0)
            )
            for side, streamed in SIDES.items()
        }  # fmt: skip
        ways = [(unit, count) for unit in ("word", "value") for count in args.requests]
        for source in sides.values():
            asyncio.run(source.ask([Request("warm", "word")]))
        for number in range(args.rounds):
            for unit, count in chance.sample(ways, len(ways)):
                requests = [Request(f"Ada {number} {k} was born in", unit) for k in range(count)]
                said = {}
                for side in chance.sample(list(sides), len(sides)):
                    begin = time.perf_counter()
                    replies = asyncio.run(sides[side].ask(requests))
                    took = time.perf_counter() - begin
                    if failed := [reply.error for reply in replies if reply.fault]:
                        raise SystemExit(f"{side}: {failed[0]}")
                    said[side] = [[c.text for c in reply.candidates] for reply in replies]
                    rows.append({"round": number, "unit": unit, "requests": count, "side": side,
                                 "seconds": took, "answered": sum(map(bool, said[side])),
                                 "characters": sum(len(t) for each in said[side] for t in each),
                                 })  # fmt: skip
                if said["streamed"] != said["whole"]:
                    raise SystemExit(f"the sides differ: {said}")
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
    for way, figures in found.items():
        print(way, {n: tuple(map(float, (f["value"], f["low"], f["high"])))
                    for n, f in figures.items()})  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "endpoint.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    conditions = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/endpoint.py", "seed": args.seed,
        "rounds": args.rounds, "width": args.width, "layers": args.layers,
        "parameters": parameters, "max_tokens": DEFAULT_MAX_TOKENS, "server_threads": 1,
        "summary": found, "environment": environment(),
    }  # fmt: skip
    (args.out / "endpoint.json").write_text(json.dumps(conditions, indent=1) + "\n")


if __name__ == "__main__":
    main()
