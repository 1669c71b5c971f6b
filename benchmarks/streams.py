"""What the benchmarks of the server share: servers as processes, streams that are checked, figures.

Servers (``lacy.serve``, as ``lacy serve`` runs them) are processes of their own with one torch
thread each, on loopback. The client is the benchmark's process: streams of ``/v1/completions``,
read chunk by chunk and checked to their end. The model has random weights and speaks letters only;
all its texts are as long as asked for.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import numpy as np

VALUE = " Ulm"
CALLING = "slm:random=0.22"
LATE = 15.0
"""Seconds after which a request is not in time: five limits of the source and the text itself."""


def make_model(width, layers):
    """Random weights, letters only; what it says is no matter."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lacy.testing import byte_tokenizer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width,
        num_hidden_layers=layers, num_attention_heads=width // 32, bos_token_id=0, eos_token_id=0,
        max_position_embeddings=512, pad_token_id=0, tie_word_embeddings=False,
    )).eval()  # fmt: skip
    letters = [tokenizer.encode(c)[0] for c in "abcdefghijklmnopqrstuvwxyz"]
    silent = torch.ones(len(tokenizer) - 1, dtype=torch.bool)
    silent[letters] = False
    # Logits are 0 where a row is; the largest of the letters' is above that at every step.
    model.lm_head.weight.data[:-1][silent] = 0.0
    model.lm_head.weight.data[letters] *= 30.0
    return SimpleNamespace(model=model, tokenizer=tokenizer, meta={})


def serve(engine, **said):
    """Serve a model; the first line that is printed says at which port, and what else is said."""
    from lacy.serve import Scheduler, Server, make_app
    from lacy.serve.server import open_socket

    with open_socket("127.0.0.1", 0) as place, Scheduler(engine, streams=32, queue=64) as scheduler:
        server = Server(make_app(scheduler, "slm"), scheduler, grace=5.0)
        print(json.dumps({"port": place.getsockname()[1], **said}), flush=True)
        server.run(sockets=[place])


@contextmanager
def child(kind, args, address="http://127.0.0.1:9/v1"):
    """A process of the script that runs: its pid and what it said when it was ready."""
    command = [sys.executable, sys.argv[0], "--child", kind, "--partner", address]
    for key in ("width", "layers", "new"):
        command += [f"--{key}", str(getattr(args, key))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = json.loads(process.stdout.readline())
        yield SimpleNamespace(pid=process.pid, url=f"http://127.0.0.1:{said['port']}", **said)
    finally:
        process.terminate()
        process.wait(timeout=30)


@dataclass
class Got:
    """One stream as it came."""

    began: float
    ended: float = 0.0
    first: float = 0.0
    gaps: list[float] = field(default_factory=list)
    """Seconds per token, token by token, after the first chunk."""
    longest: float = 0.0
    tokens: int = 0
    called: int = 0
    calls: int = 0
    unanswered: int = 0
    borrowed: int = 0
    """Characters of the longest text that a source put in."""
    fault: str = ""


def prompts(count):
    return [f"Mara Vell {n:03d} was born" for n in range(count)]


async def stream(client, url, model, number, new, seed=0, leave=None):
    """Ask for one stream and check that it is whole; ``leave``: go away after so many tokens."""
    body = {"model": model, "prompt": f"Mara Vell {number % 1000:03d} was born", "stream": True,
            "max_tokens": new, "temperature": 1.0, "seed": seed * 100_000 + number}  # fmt: skip
    got = Got(time.perf_counter())
    last, done, finish, said, account = got.began, False, None, "", None
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            async for line in response.aiter_lines():
                if not line or line.startswith(":"):  # a comment keeps slow streams open
                    continue
                if line == "data: [DONE]":
                    done = True
                    continue
                (choice,) = json.loads(line.removeprefix("data: "))["choices"]
                now = time.perf_counter()
                spans, finish = choice["lacy"]["spans"], choice["finish_reason"]
                said += choice["text"]
                if "".join(span["text"] for span in spans) != choice["text"]:
                    raise ValueError("spans are not the text")
                account = choice["lacy"] if finish else None
                tokens = sum(span["tokens"] for span in spans)
                got.tokens += tokens
                for span in spans:
                    got.calls += span["asked"]
                    got.unanswered += span["asked"] and span["speaker"] == "slm"
                    if span["speaker"] != "slm":
                        got.called += span["tokens"]
                        got.borrowed = max(got.borrowed, len(span["text"]))
                if tokens and not got.first:
                    got.first = now - got.began
                elif tokens:
                    got.gaps += [(now - last) / tokens] * tokens
                    got.longest = max(got.longest, now - last)
                last = now if tokens else last
                if leave is not None and got.tokens >= leave:
                    got.ended = now
                    return got
        if not done or finish not in ("stop", "length") or not 0 < got.tokens <= new:
            raise ValueError(f"not whole: {done=} {finish=} {got.tokens} tokens")
        if account is None or account["calls"] != got.calls:
            raise ValueError("the sums are not those of the chunks")
    except Exception as error:
        got.fault = f"{type(error).__name__}: {error}"
    got.ended = time.perf_counter()
    return got


async def together(url, wanted, new, seed):
    """Streams (model, how many of it) all at once; lists of what came, by model."""
    async with httpx.AsyncClient(timeout=60) as client:
        plan = [model for model, count in wanted for _ in range(count)]
        got = await asyncio.gather(
            *(stream(client, url, model, n, new, seed) for n, model in enumerate(plan))
        )
    return {m: [g for g, p in zip(got, plan, strict=True) if p == m] for m, _ in wanted}


async def steadily(url, model, new, concurrent, until, leave=lambda number: None):
    """``concurrent`` streams at a time, until ``until(number)`` says that no more shall begin.

    ``leave(number)`` says after how many tokens a stream's client goes away, None for never.
    """
    numbers, found = iter(range(10**9)), []

    async def worker(client):
        while not until(number := next(numbers)):
            got = await stream(client, url, model, number, new, leave=leave(number))
            found.append(got)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(worker(client) for _ in range(concurrent)))
    return found


def row(part, way, number, got):
    """Figures of streams that ran together."""
    seconds = max(g.ended for g in got) - min(g.began for g in got)
    gaps = 1000 * np.array([gap for g in got for gap in g.gaps] or [np.nan])
    tokens = sum(g.tokens for g in got)
    line = {
        "part": part, "way": way, "round": number, "requests": len(got), "tokens": tokens,
        "seconds": seconds, "tokens_per_s": tokens / seconds, "median_ms": np.median(gaps),
        "p95_ms": np.quantile(gaps, 0.95), "longest_ms": 1000 * max(g.longest for g in got),
        "first_ms": 1000 * float(np.median([g.first for g in got])),
        "slowest_s": max(g.ended - g.began for g in got),
        "late": sum(g.ended - g.began > LATE for g in got),
        "call_rate": sum(g.called for g in got) / max(tokens, 1),
        "calls": sum(g.calls for g in got), "unanswered": sum(g.unanswered for g in got),
        "borrowed_characters": max(g.borrowed for g in got),
        "broken": sum(bool(g.fault) for g in got),
    }  # fmt: skip
    line = {k: round(float(v), 4) if isinstance(v, float) else v for k, v in line.items()}
    print({k: line[k] for k in list(line)[:11]}, [g.fault for g in got if g.fault][:2], flush=True)
    return line


def interval(values):
    """Median over rounds (other work may hit some of them) and its bootstrap interval."""
    values = np.array(values)
    draws = np.median(np.random.default_rng(0).choice(values, (4000, len(values))), 1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"value": round(np.median(values), 4), "low": round(low, 4), "high": round(high, 4),
            "n": len(values)}  # fmt: skip
