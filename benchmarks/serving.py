"""What a server gives under load, and while its source fails.

    OMP_NUM_THREADS=1 python benchmarks/serving.py        # about five minutes on two cores

Servers (``lacy.serve``, as ``lacy serve`` runs them) are processes of their own with one torch
thread each, on loopback; only one is asked at a time. The client is this process: streams of
``/v1/completions``, read chunk by chunk. The model has random weights (6.4 million parameters by
default) and speaks letters only; all texts are as long as asked for. Parts, in rounds, one way
after the other, so that all see the same machine:

- ``load``: 1, 8 and 32 streams that never call. ``batch_cost`` is how much longer a step of so many
  texts takes than one of a single text inside the engine, without any server.
- ``cascade``: 32 streams at 22% calls (``random=0.22``: a rate that does not hang on what untrained
  weights want; ``call_rate`` is what came of it) from an instant source, against the model alone.
- ``slow``: 16 streams that never call beside 16 that call a source of 200 ms, and an instant one.
- ``faults``: a partner behind HTTP (``Endpoint`` with a time limit of 2 s in a ``Breaker``) that is
  down, hangs, or answers 500 to 30% of the requests; each stream is checked to its end.
- ``memory``: short requests against the partner with 500s for two minutes.

Writes ``results/serving.csv`` (a row per round and way) and ``results/serving.json`` (conditions,
summary: medians over rounds with 95% bootstrap intervals).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np

RESULTS = Path(__file__).parent / "results"
VALUE = " Ulm"
LOADS = (1, 8, 32)
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


def make_source(kind, partner):
    from lacy.sources import ScriptedSource
    from lacy.sources.endpoint import Endpoint
    from lacy.sources.resilience import Breaker

    if kind in ("instant", "slow"):
        return ScriptedSource([VALUE], delay=0.2 if kind == "slow" else 0.0)
    endpoint = Endpoint(
        partner, kind, mode="completions", key_variable=None, timeout=2.0, concurrency=32
    )
    return Breaker(endpoint, failures=5, rest=5.0)


def serve(args):
    """A server with one kind of source; its port is the first line it prints."""
    from lacy.cascade import Engine
    from lacy.serve import Scheduler, Server, make_app
    from lacy.serve.server import open_socket

    source = make_source(args.child, args.partner)
    engine = Engine(make_model(args.width, args.layers), source, "never", abstain=None)
    steps = {}
    if args.child == "instant":  # what a step costs without a server
        for count in (*LOADS, *LOADS, *LOADS):
            begin = time.perf_counter()
            answers = engine.generate(prompts(count), max_new_tokens=args.new)
            each = (time.perf_counter() - begin) / args.new
            steps.setdefault(count, []).append(each)
            assert sum(a.tokens for a in answers) == count * args.new, "the model ended a text"
    with open_socket("127.0.0.1", 0) as place, Scheduler(engine, streams=32, queue=64) as scheduler:
        server = Server(make_app(scheduler, "slm"), scheduler, grace=5.0)
        steps = {count: float(np.median(each)) for count, each in steps.items()}
        print(json.dumps({"port": place.getsockname()[1], "steps": steps}), flush=True)
        server.run(sockets=[place])


class Partner(BaseHTTPRequestHandler):
    """A completions API that hangs, or fails three times in ten, by the model's name."""

    protocol_version = "HTTP/1.1"
    chance = random.Random(0)

    def do_POST(self):  # noqa: D102
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] == "hang":
            time.sleep(60)
            return
        failing = self.chance.random() < 0.3
        answer = {"choices": [{"index": 0, "text": VALUE, "finish_reason": "stop"}]}
        raw = b"{}" if failing else json.dumps(answer).encode()
        self.send_response(500 if failing else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):  # noqa: D102
        pass


def partner():
    with ThreadingHTTPServer(("127.0.0.1", 0), Partner) as server:
        server.daemon_threads = True
        print(json.dumps({"port": server.server_address[1]}), flush=True)
        server.serve_forever()


@contextmanager
def child(kind, args, address="http://127.0.0.1:9/v1"):
    """A process of this script: its pid and what it said when it was ready."""
    command = [sys.executable, __file__, "--child", kind, "--partner", address]
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
    fault: str = ""


def prompts(count):
    return [f"Mara Vell {n:03d} was born" for n in range(count)]


async def stream(client, url, model, number, new, seed=0):
    """Ask for one stream and check that it is whole."""
    body = {"model": model, "prompt": f"Mara Vell {number % 1000:03d} was born", "stream": True,
            "max_tokens": new, "temperature": 1.0, "seed": seed * 100_000 + number}  # fmt: skip
    got = Got(time.perf_counter())
    last, done, finish, said, account = got.began, False, None, "", None
    try:
        async with client.stream("POST", f"{url}/v1/completions", json=body) as response:
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            async for line in response.aiter_lines():
                if not line:
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
                    got.called += span["tokens"] if span["speaker"] != "slm" else 0
                if tokens and not got.first:
                    got.first = now - got.began
                elif tokens:
                    got.gaps += [(now - last) / tokens] * tokens
                    got.longest = max(got.longest, now - last)
                last = now if tokens else last
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


async def steadily(url, model, new, concurrent, until):
    """``concurrent`` streams at a time, until ``until(number)`` says that no more shall begin."""
    numbers, found = iter(range(10**9)), []

    async def worker(client):
        while not until(number := next(numbers)):
            found.append(await stream(client, url, model, number, new))

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
        "broken": sum(bool(g.fault) for g in got),
    }  # fmt: skip
    line = {k: round(float(v), 4) if isinstance(v, float) else v for k, v in line.items()}
    print({k: line[k] for k in list(line)[:11]}, [g.fault for g in got if g.fault][:2], flush=True)
    return line


def load_and_cascade(instant, args, lines):
    for number in range(-1, args.rounds):  # the first round warms up
        for count in LOADS:
            got = []
            for again in range(4 if count == 1 else 1):
                wanted = [("slm:never", count)]
                part = asyncio.run(
                    together(instant.url, wanted, args.new, 10 * number + again + 10)
                )
                got += part["slm:never"]
            lines.append(row("load", str(count), number, got))
        for model in (CALLING, "slm:never") if number % 2 else ("slm:never", CALLING):
            got = asyncio.run(together(instant.url, [(model, 32)], args.new, number + 1))[model]
            lines.append(row("cascade", model.split(":")[1], number, got))


def beside_slow(instant, slow, args, lines):
    for number in range(-1, args.rounds):
        for name, server in (("instant", instant), ("slow", slow)):
            wanted = [("slm:never", 16), (CALLING, 16)]
            got = asyncio.run(together(server.url, wanted, args.new, number + 1))
            lines.append(row("slow", f"never, beside {name}", number, got["slm:never"]))
            lines.append(row("slow", f"calling {name}", number, got[CALLING]))


def faults(servers, args, lines):
    for name, server in servers.items():
        got = asyncio.run(
            steadily(server.url, CALLING, args.new, 32, lambda n: n >= args.fault_requests)
        )
        lines.append(row("faults", name, 0, got))


def memory(server, args, lines):
    """Resident memory after every tenth of the time."""
    begin = time.perf_counter()
    marks, count = [], 0

    def until(number):
        nonlocal count
        now = time.perf_counter() - begin
        if now >= args.memory_seconds * (len(marks) + 1) / 10:
            status = Path(f"/proc/{server.pid}/status").read_text()
            mib = int(status.split("VmRSS:")[1].split()[0]) / 1024
            marks.append({"requests": count, "mib": round(mib, 1)})
        count = number
        return now > args.memory_seconds

    lines.append(row("memory", "errors", 0, asyncio.run(
        steadily(server.url, CALLING, 12, 32, until)
    )))  # fmt: skip
    return marks


def interval(values):
    """Median over rounds (other work may hit some of them) and its bootstrap interval."""
    values = np.array(values)
    draws = np.median(np.random.default_rng(0).choice(values, (4000, len(values))), 1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"value": round(np.median(values), 4), "low": round(low, 4), "high": round(high, 4),
            "n": len(values)}  # fmt: skip


def summary(lines, steps):
    def each(part, way, key):
        chosen = [x[key] for x in lines if (x["part"], x["way"]) == (part, way) and x["round"] >= 0]
        return np.array(chosen)

    out = {}
    for count in map(str, LOADS):
        cost = steps[count] / steps["1"]
        out[f"load {count}: tokens per second"] = interval(each("load", count, "tokens_per_s"))
        out[f"load {count}: p95 ms per token"] = interval(each("load", count, "p95_ms"))
        out[f"load {count}: throughput to one stream"] = interval(
            each("load", count, "tokens_per_s") / each("load", "1", "tokens_per_s"))  # fmt: skip
        out[f"load {count}: batch cost"] = {"value": round(cost, 3), "step_ms": 1000 * steps[count]}
        out[f"load {count}: p95 to one stream's and batch cost"] = interval(
            each("load", count, "p95_ms") / each("load", "1", "p95_ms") / cost)  # fmt: skip
    rates = each("cascade", "random=0.22", "tokens_per_s") / each(
        "cascade", "never", "tokens_per_s"
    )
    out["cascade: throughput to the model alone"] = interval(rates)
    out["cascade: share of called tokens"] = interval(each("cascade", "random=0.22", "call_rate"))
    for key in ("median_ms", "p95_ms", "longest_ms"):
        slow, fast = (each("slow", f"never, beside {w}", key) for w in ("slow", "instant"))
        out[f"slow: {key} of streams that never call"] = interval(slow)
        out[f"slow: the same beside an instant source, {key}"] = interval(fast)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--new", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--fault-requests", type=int, default=128)
    parser.add_argument("--memory-seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", default="", help="internal")
    parser.add_argument("--partner", default="", help="internal")
    args = parser.parse_args()
    if args.child:
        return partner() if args.child == "partner" else serve(args)
    from lacy.run import environment

    lines, begin = [], time.perf_counter()
    with child("instant", args) as instant:
        load_and_cascade(instant, args, lines)
        with child("slow", args) as slow:
            beside_slow(instant, slow, args, lines)
    with child("partner", args) as api, child("down", args) as down:
        address = f"{api.url}/v1"
        with child("hang", args, address) as hang, child("errors", args, address) as errors:
            faults({"down": down, "hanging": hang, "500s at 30%": errors}, args, lines)
            marks = memory(errors, args, lines)
    with (args.out / "serving.csv").open("w", newline="") as sheet:
        writer = csv.DictWriter(sheet, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    conditions = {
        "command": "python benchmarks/serving.py", "seed": 0, "rounds": args.rounds,
        "new_tokens": args.new, "width": args.width, "layers": args.layers,
        "summary": summary(lines, instant.steps), "memory": marks,
        "seconds": round(time.perf_counter() - begin), "environment": environment(),
    }  # fmt: skip
    (args.out / "serving.json").write_text(json.dumps(conditions, indent=1) + "\n")
    return print(json.dumps({**conditions["summary"], "memory": marks}, indent=1))


if __name__ == "__main__":
    main()
