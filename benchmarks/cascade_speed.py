"""How fast a cascade decodes: against the SLM alone, and against recomputing prefixes at each call.

    python benchmarks/cascade_speed.py            # about two minutes of CPU time

Per round, one way after the other, so that all see the same machine:

- ``transformers.generate`` of the SLM alone;
- our cascade with an instant source at 22% asked tokens, taken as they are or ranked among six;
- the same share of borrowed tokens without a cache: the whole prefix is read anew per token;
- our cascade with a language model of the SLM's size as the source, one token per call (the
  paper's setting), with its cache carried from call to call, and reading the prefix at each call.

Random weights, end of text forbidden. One row per round and way is written to
``results/cascade_speed.csv``, with the conditions; ratios are of CPU time (medians).
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from lacy.cascade import Budget, Engine
from lacy.sources import LanguageModel, ScriptedSource
from lacy.testing import byte_tokenizer
from lacy.types import call_rate

RESULTS = Path(__file__).parent / "results" / "cascade_speed.csv"


def make(width, layers, context):
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width,
        num_hidden_layers=layers, num_attention_heads=width // 32, bos_token_id=0, eos_token_id=0,
        max_position_embeddings=context, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.lm_head.weight.data[0] = 0.0
    return SimpleNamespace(model=model, tokenizer=tokenizer)


def alone(loaded, prompts, new):
    ids = torch.tensor([[0, *loaded.tokenizer.encode(p)] for p in prompts])
    with torch.inference_mode():
        out = loaded.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=new,
            max_new_tokens=new, bad_words_ids=[[0]],
        )  # fmt: skip
    return out.numel() - ids.numel(), 0.0


def engine(loaded, source):
    return Engine(loaded, source, Budget(0.22), batch_size=64, calls_in_row=1, abstain=None)


def cascade(loaded, prompts, new):
    source = ScriptedSource([" 12 May"])
    answers = engine(loaded, source).generate(prompts, max_new_tokens=new)
    return sum(a.tokens for a in answers), call_rate(answers)


def ranked(loaded, prompts, new):
    source = ScriptedSource([[" 12 May", " Ulm", " Norway", " physics", " 3,000", " Ada Void"]])
    answers = engine(loaded, source).generate(prompts, max_new_tokens=new)
    return sum(a.tokens for a in answers), call_rate(answers)


@torch.inference_mode()
def recomputing(loaded, prompts, new):
    """Row by row: a value every 25 tokens (22%), the prefix read anew for every token."""
    value = loaded.tokenizer.encode(" 12 May")
    rows = [[0, *loaded.tokenizer.encode(p)] for p in prompts]
    made, asked = 0, 0
    while made < new:
        if made % 32 == 25 and made + len(value) <= new:
            rows = [row + value for row in rows]
            made, asked = made + len(value), asked + len(value)
            continue
        logits_BTV = loaded.model(torch.tensor(rows), use_cache=False, logits_to_keep=1).logits
        for row, token in zip(rows, logits_BTV[:, -1, 1:-1].argmax(-1).tolist(), strict=True):
            row.append(token + 1)
        made += 1
    return made * len(rows), asked / made


class Forgetful:
    """A partner that reads the whole prefix at each call, as published routers do."""

    def __init__(self, partner):
        self.partner, self.name = partner, partner.name

    async def ask(self, requests):  # noqa: D102
        self.partner.forget()
        return await self.partner.ask(requests)


def with_partner(loaded, prompts, new, wrap=lambda partner: partner):
    partner = LanguageModel(loaded.model, loaded.tokenizer)
    speaker = Engine(loaded, wrap(partner), Budget(0.22), unit="token", batch_size=64)
    answers = speaker.generate(prompts, max_new_tokens=new)
    return sum(a.tokens for a in answers), call_rate(answers)


def forgetful_partner(loaded, prompts, new):
    return with_partner(loaded, prompts, new, Forgetful)


WAYS = {
    "slm alone (generate)": alone,
    "cascade": cascade,
    "cascade, 6 candidates ranked": ranked,
    "no cache, prefixes recomputed": recomputing,
    "LM source, cache reused": with_partner,
    "LM source, prefix each call": forgetful_partner,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--new", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    loaded = make(args.width, args.layers, args.new + 32)
    prompts = [f"Mara Vell {n:03d} was born" for n in range(args.batch)]
    conditions = {
        "parameters": sum(p.numel() for p in loaded.model.parameters()), "batch": args.batch,
        "new_tokens": args.new, "threads": args.threads, "torch": torch.__version__,
        "transformers": transformers.__version__, "machine": platform.machine(),
    }  # fmt: skip
    lines, seconds = [], {name: [] for name in WAYS}
    for way in WAYS.values():
        way(loaded, prompts[:2], 16)
    for number in range(args.rounds):
        for name, way in WAYS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            tokens, rate = way(loaded, prompts, args.new)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seconds[name].append((wall / tokens, cpu / tokens))
            lines.append(
                {"way": name, "round": number, "tokens": tokens, "call_rate": round(rate, 4),
                 "wall_s": round(wall, 3), "cpu_s": round(cpu, 3), **conditions}
            )  # fmt: skip
            print(lines[-1])
    args.out.parent.mkdir(exist_ok=True)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    middle = {name: sorted(cpu for _, cpu in got)[len(got) // 2] for name, got in seconds.items()}
    for name, cpu in middle.items():
        own = middle["slm alone (generate)"] / cpu
        redo = middle["no cache, prefixes recomputed"] / cpu
        print(
            f"{name:32} {1 / cpu:9.0f} tokens/CPU-s  {own:5.2f} x alone  {redo:5.2f} x recomputed"
        )


if __name__ == "__main__":
    main()
