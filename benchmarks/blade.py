"""BLADE on closed domains with exact answers: a black box alone and with three kinds of knowledge.

    PYTHONPATH=src python benchmarks/blade.py elements --small MODEL --black-box GEMMA.gguf \
        --work WORK [--plan lora|full] [--stage pretrain|tune|optimise|arms] [--icd FILE]

The black box is llama.cpp's server with a GGUF file, asked as a text to continue, with four
examples. The small model is trained on the domain's texts, tuned on triples, and gets a soft
prompt that was optimised on the development set. Then the black box answers the test questions

- alone,
- with passages that BM25 finds in the texts (retrieval),
- with what the small model writes: before pretraining, before and after optimisation,
- with passages and the small model's text (both),
- with the right sentence itself (the upper bound).

Every stage can be stopped and goes on with the same command; answers and evaluations are kept in
WORK. Writes ``results/blade_DOMAIN_MODEL.json``: shares of right answers with Wilson intervals,
paired differences with intervals, tokens, and a few texts as examples. ``--plan full`` is for a
model of 3M parameters, ``lora`` for one of 135M.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from blade_domains import Domain, make_domain
from llama_server import llama_server

from lacy.blade import (
    AskedQuestions,
    BlackBox,
    BothKnowledge,
    Knowledge,
    NoKnowledge,
    OptimiseSettings,
    RetrievedKnowledge,
    Triple,
    WriterSettings,
    WrittenKnowledge,
    is_right,
    load_blade,
    optimise,
    pretrain_domain,
    score_questions,
    tune_writer,
)
from lacy.disk import write_atomic
from lacy.model import load_model
from lacy.results import as_data, wilson
from lacy.run import environment
from lacy.sources.texts import Documents

RESULTS = Path(__file__).parent / "results"
PRETRAIN = {
    "lora": {"epochs": 6.0, "context": 64, "batch_rows": 4},
    "full": {"epochs": 60.0, "context": 64, "batch_rows": 8, "depth": "full", "lr": 2e-3},
}
"""Continued pretraining: adapters of a model of 135M parameters, or all of one of 3M."""
TUNE = {
    "lora": WriterSettings(epochs=1.0, batch=4),
    "full": WriterSettings(epochs=10.0, batch=8, depth="full", lr=1e-3),
}
TUNE_PARTS = 3
"""Number of trainings on the triples, each one saved, so that a stop loses one at most."""
OPTIMISE = OptimiseSettings(max_tokens=24, batch=4)
SHOWN = 8


class RightSentence:
    """The sentence from which the answer follows: the upper bound."""

    kind = "none"

    def __init__(self, triples: list[Triple]) -> None:
        self._known = {one.question: one.knowledge for one in triples}

    def provide(self, questions: list[str]) -> list[tuple[Knowledge, ...]]:
        """Return the sentence of each question."""
        return [(Knowledge(self._known[one], "truth", "retrieval"),) for one in questions]


@contextlib.contextmanager
def black_box(args: argparse.Namespace) -> Iterator[Any]:
    """Yield a function that opens the black box with a file of answers."""
    with llama_server(args.black_box, context=1024) as url:

        def start(path: Path) -> BlackBox:
            return BlackBox(
                f"{url}/v1", "black-box", name=args.black_box.name, answers=path,
                style="text", concurrency=2, key_variable=None, timeout=600,
            )  # fmt: skip

        yield start


def stage_pretrain(args: argparse.Namespace, domain: Domain) -> None:
    out = args.work / "pretrained"
    begin = time.monotonic()
    pretrain_domain(
        args.small, domain.documents, out, threads=1, device="cpu", **PRETRAIN[args.plan]
    )
    print(f"pretrained in {time.monotonic() - begin:.0f} s", flush=True)


def stage_tune(args: argparse.Namespace, domain: Domain) -> None:
    start = args.work / "pretrained"
    for part in range(TUNE_PARTS):
        out = args.work / f"tuned-{part}"
        if not (out / "lacy.json").is_file():
            begin = time.monotonic()
            done = tune_writer(start, domain.train, out, replace(TUNE[args.plan], seed=part))
            print(done, f"{time.monotonic() - begin:.0f} s", flush=True)
        start = out


def stage_optimise(args: argparse.Namespace, domain: Domain) -> None:
    with black_box(args) as start:
        done = optimise(
            args.work / f"tuned-{TUNE_PARTS - 1}", domain.dev, start,
            args.work / "blade", replace(OPTIMISE, evaluations=args.evaluations),
            examples=domain.examples, on_trial=lambda one: print(one, flush=True),
        )  # fmt: skip
    print(done.best, flush=True)


def stage_arms(args: argparse.Namespace, domain: Domain) -> dict[str, AskedQuestions]:
    index = args.work / "index"
    if not index.exists():
        Documents.build(domain.documents, index).close()
    tuned = load_model(args.work / f"tuned-{TUNE_PARTS - 1}")
    blade = load_blade(args.work / "blade")
    found = {}
    plain = [replace(one, knowledge="") for one in domain.examples]
    with black_box(args) as start, Documents(index) as documents:
        raw = load_blade(args.small).writer()
        raw.max_tokens = OPTIMISE.max_tokens
        before = type(blade)(tuned, None, OPTIMISE.max_tokens).writer()
        retrieved = RetrievedKnowledge(documents)
        arms = {
            "alone": (NoKnowledge(), plain),
            "retrieval": (retrieved, domain.examples),
            "small model, not trained": (WrittenKnowledge(raw), domain.examples),
            "small model, before optimisation": (WrittenKnowledge(before), domain.examples),
            "small model, optimised": (WrittenKnowledge(blade.writer()), domain.examples),
            "both": (BothKnowledge(retrieved, WrittenKnowledge(blade.writer())), domain.examples),
            "the right sentence": (RightSentence(domain.test), domain.examples),
        }
        for name, (provider, examples) in arms.items():
            with start(args.work / "test.jsonl") as box:
                found[name] = score_questions(domain.test, provider, box, examples=examples)
            print(name, found[name].right, flush=True)
    return found


def table(arms: dict[str, AskedQuestions], test: list[Triple]) -> dict[str, Any]:
    """Return the arms as plain data, with paired differences to the black box alone."""
    rows = {}
    for name, arm in arms.items():
        written = [" ".join(piece.text for piece in one.knowledge) for one in arm.answers]
        holds = sum(is_right(one, text) for one, text in zip(test, written, strict=True))
        kinds: dict[str, list[int]] = {}  # right and answered
        for one, answer in zip(test, arm.answers, strict=True):
            if answer.right is not None:
                counts = kinds.setdefault(one.source, [0, 0])
                counts[0] += answer.right
                counts[1] += 1
        rows[name] = {
            "right": as_data(arm.right), "unanswered": arm.unanswered, "by_kind": kinds,
            "knowledge_holds_answer": as_data(wilson(holds, len(test))),
            "more_than_alone": as_data(arm.more_than(arms["alone"])),
            "input_tokens": arm.spent.input_tokens, "output_tokens": arm.spent.output_tokens,
            "examples": [
                {"question": one.question, "truth": one.answer, "knowledge": text,
                 "answer": answer.text}
                for one, text, answer in list(zip(test, written, arm.answers, strict=True))[:SHOWN]
            ],
        }  # fmt: skip
    optimised, before = "small model, optimised", "small model, before optimisation"
    rows[optimised]["more_than_before"] = as_data(arms[optimised].more_than(arms[before]))
    rows["both"]["more_than_retrieval"] = as_data(arms["both"].more_than(arms["retrieval"]))
    return rows


def markdown(rows: dict[str, Any]) -> str:
    """Return the table of the page."""
    lines = ["| knowledge | holds the answer | right | more than alone | tokens read |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name, row in rows.items():
        holds, right, more = (
            f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
            for one in (row["knowledge_holds_answer"], row["right"], row["more_than_alone"])
        )
        none = name == "alone"
        cells = (name, "-" if none else holds, right, "-" if none else more,
                 f"{row['input_tokens']:,}")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domain", choices=["elements", "countries", "icd"])
    parser.add_argument("--small", required=True)
    parser.add_argument("--black-box", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--icd", type=Path)
    parser.add_argument("--plan", choices=["lora", "full"], default="lora")
    parser.add_argument("--stage", default="all",
                        choices=["all", "pretrain", "tune", "optimise", "arms"])  # fmt: skip
    parser.add_argument("--evaluations", type=int, default=45)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    domain = make_domain(args.domain, args.icd)
    stages = {"pretrain": stage_pretrain, "tune": stage_tune, "optimise": stage_optimise}
    for name, stage in stages.items():
        if args.stage in ("all", name):
            stage(args, domain)
    if args.stage not in ("all", "arms"):
        return
    arms = stage_arms(args, domain)
    trials = [json.loads(line)["answer"] for line in (args.work / "blade" / "trials.jsonl").open()]
    result = {
        "domain": args.domain, "documents": len(domain.documents), "train": len(domain.train),
        "dev": len(domain.dev), "test": len(domain.test), "seed": 0,
        "small": Path(args.small).name, "black_box": args.black_box.name,
        "pretrain": PRETRAIN[args.plan],
        "tune": {"parts": TUNE_PARTS, **asdict(TUNE[args.plan])},
        "optimise": {"evaluations": len(trials) - 1, "batch": OPTIMISE.batch,
                     "dev_right": [one["right"] for one in trials]},
        "arms": table(arms, domain.test), "environment": environment(),
    }  # fmt: skip
    out = RESULTS / f"blade_{args.domain}_{Path(args.small).name}.json"
    write_atomic(out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(markdown(result["arms"]))


if __name__ == "__main__":
    main()
