"""Compare question forms: does a small model use a passage better with open questions or options?

    python benchmarks/blade_forms.py --black-box GEMMA.gguf --work WORK [--questions 40]

The same questions about countries, open and with four options (answered with a letter: the
likeliest of the four), alone and with the sentence that answers them, after four examples in the
same form. Answers are kept in WORK. Writes ``results/blade_forms.json``: right answers by kind of
fact with Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

from blade_domains import make_domain
from llama_server import llama_server

from lacy.blade import BlackBox, Triple, box_prompt, is_right
from lacy.disk import write_atomic
from lacy.results import as_data, wilson
from lacy.run import environment

RESULTS = Path(__file__).parent / "results"


def with_options(triples: list[Triple]) -> list[Triple]:
    """Return the questions with three other values of the same kind."""
    chance, found = random.Random(0), []
    for one in triples:
        values = sorted({other.answer for other in triples if other.source == one.source})
        options = [*chance.sample([v for v in values if v != one.answer], 3), one.answer]
        chance.shuffle(options)
        found.append(replace(one, options=tuple(options)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--black-box", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--questions", type=int, default=40)
    args = parser.parse_args()
    triples = make_domain("countries").train
    rows = []
    with (
        llama_server(args.black_box, context=1024) as url,
        BlackBox(f"{url}/v1", "x", name=args.black_box.name, answers=args.work / "forms.jsonl",
                 style="text", concurrency=2, key_variable=None, timeout=600) as box,
    ):  # fmt: skip
        for form, every in (("open", triples), ("letter", with_options(triples))):
            for kind in ("capital", "currency", "region"):
                some = [one for one in every if one.source == kind][: args.questions + 4]
                examples, asked = some[:4], some[4:]
                for knows in (False, True):
                    shown = examples if knows else [replace(one, knowledge="") for one in examples]
                    prompts = [
                        box_prompt(one, [one.knowledge] if knows else [], shown) for one in asked
                    ]
                    replies = box.ask(prompts)
                    right = sum(is_right(a, b.text) for a, b in zip(asked, replies, strict=True))
                    rows.append({"form": form, "kind": kind, "knowledge": knows,
                                 "right": as_data(wilson(right, len(asked)))})  # fmt: skip
                    print(form, kind, knows, f"{right} of {len(asked)}", flush=True)
    result = {"black_box": args.black_box.name, "rows": rows, "environment": environment()}
    write_atomic(RESULTS / "blade_forms.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
