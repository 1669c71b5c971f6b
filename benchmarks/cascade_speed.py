"""Measure how fast a cascade decodes, against the SLM alone and against recomputed prefixes.

    python benchmarks/cascade_speed.py            # about two minutes of CPU time

Each round runs all conditions in turn, so that other load on the machine affects all alike:

- ``transformers.generate`` of the SLM alone;
- our cascade with an instant source and a budget of 22%, without ranking or with six candidates;
- the same share of borrowed tokens without a cache: the whole prefix is read again for each token;
- our cascade with a language model of the SLM's size as the source, one token per call (the
  paper's setting). Its cache is kept from call to call, or it reads the prefix again at each call.

The weights are random, and the end of the text is forbidden. One row per round and condition goes
to ``results/cascade_speed.csv``, with the setup; ratios are of CPU time (medians).
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
    """Decode without a cache: a value every 25 tokens (22%), the whole prefix for every token."""
    value = loaded.tokenizer.encode(" 12 May")
    rows = [[0, *loaded.tokenizer.encode(p)] for p in prompts]
    made, borrowed = 0, 0
    while made < new:
        if made % 32 == 25 and made + len(value) <= new:
            rows = [row + value for row in rows]
            made, borrowed = made + len(value), borrowed + len(value)
            continue
        logits_BTV = loaded.model(torch.tensor(rows), use_cache=False, logits_to_keep=1).logits
        for row, token in zip(rows, logits_BTV[:, -1, 1:-1].argmax(-1).tolist(), strict=True):
            row.append(token + 1)
        made += 1
    return made * len(rows), borrowed / made


class WithoutCache:
    """A source that reads the whole prefix at each call, as published routers do."""

    def __init__(self, source):
        self.source, self.name = source, source.name

    async def ask(self, requests):  # noqa: D102
        self.source.forget()
        return await self.source.ask(requests)


def model_source(loaded, prompts, new, wrap=lambda source: source):
    source = LanguageModel(loaded.model, loaded.tokenizer)
    engine_of_model = Engine(loaded, wrap(source), Budget(0.22), unit="token", batch_size=64)
    answers = engine_of_model.generate(prompts, max_new_tokens=new)
    return sum(a.tokens for a in answers), call_rate(answers)


def model_source_without_cache(loaded, prompts, new):
    return model_source(loaded, prompts, new, WithoutCache)


CONDITIONS = {
    "slm alone (generate)": alone,
    "cascade": cascade,
    "cascade, 6 candidates ranked": ranked,
    "no cache, prefixes recomputed": recomputing,
    "LM source, cache reused": model_source,
    "LM source, prefix each call": model_source_without_cache,
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
    setup = {
        "parameters": sum(p.numel() for p in loaded.model.parameters()), "batch": args.batch,
        "new_tokens": args.new, "threads": args.threads, "torch": torch.__version__,
        "transformers": transformers.__version__, "machine": platform.machine(),
    }  # fmt: skip
    lines, seconds = [], {name: [] for name in CONDITIONS}
    for run in CONDITIONS.values():
        run(loaded, prompts[:2], 16)
    for number in range(args.rounds):
        for name, run in CONDITIONS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            tokens, rate = run(loaded, prompts, args.new)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seconds[name].append((wall / tokens, cpu / tokens))
            lines.append(
                {"condition": name, "round": number, "tokens": tokens, "call_rate": round(rate, 4),
                 "wall_s": round(wall, 3), "cpu_s": round(cpu, 3), **setup}
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
