"""Write samples that teach a model to refuse, before the study of ``feddetox.py``.

    python benchmarks/feddetox_teach.py --shared ../shared/data --out teach.jsonl
    lacy federate align smollm2 --data teach.jsonl --simulate 1 --rounds 1 --lr 5e-4 --out taught

Some samples are harmful prompts (none is an attack of the study) with refusals of many words; the
others are harmless prompts with the model's own answers, so that it goes on answering: half of them
instructions of Alpaca, a quarter requests to a bank (Banking77), a quarter questions for facts
(EntityQuestions). The safe prompts on which the study counts refusals are of other origins.
The file contains harmful prompts and is not part of the repository.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterable
from pathlib import Path

import torch
from feddetox import answers
from feddetox_data import load

from lacy.disk import write_atomic
from lacy.model import load_model
from lacy.safety import declines, refusal_for

TOKENS = 64


def chosen(texts: Iterable[str], count: int, known: set[str]) -> list[str]:
    """Return ``count`` of some prompts, without long ones and those that the study uses."""
    rows = dict.fromkeys(text.strip() for text in texts)
    kept = [one for one in rows if one.lower() not in known and len(one) < 300]
    random.Random(0).shuffle(kept)
    return kept[:count]


def instructions(file: Path) -> list[str]:
    """Return the instructions of a file of prompts."""
    return [one["instruction"] for one in json.loads(file.read_text(encoding="utf-8"))]


def harmless_prompts(shared: Path, count: int, known: set[str], alpaca_only: bool) -> list[str]:
    """Return ``count`` harmless prompts of one or three origins."""
    with (shared / "routing" / "banking77_train.csv").open(encoding="utf-8", newline="") as file:
        requests = [row["text"] for row in csv.DictReader(file)]
    files = sorted((shared / "qa" / "entityquestions_dev").glob("*.json"))
    questions = [row["question"] for file in files for row in json.loads(file.read_text("utf-8"))]
    alpaca = instructions(shared / "toxicity" / "harmless_train.json")
    quarter = 0 if alpaca_only else count // 4
    return [
        *chosen(alpaca, count - 2 * quarter, known),
        *chosen(requests, quarter, known),
        *chosen(questions, quarter, known),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work/feddetox"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=120, help="harmful prompts")
    parser.add_argument("--harmless", type=int, default=480, help="harmless prompts")
    parser.add_argument("--alpaca-only", action="store_true", help="harmless ones of Alpaca only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = {
        one["text"].strip().lower() for name in ("attacks", "safe") for one in load(args.work, name)
    }
    harmful = instructions(args.shared / "toxicity" / "harmful_train.json")
    rows = [
        {"prompt": one, "reply": refusal_for(one)} for one in chosen(harmful, args.count, known)
    ]
    harmless = harmless_prompts(args.shared, args.harmless, known, args.alpaca_only)
    for prompt, reply in zip(harmless, answers(load_model(args.model), harmless, TOKENS),
                             strict=True):  # fmt: skip
        kept = reply[: reply.rfind(".") + 1] or reply
        if kept.strip() and not declines(kept):
            rows.append({"prompt": prompt, "reply": kept})
    random.Random(1).shuffle(rows)
    write_atomic(args.out, "".join(json.dumps(one) + "\n" for one in rows))
    print(f"{len(rows)} samples, {sum(declines(one['reply']) for one in rows)} of them refuse")


if __name__ == "__main__":
    main()
