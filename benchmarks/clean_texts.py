"""Train a small model on a collection as it is, without near-duplicates, and cleaned.

    OMP_NUM_THREADS=1 python benchmarks/clean_texts.py --data DATA --out OUT [--seeds 0 1 2]

DATA is the folder with the public files. The collection is made of real texts: 4,000 biographies of
Wikipedia, of which 300 occur 21 times with a few other words in each copy, and as many texts of
five tweets each (Davidson et al., 2017). Arms: ``raw``; ``distinct`` (``lacy data clean``);
``clean`` (the same with 500 other biographies as reference texts). Each arm
trains the same new model for the same number of tokens; the loss is that on held-out biographies.
The script also counts which copies and tweets were found, and compares the similarities with exact
ones. Finished arms are kept in OUT. Writes ``results/clean_texts.json``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import torch

from lacy.annotate import encode_many
from lacy.clean import CleanSettings, clean_texts
from lacy.clean.near import word_ngrams
from lacy.corpus import PackedData, read, train_tokenizer
from lacy.disk import write_atomic
from lacy.run import environment, read_metrics
from lacy.train import TrainConfig, train
from lacy.types import Document

RESULTS = Path(__file__).parent / "results" / "clean_texts.json"
DISTINCT, COPIED, COPIES, TWEETS = 4_000, 300, 20, 5
REFERENCE, HELD_OUT = 500, 280
ARMS = ("raw", "distinct", "clean")


def biographies(data: Path, name: str) -> list[Document]:
    return list(read(data / "wiki" / name, only="is_biography"))


def copy_of(one: Document, number: int, chance: random.Random) -> Document:
    """Return a text with one word in 200 (at least one) replaced by another one of it."""
    words = one.text.split(" ")
    for place in chance.sample(range(len(words)), max(1, len(words) // 200)):
        words[place] = chance.choice(words)
    return Document(f"{one.id}/copy{number}", " ".join(words), {"kind": "copy"})


def collection(data: Path) -> tuple[list[Document], list[Document]]:
    """Return the collection in random order, and the reference texts."""
    chance = random.Random(0)
    found = biographies(data, "train.jsonl.gz")
    chance.shuffle(found)
    people = [Document(one.id, one.text[:4000], {"kind": "biography"}) for one in found[:DISTINCT]]
    copies = [copy_of(one, n, chance) for one in people[:COPIED] for n in range(COPIES)]
    with (data / "toxicity" / "davidson_labeled_data.csv").open(encoding="utf-8") as file:
        tweets = [row["tweet"] for row in csv.DictReader(file)]
    chance.shuffle(tweets)
    several = [
        Document(f"tweets{n}", "\n".join(tweets[n * TWEETS : (n + 1) * TWEETS]), {"kind": "tweets"})
        for n in range(min(DISTINCT, len(tweets) // TWEETS))
    ]
    everything = [*people, *copies, *several]
    chance.shuffle(everything)
    return everything, found[DISTINCT : DISTINCT + REFERENCE]


def kinds(documents: list[Document]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in documents:
        found[one.meta["kind"]] = found.get(one.meta["kind"], 0) + 1
    return found


def families(documents: list[Document]) -> dict[str, int]:
    """Count originals of which no copy, one, or several copies (itself among them) were kept."""
    sizes: dict[str, int] = {}
    for one in documents:
        if one.meta["kind"] != "tweets":
            name = one.id.partition("/copy")[0]
            sizes[name] = sizes.get(name, 0) + 1
    one = sum(count == 1 for count in sizes.values())
    return {"one": one, "several": len(sizes) - one, "lost": DISTINCT - len(sizes)}


def lowest_similarity(everything: list[Document]) -> dict[str, float]:
    """Return exact similarities of copies to their originals: what there was to find."""
    known = {one.id: one.text for one in everything}
    found = []
    for one in everything:
        if one.meta["kind"] == "copy":
            a, b = (set(word_ngrams(text, 5))
                    for text in (one.text, known[one.id.partition("/copy")[0]]))  # fmt: skip
            found.append(len(a & b) / len(a | b))
    found.sort()
    return {"least": round(found[0], 3), "median": round(found[len(found) // 2], 3),
            "below 0.8": sum(value < 0.8 for value in found)}  # fmt: skip


def prepared(args: argparse.Namespace) -> dict[str, object]:
    """Clean the collection and pack the texts of each arm with one tokenizer."""
    everything, reference = collection(args.data)
    found: dict[str, object] = {"collection": kinds(everything),
                                "similarity of copies": lowest_similarity(everything)}  # fmt: skip
    arms = {"raw": everything}
    for name, like in (("distinct", None), ("clean", lambda: reference)):
        began = time.process_time()
        counts = clean_texts(lambda: everything, args.out / name, CleanSettings(), like=like)
        arms[name] = list(read(args.out / name / "texts.jsonl"))
        found[name] = {"kept": kinds(arms[name]), "families": families(arms[name]),
                       "auroc": counts.auroc, "cpu_seconds": round(time.process_time() - began, 1),
                       "characters": list(counts.characters)}  # fmt: skip
    held_out = biographies(args.data, "valid.jsonl.gz")[:HELD_OUT]
    tokenizer = train_tokenizer((one.text for one in [*everything[:4000], *reference]), 1024)
    for name, documents in {**arms, "held-out": held_out}.items():
        order = random.Random(1).sample(documents, len(documents))
        encoded = encode_many((replace(one, marks=()) for one in order), tokenizer)
        packed = PackedData.write(encoded, tokenizer, 128, args.out / f"{name}-packed")
        found.setdefault("tokens", {})[name] = packed.info.tokens
    return found


def trained(name: str, seed: int, args: argparse.Namespace) -> float:
    """Train an arm, or go on with it, and return its loss on held-out biographies, in nats."""
    config = TrainConfig(
        data=args.out / f"{name}-packed", valid=args.out / "held-out-packed",
        out=args.out / f"run-{name}-{seed}", model="tiny", method="none", steps=args.steps,
        batch_rows=8, seed=seed, eval_rows=512, eval_every=0, threads=1, quiet=True,
        device="cpu", dtype="fp32",
    )  # fmt: skip
    train(config)
    rows = [row for row in read_metrics(config.out / "metrics.jsonl") if "valid_loss" in row]
    return float(rows[-1]["valid_loss"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    kept = args.out / "results.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    found["data"] = found.get("data") or prepared(args)
    losses = found.setdefault("losses", {name: {} for name in ARMS})
    for seed, name in itertools.product(args.seeds, ARMS):
        if str(seed) not in losses[name]:
            losses[name][str(seed)] = trained(name, seed, args)
            write_atomic(kept, json.dumps(found, indent=1) + "\n")
            print(f"{name}, seed {seed}: {losses[name][str(seed)]:.4f}", flush=True)
    rise = {
        name: [losses[name][seed] / losses["raw"][seed] - 1 for seed in losses[name]]
        for name in ARMS[1:]
    }
    found["against raw"] = {
        name: {"mean": sum(values) / len(values), "each": values} for name, values in rise.items()
    }
    found["conditions"] = {**environment(), "steps": args.steps, "tokens": args.steps * 8 * 128,
                           "model": "tiny", "vocabulary": 1024, "threads": 1}  # fmt: skip
    write_atomic(RESULTS, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["data"], indent=1), json.dumps(found["against raw"], indent=1))


if __name__ == "__main__":
    main()
