"""Shared code of the server benchmarks: servers as processes, checked streams, figures.

Servers (``lacy.serve``, as ``lacy serve`` runs them) are separate processes with one torch thread
each, on loopback. The client is the benchmark's process: it reads streams of ``/v1/completions``
chunk by chunk and checks them to their end. The model has random weights and writes letters only,
so all texts have the requested length.
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
"""Seconds after which a request is late: five time limits of the source, and the text itself."""


def make_model(width, layers):
    """Build a model of random weights that writes letters only; its text does not matter."""
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
    others = torch.ones(len(tokenizer) - 1, dtype=torch.bool)
    others[letters] = False
    # A zero row gives a logit of 0; the largest of the letters is always above that.
    model.lm_head.weight.data[:-1][others] = 0.0
    model.lm_head.weight.data[letters] *= 30.0
    return SimpleNamespace(model=model, tokenizer=tokenizer, meta={})


def serve(engine, **facts):
    """Serve a model; the first printed line has the port and the given facts."""
    from lacy.serve import Scheduler, Server, make_app
    from lacy.serve.server import open_socket

    with open_socket("127.0.0.1", 0) as place, Scheduler(engine, streams=32, queue=64) as scheduler:
        server = Server(make_app(scheduler, "slm"), scheduler, grace=5.0)
        print(json.dumps({"port": place.getsockname()[1], **facts}), flush=True)
        server.run(sockets=[place])


@contextmanager
def child(kind, args, address="http://127.0.0.1:9/v1"):
    """Run this script as a child process; yield its pid and the facts it printed when ready."""
    command = [sys.executable, sys.argv[0], "--child", kind, "--source", address]
    for key in ("width", "layers", "new"):
        command += [f"--{key}", str(getattr(args, key))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready = json.loads(process.stdout.readline())
        yield SimpleNamespace(pid=process.pid, url=f"http://127.0.0.1:{ready['port']}", **ready)
    finally:
        process.terminate()
        process.wait(timeout=30)


@dataclass
class StreamResult:
    """One received stream."""

    began: float
    ended: float = 0.0
    first: float = 0.0
    gaps: list[float] = field(default_factory=list)
    """Seconds per token after the first chunk."""
    longest: float = 0.0
    tokens: int = 0
    called: int = 0
    calls: int = 0
    unanswered: int = 0
    borrowed: int = 0
    """Characters of the longest borrowed text."""
    fault: str = ""


def prompts(count):
    return [f"Mara Vell {n:03d} was born" for n in range(count)]


async def stream(client, url, model, number, new, seed=0, leave=None):
    """Read one stream and check that it is complete; disconnect after ``leave`` tokens."""
    body = {"model": model, "prompt": f"Mara Vell {number % 1000:03d} was born", "stream": True,
            "max_tokens": new, "temperature": 1.0, "seed": seed * 100_000 + number}  # fmt: skip
    got = StreamResult(time.perf_counter())
    last, done, finish, totals = got.began, False, None, None
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
                if "".join(span["text"] for span in spans) != choice["text"]:
                    raise ValueError("the spans do not add up to the text")
                totals = choice["lacy"] if finish else None
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
            raise ValueError(f"incomplete: {done=} {finish=} {got.tokens} tokens")
        if totals is None or totals["calls"] != got.calls:
            raise ValueError("the totals differ from those of the chunks")
    except Exception as error:
        got.fault = f"{type(error).__name__}: {error}"
    got.ended = time.perf_counter()
    return got


async def together(url, wanted, new, seed):
    """Run streams (model, count) all at once and return the results by model."""
    async with httpx.AsyncClient(timeout=60) as client:
        plan = [model for model, count in wanted for _ in range(count)]
        got = await asyncio.gather(
            *(stream(client, url, model, n, new, seed) for n, model in enumerate(plan))
        )
    return {m: [g for g, p in zip(got, plan, strict=True) if p == m] for m, _ in wanted}


async def steadily(url, model, new, concurrent, until, leave=lambda number: None):
    """Keep ``concurrent`` streams running until ``until(number)`` is true for the next one.

    ``leave(number)`` returns after how many tokens a stream's client disconnects, None for never.
    """
    numbers, found = iter(range(10**9)), []

    async def worker(client):
        while not until(number := next(numbers)):
            got = await stream(client, url, model, number, new, leave=leave(number))
            found.append(got)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(worker(client) for _ in range(concurrent)))
    return found


def row(part, condition, number, got):
    """Return the figures of streams that ran together."""
    seconds = max(g.ended for g in got) - min(g.began for g in got)
    gaps = 1000 * np.array([gap for g in got for gap in g.gaps] or [np.nan])
    tokens = sum(g.tokens for g in got)
    line = {
        "part": part, "condition": condition, "round": number, "requests": len(got),
        "tokens": tokens,
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
    """Return the median over rounds (robust to other load) and its bootstrap interval."""
    values = np.array(values)
    draws = np.median(np.random.default_rng(0).choice(values, (4000, len(values))), 1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"value": round(np.median(values), 4), "low": round(low, 4), "high": round(high, 4),
            "n": len(values)}  # fmt: skip
