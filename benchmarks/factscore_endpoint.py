"""Measure what lacy adds to the latency of an endpoint that judges facts.

    python benchmarks/factscore_endpoint.py          # about two minutes

The server answers 50 ms after it has read a question (``verdict_server.py``, a process of its own);
1,000 facts with five passages each go through the whole path: keys, prompts, requests, answers kept
on disk. The ideal is 50 ms times facts by requests at a time. Because the server and the machine
are no ideal, a client of bare sockets that sends the same bytes and reads nothing but their length
runs in the same rounds, in random order. Reported per number of requests at a time: facts per
minute, overhead over the ideal and over the bare client (medians over rounds), and CPU seconds per
1,000 facts. Two complete runs of ``score_responses`` must write identical bytes. Writes
``results/factscore_endpoint.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lacy.factscore import (
    FactScoreSettings,
    GivenFact,
    TopicResponse,
    score_responses,
    write_output,
)
from lacy.factscore.asking import judge_claims
from lacy.judges import Claim, EndpointJudge
from lacy.judges.endpoint import MAX_ANSWER_TOKENS, verification_prompt
from lacy.results import AnswerStore
from lacy.run import environment

OUT = Path(__file__).parent / "results" / "factscore_endpoint.json"
LATENCY = 0.05


def claims_of(number):
    passages = tuple(" ".join(f"word{k} of passage {p}" for k in range(48)) for p in range(5))
    return [Claim(f"Ada Lovelace wrote note number {k}.", "Ada Lovelace", passages)
            for k in range(number)]  # fmt: skip


async def bare(port, claims, concurrency):
    bodies = [
        json.dumps({"model": "oracle", "temperature": 0, "max_tokens": MAX_ANSWER_TOKENS,
                    "messages": [{"role": "user", "content": verification_prompt(c)}]}).encode()
        for c in claims
    ]  # fmt: skip
    waiting = iter(bodies)

    async def work():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", answer)[1]))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return time.perf_counter() - started


def ours(port, claims, concurrency):
    judge = EndpointJudge(f"http://127.0.0.1:{port}/v1", "oracle", key_variable=None,
                          concurrency=concurrency)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder) / "a.jsonl") as store:
        started, cpu = time.perf_counter(), time.process_time()
        [found] = judge_claims(judge, [claims], store)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert all(judgment.supported is not None for judgment in found)
    return took, cpu


def bytes_of_a_run(port, claims):
    facts = tuple(GivenFact(claim.text) for claim in claims)
    judge = EndpointJudge(f"http://127.0.0.1:{port}/v1", "oracle", key_variable=None)
    responses = [TopicResponse("Ada Lovelace", "text", facts=facts[k::20]) for k in range(20)]
    pages = {"Ada Lovelace": list(claims[0].passages)}
    measured = score_responses(responses, pages, judge, settings=FactScoreSettings())
    with tempfile.TemporaryDirectory() as folder:
        # The port is part of the judge's name; everything else must be equal.
        write_output(Path(folder) / "out.json", measured)
        text = (Path(folder) / "out.json").read_text().replace(str(port), "PORT")
    return hashlib.sha256(text.encode()).hexdigest()


def served():
    server = Path(__file__).with_name("verdict_server.py")
    command = [sys.executable, str(server), "--latency", str(LATENCY)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--facts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rng, rows = random.Random(args.seed), []
    process, port = served()
    try:
        for number in range(args.rounds):
            for requests in args.requests:
                count = args.facts if requests > 1 else args.facts // 4
                claims = claims_of(count)
                row = {"requests": requests, "facts": count, "ideal": count * LATENCY / requests,
                       "load": os.getloadavg()[0]}  # fmt: skip
                for side in rng.sample(("ours", "bare"), 2):
                    if side == "bare":
                        row["bare"] = asyncio.run(bare(port, claims, requests))
                    else:
                        row["ours"], row["cpu"] = ours(port, claims, requests)
                rows.append(row)
                print(number, json.dumps(row), flush=True)
    finally:
        process.terminate()
    hashes = []
    for _ in range(2):  # a fresh server and a fresh judge each
        process, port = served()
        hashes.append(bytes_of_a_run(port, claims_of(args.facts)))
        process.terminate()
    summary = {}
    for requests in args.requests:
        own = [row for row in rows if row["requests"] == requests]

        def median(value, own=own):
            return statistics.median(value(row) for row in own)

        summary[f"{requests} at a time"] = {
            "facts per minute": median(lambda r: r["facts"] / r["ours"] * 60),
            "over the ideal": median(lambda r: r["ours"] / r["ideal"] - 1),
            "bare client over the ideal": median(lambda r: r["bare"] / r["ideal"] - 1),
            "over the bare client": median(lambda r: r["ours"] / r["bare"] - 1),
            "least over the bare client": min(r["ours"] / r["bare"] - 1 for r in own),
            "CPU seconds per 1,000 facts": median(lambda r: r["cpu"] / r["facts"] * 1000),
        }
    data = {"seconds per answer": LATENCY, "rounds": args.rounds, "seed": args.seed,
            "identical bytes of two runs": hashes[0] == hashes[1], "summary": summary,
            "rows": rows, "environment": environment()}  # fmt: skip
    print(json.dumps(summary, indent=1), "identical:", hashes[0] == hashes[1])
    args.out.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
