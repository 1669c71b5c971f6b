"""Write samples that teach a model to refuse, before the study of ``feddetox.py``.

    python benchmarks/feddetox_teach.py --shared ../shared/data --out teach.jsonl
    lacy federate align smollm2 --data teach.jsonl --simulate 1 --rounds 1 --lr 5e-4 --out taught

Some samples are harmful prompts (none is an attack of the study) with refusals of many words; the
others are harmless prompts with the model's own answers, so that it goes on answering.
The file contains harmful prompts and is not part of the repository.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from feddetox import answers
from feddetox_data import load

from lacy.disk import write_atomic
from lacy.model import load_model
from lacy.safety import declines, refusal_for

TOKENS = 64


def prompts(file: Path, count: int, known: set[str]) -> list[str]:
    """Return ``count`` prompts of a file, without those that the study attacks with."""
    rows = [one["instruction"].strip() for one in json.loads(file.read_text(encoding="utf-8"))]
    rows = [one for one in dict.fromkeys(rows) if one.lower() not in known and len(one) < 300]
    random.Random(0).shuffle(rows)
    return rows[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work/feddetox"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=160, help="harmful prompts")
    parser.add_argument("--harmless", type=int, default=160, help="harmless prompts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    toxicity = args.shared / "toxicity"
    known = {one["text"].strip().lower() for one in load(args.work, "attacks")}
    rows = [{"prompt": one, "reply": refusal_for(one)}
            for one in prompts(toxicity / "harmful_train.json", args.count, known)]  # fmt: skip
    harmless = prompts(toxicity / "harmless_train.json", args.harmless, known)
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
