"""Compare the speed of decoding (no calls) with ``transformers``, in this process and served.

    python benchmarks/decode_speed.py MODEL [--part process served calls] [--bf16]

Greedy decoding of the same prompts of equal length, batches of 1 and 16, one thread. In each round,
both sides run in random order after a warm-up. ``process``: ``Engine.generate`` with the policy
``never`` against ``model.generate``; ``served``: ``lacy serve`` against ``transformers serve`` over
loopback, streamed completions; ``calls``: 22% of the tokens from an instant source (one value, or
24 that are ranked) against no calls. Figures are generated tokens per second (wall, and CPU of the
process that generates): medians over rounds, and the median of the ratios within a round with a 95%
bootstrap interval.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch
from streams import interval

from lacy.cascade import Engine
from lacy.model import load_model
from lacy.run import environment
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Reply

RESULTS = Path(__file__).parent / "results" / "decode_speed.json"
TEXT = (
    "The river rises in the hills above the town and flows north through a wide valley, past old "
    "mills and farms, until it reaches the sea near a small harbour where fishing boats are kept. "
    "In the nineteenth century a railway was built along its banks, and the valley grew quickly. "
    "Many of the people who lived there worked in the mills, and their children went to a school "
    "that had been founded by the owners. "
)
POLICY = "random=0.09"
"""Calls at 9% of the tokens; with values of several tokens, 22% of the tokens come from them."""
VALUES = (
    "Warsaw", "7 November 1867", "Marie Curie", "the University of Paris", "1903", "Pierre Curie",
    "chemistry", "Nobel Prize in Physics", "4 July 1934", "Passy, France", "Russian Empire", "1911",
    "Sorbonne", "Irene Joliot-Curie", "radium", "Gabriel Lippmann", "1895", "Polish", "physicist",
    "World War I", "Radium Institute", "Henri Becquerel", "aplastic anemia", "Davy Medal",
)  # fmt: skip
Side = Callable[[], tuple[int, float, float]]
"""Runs once; returns generated tokens, wall seconds and CPU seconds."""


def prompts(count: int) -> list[str]:
    """Return different texts of similar length."""
    words = TEXT.split()
    return [" ".join(words[n : n + 24]) for n in range(count)]


def process_sides(loaded, batch: int, new: int, length: int = 24) -> dict[str, Side]:
    """Return both sides in this process; every prompt has ``length`` tokens."""
    engine = Engine(loaded, policy="never", max_new_tokens=new, batch_size=batch)
    ids = [engine.sequence(0, text, None, 1).ids[:length] for text in prompts(batch)]
    input_BT = torch.tensor(ids)
    texts = [engine.token_text.decode(row[engine.begin_id is not None :]) for row in ids]

    def timed(run: Callable[[], int]) -> tuple[int, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        return run(), time.perf_counter() - wall, time.process_time() - cpu

    def generate() -> int:
        with torch.inference_mode():
            output = loaded.model.generate(
                input_BT, attention_mask=torch.ones_like(input_BT), max_new_tokens=new,
                do_sample=False, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        return output[:, length:].numel()

    def lacy() -> int:
        return sum(answer.tokens for answer in engine.generate(texts))

    return {"transformers": lambda: timed(generate), "lacy": lambda: timed(lacy)}


def calling_sides(
    loaded, batch: int, new: int, values: int
) -> tuple[dict[str, Side], dict[str, float]]:
    """Return decoding without and with calls, and the share of borrowed tokens (filled later)."""
    candidates = tuple(Candidate(f" {value}", alternatives=24) for value in VALUES[:values])
    reply = Reply(candidates, ranked=values > 1)
    shares: dict[str, float] = {}

    def side(policy: str) -> Side:
        engine = Engine(
            loaded, ScriptedSource(lambda request: reply), policy, at="word", batch_size=batch,
            abstain=None,
        )  # fmt: skip

        def run() -> tuple[int, float, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            answers = engine.generate(prompts(batch), max_new_tokens=new)
            tokens, cpu = sum(a.tokens for a in answers), time.process_time() - cpu
            borrowed = sum(s.tokens for a in answers for s in a.spans if s.speaker == "script")
            shares[policy] = borrowed / tokens
            return tokens, time.perf_counter() - wall, cpu

        return run

    return {"no calls": side("never"), "calls": side(POLICY)}, shares


@contextmanager
def server(command: list[str], health: str, log: Path) -> Iterator[tuple[str, int]]:
    """Run a server; yield its address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=file, stderr=subprocess.STDOUT, env=environ
        )
    try:
        for _ in range(900):
            time.sleep(0.2)
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=1):
                    break
            except OSError:
                continue
        yield f"http://127.0.0.1:{port}/v1", process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def stream_all(url: str, model: str, batch: int, new: int) -> int:
    """Request completions together and read their streams; return the number of chunks of text."""

    async def one(client: httpx.AsyncClient, text: str) -> int:
        chunks = 0
        body = {"model": model, "prompt": text, "max_tokens": new, "temperature": 0, "stream": True}
        async with client.stream("POST", f"{url}/completions", json=body) as response:
            if response.status_code != 200:
                raise SystemExit(f"{url}: {(await response.aread()).decode()}")
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line.removeprefix("data: ")).get("choices")
                    chunks += bool(choices and choices[0].get("text"))
        return chunks

    async with httpx.AsyncClient(timeout=300) as client:
        return sum(await asyncio.gather(*(one(client, text) for text in prompts(batch))))


def served_side(url: str, pid: int, model: str, batch: int, new: int) -> Side:
    def run() -> tuple[int, float, float]:
        wall, cpu = time.perf_counter(), cpu_of(pid)
        chunks = asyncio.run(stream_all(url, model, batch, new))
        return chunks, time.perf_counter() - wall, cpu_of(pid) - cpu

    return run


def compare(sides: dict[str, Side], rounds: int, rng: random.Random) -> dict:
    """Run both sides in turn and return their figures; ratios are second to first."""
    first, second = sides
    for side in sides.values():
        side()
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    tokens: dict[str, list[int]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in rng.sample(list(sides), len(sides)):
            count, wall, cpu = sides[name]()
            speeds[name].append((count / wall, count / max(cpu, 1e-9)))
            tokens[name].append(count)
    found: dict[str, object] = {"tokens": {n: t[-1] for n, t in tokens.items()}}
    for place, what in enumerate(("per second", "per CPU second")):
        each = {name: [pair[place] for pair in pairs] for name, pairs in speeds.items()}
        for name, values in each.items():
            found[f"{name}, tokens {what}"] = interval(values)
        ratios = [b / a for a, b in zip(each[first], each[second], strict=True)]
        found[f"{second} / {first}, {what}"] = interval(ratios)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--part", nargs="+", default=["process", "served"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true", help="weights in bfloat16 (in process)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    found = json.loads(args.out.read_text()) if args.out.exists() else {}

    def note(part: str, batch: int, figures: dict) -> None:
        key = f"{part}, {'bf16' if args.bf16 else 'fp32'}, batch {batch}"
        found[key] = {**figures, "new": args.new, "rounds": args.rounds}
        print(key, json.dumps(figures), flush=True)

    if "process" in args.part:
        loaded = load_model(args.model)
        if args.bf16:
            loaded.model.to(torch.bfloat16)
        for batch in args.batch:
            note(
                "process", batch, compare(process_sides(loaded, batch, args.new), args.rounds, rng)
            )
        del loaded
    if "calls" in args.part:
        loaded = load_model(args.model)
        if args.bf16:
            loaded.model.to(torch.bfloat16)
        for batch in args.batch:
            for values in (1, 24):
                sides, shares = calling_sides(loaded, batch, args.new, values)
                figures = compare(sides, args.rounds, rng)
                figures["borrowed"] = shares[POLICY]
                note(f"calls with {values} values", batch, figures)
    if "served" in args.part:
        scripts, model = Path(sys.executable).parent, str(Path(args.model).resolve())
        theirs = [str(scripts / "transformers"), "serve", "--host", "127.0.0.1", "--device", "cpu"]
        ours = [str(scripts / "lacy"), "serve", model, "--policy", "never"]
        with (
            tempfile.TemporaryDirectory(prefix="lacy") as folder,
            server(theirs, "/health", Path(folder) / "theirs") as (their_url, their_pid),
            server(ours, "/health", Path(folder) / "ours") as (url, pid),
        ):
            name = json.load(urllib.request.urlopen(f"{url}/models"))["data"][0]["id"]
            for batch in args.batch:
                sides = {
                    "transformers": served_side(their_url, their_pid, model, batch, args.new),
                    "lacy": served_side(url, pid, name, batch, args.new),
                }
                note("served", batch, compare(sides, args.rounds, rng))
    found["environment"] = {**environment(), "threads": 1, "model": Path(args.model).name}
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
