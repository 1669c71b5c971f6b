"""FactScoreLite, VeriScore and lacy on the same facts, passages and scripted endpoint.

    python -m venv peers && peers/bin/pip install --no-deps FactScoreLite==1.3.0 VeriScore==2.0.3
    peers/bin/pip install openai anthropic tiktoken nltk numpy tqdm
    python benchmarks/factscore_peers.py --labels ChatGPT.jsonl.gz InstructGPT.jsonl.gz \
        PerplexityAI.jsonl.gz --passages passages.jsonl.gz --peers peers/bin/python   # four minutes

All sides judge the facts that people labelled (whole texts, about ``--facts`` per model that wrote
them) and ask the same server, which answers after 50 ms. Its verdicts are those of lacy's own judge
on the topic's page, so all sides share one oracle: a difference in agreement comes from how a
client reads answers or from facts that it merges. Reported: agreement with people (share of equal
verdicts, mean gap over people, correlation over people), wall seconds, requests, facts without a
verdict. Each side runs twice: with answers of one word, and with sentences for every tenth, such as
"It is True, although one could think that it is false: True".

FactScoreLite gets all passages as one text, as its interface wants it. VeriScore searches the web;
here its verifier gets the passages as search results. The prompts that it reads are not in its
package, so it gets a short one in its format; its token counter needs a download, so it counts
words here. Writes ``results/factscore_peers.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

OUT = Path(__file__).parent / "results" / "factscore_peers.json"
SERVER = Path(__file__).with_name("verdict_server.py")
PASSAGES = 5


def judge_with_peer(name: str, rows: list[dict]) -> list[bool | None]:
    """Return a verdict per fact; this runs in the peer's own environment."""
    if name == "FactScoreLite":
        from FactScoreLite import FactScorer

        scorer = FactScorer()
        found = []
        for row in rows:
            decisions = scorer.get_score(row["facts"], "\n".join(row["passages"]))
            found += [bool(one["is_supported"]) for one in decisions]
        return found
    import types

    import tiktoken

    counter = types.SimpleNamespace(encode=str.split)
    tiktoken.encoding_for_model = lambda model: counter
    from veriscore.claim_verifier import ClaimVerifier

    Path("prompt").mkdir()
    text = "Claim: {}\n\n{}\n\nYour decision: {}\n"
    Path("prompt/verification_instruction_binary.txt").write_text(text)
    example = {"claim": "Ada was born.", "search_result": "Ada was born.", "human_label": "support"}
    Path("few_shot_examples.jsonl").write_text(json.dumps(example) + "\n")
    verifier = ClaimVerifier("gpt-oracle", label_n=2, cache_dir="cache", demon_dir=".")
    found = []
    for row in rows:
        snippets = [{"title": row["topic"], "link": "", "snippet": p} for p in row["passages"]]
        decided, _, _ = verifier.verifying_claim({fact: snippets for fact in row["facts"]})
        verdicts = {one["claim"]: one["verification_result"] for one in decided}
        known = {"supported": True, "unsupported": False}
        found += [known.get(verdicts[fact]) for fact in row["facts"]]
    return found


def run_peer(args: argparse.Namespace) -> None:
    """The process of a peer: read facts, write verdicts and seconds."""
    rows = json.loads(Path(args.given).read_text())
    os.chdir(Path(args.given).parent)
    started = time.perf_counter()
    verdicts = judge_with_peer(args.peer, rows)
    seconds = time.perf_counter() - started
    Path(args.given).with_name("verdicts.json").write_text(json.dumps([seconds, verdicts]))


class Server:
    """The scripted server in a process of its own."""

    def __init__(self, oracle: Path, wordy: float) -> None:
        command = [sys.executable, str(SERVER), "--latency", "0.05", "--oracle", str(oracle),
                   "--wordy", str(wordy)]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def counts(self) -> dict[str, int]:
        """Return the numbers of questions, and of those it did not understand."""
        with urllib.request.urlopen(self.url.replace("/v1", "/count")) as answer:
            return json.loads(answer.read())


def lacy_side(url: str, concurrency: int, rows: list[dict]) -> tuple[float, list[bool | None]]:
    from lacy.judges import Claim, EndpointJudge

    judge = EndpointJudge(url, "oracle", key_variable=None, concurrency=concurrency)
    claims = [Claim(f, row["topic"], tuple(row["passages"])) for row in rows for f in row["facts"]]
    started = time.perf_counter()
    judgments = judge.judge(claims)
    return time.perf_counter() - started, [judgment.supported for judgment in judgments]


def peer_side(url: str, name: str, python: Path, rows: list[dict]):
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "facts.json"
        given.write_text(json.dumps(rows))
        env = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "x",
               "OPENAI_API_KEY_PERSONAL": "x"}  # fmt: skip
        command = [python, __file__, "--peer", name, "--given", given]
        subprocess.run(command, env=env, check=True, capture_output=True)
        seconds, verdicts = json.loads(given.with_name("verdicts.json").read_text())
    return seconds, verdicts


def agreement(rows: list[dict], verdicts: list[bool | None]) -> dict:
    """Compare verdicts with people's labels, per person."""
    import numpy as np

    from lacy.results import as_data, ratio

    ends = np.cumsum([len(row["facts"]) for row in rows])
    parts = [verdicts[end - len(row["facts"]) : end] for row, end in zip(rows, ends, strict=True)]
    judged = [
        [(v, label) for v, label in zip(part, row["labels"], strict=True) if v is not None]
        for part, row in zip(parts, rows, strict=True)
    ]
    judged = [pairs for pairs in judged if pairs]
    equal = ratio([sum(v == w for v, w in one) for one in judged], [len(one) for one in judged])
    shares = np.array([np.mean(one, axis=0) for one in judged])
    return {
        "equal to people": as_data(equal),
        "mean gap": as_data(ratio(shares[:, 0] - shares[:, 1], np.ones(len(shares)), unit="gap")),
        "correlation over people": float(np.corrcoef(shares.T)[0, 1]),
        "facts without a verdict": sum(v is None for v in verdicts),
        "equal to the oracle": None,
    }


def read_rows(args: argparse.Namespace) -> tuple[list[dict], dict[str, bool]]:
    """Return complete responses, about ``--facts`` facts per model, and verdicts."""
    from lacy.factscore import PassageRanking
    from lacy.judges import (
        labelled_claims,
        open_judge,
        read_labelled_responses,
        read_topic_passages,
    )

    pages = read_topic_passages(args.passages)
    judge, rows, oracle = open_judge(args.oracle), [], {}
    for path in args.labels:
        count = 0
        for one in labelled_claims(read_labelled_responses([path]), pages):
            if count >= args.facts or one.topic not in pages:
                continue
            verdicts = judge.judge(one.claims)
            best = PassageRanking(pages[one.topic]).best(one.topic, PASSAGES)
            # fmt: off
            # A statement may occur in several texts; the server knows it by its words alone.
            new = [(c.text.strip(), v.supported, w)
                   for c, v, w in zip(one.claims, verdicts, one.supported, strict=True)
                   if oracle.setdefault(c.text.strip(), bool(v.supported)) == bool(v.supported)]
            # fmt: on
            rows.append(
                {
                    "topic": one.topic,
                    "passages": best,
                    "facts": [f for f, _, _ in new],
                    "labels": [w for _, _, w in new],
                }
            )  # fmt: skip
            count += len(new)
    return rows, oracle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=Path, nargs="+")
    parser.add_argument("--passages", type=Path)
    parser.add_argument("--peers", type=Path, help="python of the peers' environment")
    parser.add_argument("--oracle", default="lexical", help="lacy's judge behind the server")
    parser.add_argument("--facts", type=int, default=200, help="facts per labelled file")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--given", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        run_peer(args)
        return
    from lacy.run import environment

    rows, oracle = read_rows(args)
    facts = [fact for row in rows for fact in row["facts"]]
    versions = subprocess.run(
        [args.peers, "-c", "import importlib.metadata as m; print(m.version('FactScoreLite'),"
         " m.version('VeriScore'), m.version('openai'))"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    data = {"facts": len(facts), "texts": len(rows), "oracle": args.oracle,
            "seconds per answer": 0.05, "FactScoreLite, VeriScore, openai": versions,
            "environment": environment(), "sides": {}}  # fmt: skip
    sides = {
        "lacy, 1 request at a time": lambda url: lacy_side(url, 1, rows),
        "lacy, 16 requests at a time": lambda url: lacy_side(url, 16, rows),
        "FactScoreLite": lambda url: peer_side(url, "FactScoreLite", args.peers, rows),
        "VeriScore": lambda url: peer_side(url, "VeriScore", args.peers, rows),
    }
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "oracle.json"
        known.write_text(json.dumps(oracle))
        for answers, wordy in (("one word", 0.0), ("every tenth a sentence", 0.1)):
            for name, side in sides.items():
                server = Server(known, wordy)
                try:
                    seconds, verdicts = side(server.url)
                    counts = server.counts()
                finally:
                    server.process.terminate()
                truth = [oracle[fact] for fact in facts]
                found = agreement(rows, verdicts)
                found["equal to the oracle"] = sum(
                    v is t for v, t in zip(verdicts, truth, strict=True)
                ) / len(truth)  # fmt: skip
                found |= {"seconds": seconds, "requests": counts["asked"]}
                found["not understood by the server"] = counts["unknown"]
                data["sides"][f"{name}; {answers}"] = found
                print(name, answers, json.dumps(found), flush=True)
                args.out.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
