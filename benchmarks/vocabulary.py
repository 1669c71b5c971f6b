r"""Smaller vocabularies on four tasks: what they cover, cost and change.

    python benchmarks/vocabulary.py TASKS MODEL --marked VALID.jsonl --train TRAIN.jsonl \
        --leads vital_summaries.jsonl.gz --pairs pairs.jsonl

TASKS are some of these, separated by commas:

- extraction: names, numbers and dates of a text that stands in the prompt (--marked);
- biographies: continuations of held-out biographies (--marked; --train makes the vocabulary);
- leads: the first sentence of an encyclopedia's lead from the others (--leads);
- translation: English to Portuguese by a student (--pairs; vocabulary_student.py);
- bounds: which bounds on logits exclude rows;
- memory: by stage, in fresh processes;
- speed: milliseconds of a head, and to swap vocabularies;
- trimming: files of a trimmed model.

Each task writes its own part of the results. Texts are written greedily by the whole head and by
each tailored head, in the same batches, and compared as token ids.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacy.annotate import encode
from lacy.corpus import begin_end, read
from lacy.model import end_ids, load_model
from lacy.results import as_data, ratio
from lacy.run import environment, write_atomic
from lacy.vocabulary import measure_vocabulary, tailor, task_vocabulary

BATCH = 6


# ------------------------------------------------------------------------------------- texts


@torch.inference_mode()
def greedy(
    loaded: Any, prompts: list[list[int]], new: int, on_batch: Any = None
) -> list[list[int]]:
    """Return the ids that a model writes after each prompt, up to an end token."""
    ends, written = end_ids(loaded.tokenizer, loaded.model), []
    ends = ends | {begin_end(loaded.tokenizer)[1]}
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        if on_batch:
            on_batch(batch)
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch])
        found = loaded.model.generate(
            ids, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0,
            eos_token_id=sorted(ends), suppress_tokens=[len(loaded.tokenizer) - 1],
        )[:, width:].tolist()  # fmt: skip
        for row in found:
            stop = next((n for n, token in enumerate(row) if token in ends), len(row))
            written.append(row[:stop])
    return written


def match_counts(found: list[str], wanted: list[str]) -> tuple[int, int, int]:
    """Count true positives, predicted and gold values, ignoring case."""
    mine, theirs = Counter(v.lower() for v in found), Counter(v.lower() for v in wanted)
    return sum((mine & theirs).values()), sum(mine.values()), sum(theirs.values())


# ------------------------------------------------------------------------------------- tasks

SHOTS = """Text: Ada Lovelace was born in London in 1815. She worked with Charles Babbage.
Names and dates: Ada Lovelace; London; 1815; Charles Babbage

Text: The bridge opened on 4 May 1932 in Sydney, and was designed by John Bradfield.
Names and dates: 4 May 1932; Sydney; John Bradfield

Text: {}
Names and dates:"""


def extraction_examples(path: Path, count: int) -> list[tuple[str, str]]:
    """Prompts with a paragraph of marked texts, and its values in order, separated by ;."""
    found = []
    for document in read(path):
        end = document.text.find(". ", 250) + 1 or len(document.text)
        end = min(end, 600)
        kept = [m for m in document.marks if m.end <= end and m.reason != "CONTENT"]
        values = list(dict.fromkeys(document.text[m.start : m.end].strip() for m in kept))
        text = " ".join(document.text[:end].split())
        if len(values) >= 3 and all(value in text for value in values):
            found.append((SHOTS.format(text), " " + "; ".join(values[:12]) + "\n"))
        if len(found) == count:
            break
    return found


def lead_examples(path: Path, split: str, count: int) -> list[tuple[str, str]]:
    """A lead's text, and its first sentence as the summary: the abstract's own headline."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(1).shuffle(rows)
    rows = rows[:1500] if split == "train" else rows[1500:]
    found = []
    for row in rows:
        sentences = re.split(r"(?<=[a-z)][.!?])\s+", row["extract"].strip())
        if len(sentences) < 4 or not 8 <= len(sentences[0].split()) <= 40:
            continue
        body = " ".join(sentences[1:])[:900]
        given = f"{row['title']}. {body}\n\nIn one sentence, {row['title']} is summarised as:"
        found.append((given, " " + sentences[0] + "\n"))
        if len(found) == count:
            break
    return found


def biography_examples(path: Path, count: int, characters: int = 900) -> list[tuple[str, str]]:
    return [("", d.text[:characters]) for d, _ in zip(read(path), range(count), strict=False)]


def translation_examples(path: Path, split: str) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    form = "English: {}\nPortuguese:"
    return [(form.format(r["en"]), " " + r["pt"]) for r in rows if r["split"] == split]


# ------------------------------------------------------------------------------------- scores


def rouge_l(texts: list[str], wanted: list[str]) -> np.ndarray:
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    pairs = zip(texts, wanted, strict=True)
    return np.array([scorer.score(w, t)["rougeL"].fmeasure for t, w in pairs])


def bleu(texts: list[str], wanted: list[str]) -> float:
    import sacrebleu

    return float(sacrebleu.corpus_bleu(texts, [wanted]).score)


def score(task: str, texts: list[str], outputs: list[str]) -> dict[str, Any]:
    """Return the task's score of the texts."""
    if task == "extraction":
        values = [[v.strip() for v in t.split("\n")[0].split(";") if v.strip()] for t in texts]
        wanted = [[v.strip() for v in o.strip().split(";")] for o in outputs]
        counts = np.array([match_counts(v, w) for v, w in zip(values, wanted, strict=True)])
        return {"f1": as_data(ratio(2 * counts[:, 0], counts[:, 1] + counts[:, 2]))}
    firsts = [t.strip().split("\n")[0] for t in texts]
    wanted = [o.strip() for o in outputs]
    if task == "leads":
        found = rouge_l(firsts, wanted)
        return {"rouge_l": as_data(ratio(found, np.ones(len(found)), unit="rouge", chance=False))}
    if task == "translation":
        return {"sacrebleu": bleu(firsts, wanted)}
    return {}


def compare(
    task: str, loaded: Any, heads: dict[str, dict[str, Any]], test: list[tuple[str, str]], new: int
) -> dict[str, Any]:
    """Write texts with the whole head and with each tailored one."""
    begin, tokenizer = begin_end(loaded.tokenizer)[0], loaded.tokenizer
    given, outputs = [g for g, _ in test], [o for _, o in test]
    if task == "biographies":
        outputs = given
        given = [" ".join(o.split()[:12]) for _, o in test]
    prompts = [[begin, *tokenizer(g, add_special_tokens=False)["input_ids"]] for g in given]
    started = time.process_time()
    whole = greedy(loaded, prompts, new)
    results: dict[str, Any] = {}
    whole_texts = [tokenizer.decode(row) for row in whole]
    results["whole head"] = {
        **score(task, whole_texts, outputs), "tokens": sum(map(len, whole)),
        "cpu_seconds": time.process_time() - started,
    }  # fmt: skip
    examples = []
    for name, settings in heads.items():
        tailored = tailor(loaded, **settings)
        apart = settings.get("fallback", "exact") != "exact"
        started = time.process_time()
        sizes = []

        def begin_batch(batch: Any, tailored: Any = tailored, apart: bool = apart) -> None:
            tailored.begin(batch if apart else (), apart=apart)

        rows = greedy(loaded, prompts, new, begin_batch)
        seconds = time.process_time() - started
        use, sizes = tailored.use, tailored.sizes()
        tailored.restore()
        same = np.array([a == b for a, b in zip(rows, whole, strict=True)], float)
        texts = [tokenizer.decode(row) for row in rows]
        results[name] = {
            **score(task, texts, outputs),
            "identical_texts": as_data(ratio(same, np.ones(len(same)))),
            "steps": use.steps, "mean_active_of_batch": use.active / use.steps,
            "fallback_rate": use.fallback_rate, "outside_won": use.outside / use.steps,
            "rows_checked_per_step": use.checked / use.steps, "whole_head": use.whole / use.steps,
            "tokens": sum(map(len, rows)), "cpu_seconds": seconds,
            "screen_bytes": sizes.screen_bytes, "whole_bytes": sizes.whole_bytes,
            "seconds_to_tailor": tailored.seconds,
        }  # fmt: skip
        differing = [n for n in range(len(rows)) if not same[n]][:3]
        examples += [
            {"head": name, "prompt": given[n][-200:], "whole": whole_texts[n], "this": texts[n]}
            for n in differing
        ]
        print(name, json.dumps(results[name])[:300], flush=True)
    shown = [{"prompt": g[-300:], "whole": t} for g, t in zip(given, whole_texts, strict=True)][:4]
    return {
        "n": len(test),
        "new_tokens": new,
        "heads": results,
        "examples": examples,
        "texts": shown,
    }


def run_task(args: Any, loaded: Any) -> dict[str, Any]:
    """Build the task's vocabulary, measure what it covers, and compare texts."""
    heads: dict[str, dict[str, Any]] = {
        "dynamic, exact": {"mode": "dynamic"},
        "dynamic, off": {"mode": "dynamic", "fallback": "off"},
    }
    if args.task == "extraction":
        test, train, new = extraction_examples(args.marked, args.count), [], 40
    elif args.task == "leads":
        test, new = lead_examples(args.leads, "test", args.count), 36
        train = lead_examples(args.leads, "train", 1000)
    elif args.task == "translation":
        test, new = translation_examples(args.pairs, "test")[: args.count], 56
        train = translation_examples(args.pairs, "train")
    else:
        test, new = biography_examples(args.marked, args.count), 40
        train = biography_examples(args.train, 10_000, 100_000)
    result: dict[str, Any] = {"model": args.name, "vocabularies": {}, "coverage": {}}
    examples = test[: args.measured]
    found = {"dynamic": measure_vocabulary(loaded, examples, mode="dynamic", tokens=128)}
    if train:
        for tolerance in (0.0, 0.01, 0.1, 1.0):
            counted = "all" if args.task in ("translation", "biographies") else "new"
            vocabulary = task_vocabulary(
                loaded.tokenizer, train, counted=counted, tolerance=tolerance
            )
            result["vocabularies"][f"{tolerance:g}"] = {
                **vocabulary.made,
                "tokens": len(vocabulary),
                "share": vocabulary.share,
            }
            if tolerance == 0.01:
                for mode in ("static", "hybrid"):
                    name = f"{mode} {tolerance:g}"
                    found[name] = measure_vocabulary(loaded, examples, vocabulary, mode, tokens=128)
            if tolerance == 0.01:
                heads = {
                    "hybrid, exact": {"vocabulary": vocabulary},
                    "hybrid, off": {"vocabulary": vocabulary, "fallback": "off"},
                    "static, off": {
                        "vocabulary": vocabulary, "mode": "static", "fallback": "off"
                    },
                    "dynamic, exact": {"mode": "dynamic"},
                }  # fmt: skip
    result["coverage"] = as_data(found)
    print(json.dumps(result["coverage"])[:2000], flush=True)
    result["texts"] = compare(args.task, loaded, heads, test, new)
    return result


# ------------------------------------------------------------------------------ bounds and costs


@torch.inference_mode()
def bounds(args: Any, loaded: Any) -> dict[str, Any]:
    """Share of steps at which bounds leave rows open, and how many rows they leave."""
    from lacy.model import head_inputs
    from lacy.vocabulary.rows import MemoryRows
    from lacy.vocabulary.screen import Screen

    weight = loaded.model.get_output_embeddings().weight.detach()[:-1]
    train = biography_examples(args.train, 10_000, 100_000)
    vocabulary = task_vocabulary(loaded.tokenizer, train, counted="all")
    states = []
    for document, _ in zip(read(args.marked), range(12), strict=False):
        states.append(
            head_inputs(
                loaded.model, torch.tensor([encode(document, loaded.tokenizer).input_ids[:130]])
            )[0][0]
        )
    hidden = torch.cat(states)[::8]
    fit = torch.cat(states)[4::8]
    inside = torch.zeros(len(weight), dtype=torch.bool)
    inside[[n for n in vocabulary.ids if n < len(weight)]] = True
    others = torch.nonzero(~inside)[:, 0]
    limit = (hidden @ weight[inside].T).amax(1, keepdim=True)
    outside = weight[others]
    norm = hidden.norm(dim=1, keepdim=True)
    found: dict[str, Any] = {"states": len(hidden), "rows": len(others)}

    def note(name: str, bound: torch.Tensor, numbers: float) -> None:
        left = (bound >= limit).sum(1).double()
        found[name] = {
            "steps_open": float((left > 0).double().mean()), "rows_left": float(left.mean()),
            "numbers_read_per_row": numbers,
        }  # fmt: skip
        print(name, found[name], flush=True)

    note("truth", hidden @ outside.T, weight.shape[1])
    note("norms", norm * outside.norm(dim=1), 1)
    picked = torch.randperm(len(outside), generator=torch.Generator().manual_seed(0))[:256]
    centres = outside[picked]
    for _ in range(4):
        nearest = torch.cdist(outside, centres).argmin(1)
        for number in range(len(centres)):
            members = outside[nearest == number]
            if len(members):
                centres[number] = members.mean(0)
    radius = (outside - centres[nearest]).norm(dim=1)
    note("256 clusters", hidden @ centres.T[:, nearest] + norm * radius, 1 + 576 / 187)
    axes = torch.linalg.eigh(fit.T @ fit)[1].flip(1)
    turned, rows = hidden @ axes, outside @ axes
    for kept in (64, 256):
        rest = turned[:, kept:].norm(dim=1, keepdim=True) * rows[:, kept:].norm(dim=1)
        note(f"{kept} principal axes", turned[:, :kept] @ rows[:, :kept].T + rest, kept + 1)
    for bits in (4, 6):
        most = 2 ** (bits - 1) - 1
        scale = outside.abs().amax(1, keepdim=True) / most
        rounded = (outside / scale).round() * scale
        error = norm * (outside - rounded).norm(dim=1)
        note(f"{bits} bits", hidden @ rounded.T + error, weight.shape[1] * bits / 32)
    screen = Screen(MemoryRows(weight), None, others.tolist(), torch.device("cpu"))
    estimate, error = screen.estimate(hidden)
    note("8 bits", estimate + error, weight.shape[1] / 4)
    exact = hidden @ outside.T
    found["8 bits"]["mean_error"] = float((estimate - exact).abs().mean())
    entropy = torch.distributions.Categorical(logits=hidden @ weight.T).entropy()
    mixed = torch.empty(len(hidden), len(weight))
    mixed[:, inside] = hidden @ weight[inside].T
    only = torch.distributions.Categorical(logits=mixed[:, inside]).entropy()
    mixed[:, others] = estimate
    close = torch.distributions.Categorical(logits=mixed).entropy()
    found["entropy_nats"] = {
        "mean": float(entropy.mean()),
        "error_with_estimates": float((close - entropy).abs().mean()),
        "error_of_active_rows_alone": float((only - entropy).abs().mean()),
    }  # fmt: skip
    return found


@torch.inference_mode()
def speed(args: Any, loaded: Any) -> dict[str, Any]:
    """Milliseconds of processor time per state, and to swap vocabularies."""
    train = biography_examples(args.train, 10_000, 100_000)
    vocabulary = task_vocabulary(loaded.tokenizer, train, counted="all")
    prompt = loaded.tokenizer(train[0][1][:1500], add_special_tokens=False)["input_ids"]
    random_states = torch.randn(8, 1, 576, generator=torch.Generator().manual_seed(0)) * 2
    found: dict[str, Any] = {}

    def milliseconds(function: Any, repeat: int = 9) -> float:
        function()
        times = []
        for _ in range(repeat):
            begin = time.process_time()
            function()
            times.append(time.process_time() - begin)
        return 1000 * min(times)

    head = loaded.model.get_output_embeddings()
    for size in (1, 8):
        found[f"whole head, batch {size}"] = milliseconds(lambda s=size: head(random_states[:s]))
    for name, settings in {
        "dynamic, off": {"fallback": "off"},
        "dynamic, exact": {},
        "hybrid, off": {"vocabulary": vocabulary, "fallback": "off"},
        "hybrid, exact": {"vocabulary": vocabulary},
    }.items():
        tailored = tailor(loaded, **settings)
        found[f"{name}, to tailor"] = 1000 * tailored.seconds

        def swap(tailored: Any = tailored) -> None:
            tailored.begin([prompt])

        found[f"{name}, to swap"] = milliseconds(swap)
        for size in (1, 8):
            found[f"{name}, batch {size}"] = milliseconds(
                lambda s=size, t=tailored: t.head(random_states[:s])
            )
        tailored.restore()
    return {"milliseconds_cpu": found, "prompt_tokens": len(set(prompt))}


def memory(args: Any, loaded: Any) -> dict[str, Any]:
    """Memory by stage of fresh processes."""
    from lacy.vocabulary import memory_by_stage

    place = args.out.parent / "vocabulary-bio.tmp.json"
    train = biography_examples(args.train, 10_000, 100_000)
    task_vocabulary(loaded.tokenizer, train, counted="all").save(place)
    cases = {
        "whole head": {},
        "dynamic, off, offloaded": {"vocabulary": "dynamic", "fallback": "off", "offload": True},
        "dynamic, exact, offloaded": {"vocabulary": "dynamic", "offload": True},
        "hybrid, exact, offloaded": {"vocabulary": str(place), "offload": True},
        "hybrid, exact, in memory": {"vocabulary": str(place)},
    }
    del loaded
    found = {}
    for name, settings in cases.items():
        found[name] = as_data(memory_by_stage(args.model, **settings, prompt_tokens=200))
        print(name, found[name], flush=True)
    place.unlink()
    return found


def trimming(args: Any, loaded: Any) -> dict[str, Any]:
    """Sizes of a trimmed model's files, loss on held-out texts, tokens per text."""
    from lacy.model import save_model, write_gguf
    from lacy.vocabulary import trim_vocabulary

    train = biography_examples(args.train, 10_000, 100_000)
    vocabulary = task_vocabulary(loaded.tokenizer, train, counted="all")
    test = [text for _, text in biography_examples(args.marked, args.count)]

    def loss(one: Any) -> dict[str, float]:
        total, tokens = 0.0, 0
        for text in test:
            ids = [0, *one.tokenizer(text, add_special_tokens=False)["input_ids"]][:256]
            with torch.inference_mode():
                logits = one.model(torch.tensor([ids])).logits[0, :-1, :-1]
            total += float(
                torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
            )
            tokens += len(ids) - 1
        bytes_read = sum(len(t.encode()) for t in test)
        return {"nats_per_token": total / tokens, "tokens": tokens, "characters": bytes_read}

    found: dict[str, Any] = {"before": loss(loaded), "vocabulary": len(vocabulary)}
    folder = args.out.parent / "vocabulary-trim.tmp"
    begin = time.process_time()
    smaller = trim_vocabulary(loaded, vocabulary)
    found["trim_cpu_seconds"] = time.process_time() - begin
    found["tokens_kept"] = len(smaller.tokenizer)
    found["after"] = loss(smaller)
    save_model(folder, smaller.model, smaller.tokenizer, smaller.meta)
    found["safetensors_bytes"] = (folder / "model.safetensors").stat().st_size
    for precision in ("f16", "q8_0", "q4_1"):
        path = write_gguf(smaller, folder / "m.gguf", precision, test[:8])
        found[f"{precision}_bytes"] = path.stat().st_size
    import shutil

    shutil.rmtree(folder)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks")
    parser.add_argument("model")
    parser.add_argument("--name", default="")
    for name in ("marked", "train", "leads", "pairs"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--measured", type=int, default=30)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results/vocabulary.json"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(args.model)
    loaded.model.eval()
    args.name = args.name or Path(args.model).name
    costs = {"bounds": bounds, "speed": speed, "memory": memory, "trimming": trimming}
    for task in args.tasks.split(","):
        args.task = task
        begin = time.process_time()
        result = costs.get(task, run_task)(args, loaded)
        known = json.loads(args.out.read_text()) if args.out.is_file() else {}
        key = task if task in costs else f"{task}, {args.name}"
        known[key] = {
            **result, "model": args.name, "texts_at_most": args.count, "batch": BATCH,
            "cpu_seconds": round(time.process_time() - begin, 1), "environment": environment(),
        }  # fmt: skip
        write_atomic(args.out, json.dumps(known, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
