"""The models of ``ranking.py``: several sizes, for made-up worlds and for real biographies.

Everything is kept in one folder and made once; an interrupted run can be resumed.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lacy.annotate import SpacyAnnotator, encode_many, read_labels
from lacy.corpus import PackedData, load_tokenizer, read, train_tokenizer
from lacy.model import build_model, save_model
from lacy.model.presets import Preset
from lacy.run import read_metrics, write_atomic
from lacy.train import TrainConfig, train
from lacy.types import Document
from lacy.world import World, make_world

SMALLEST = Preset("micro", "llama", 32, 3, 2, 2, 96, note="0.1M, smaller than any preset")
CONTEXT = 256
"""Tokens per row, and the context of the models."""

WORLD = {
    "batch_rows": 6, "optimizer": "muon", "lr": 6e-3, "decay": 0.3, "decay_shape": "linear",
}  # fmt: skip
"""As ``lacy demo``."""
WIKI = {
    "batch_rows": 16, "optimizer": "muon", "lr": 6e-3, "delegate": "start", "call_rate": 0.065,
}  # fmt: skip
"""As ``recipes/wiki-cpu.yaml``."""


@dataclass(frozen=True)
class Spec:
    """One training run."""

    data: str
    size: str
    method: str = "lacy"
    seed: int = 0

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.data}.{self.size}.{self.method}.s{self.seed}"


METHODS = {
    "lacy": {},
    "plain": {"method": "none"},
    "text_weight_0": {"text_weight": 0.0},
}
SIZES = ("micro", "tiny", "demo", "1m", "3m")
MIDDLE = "demo"
WIKI_SIZES = ("tiny", "1m")


def specs(seeds: int, wiki: bool, *, smoke: bool = False) -> list[Spec]:
    """Return all runs, seed by seed, so that a seed is complete before the next begins."""
    sizes = ("micro",) if smoke else SIZES
    middle = () if smoke else ("plain", "text_weight_0")
    found = []
    for seed in range(seeds):
        found += [Spec("world", size, seed=seed) for size in sizes]
        found += [Spec("world", MIDDLE, method, seed) for method in middle]
        if wiki and seed == 0:
            found += [Spec("wiki", size) for size in ("tiny",) * smoke or WIKI_SIZES]
    return found


def the_world(seed: int, people: int) -> World:
    return make_world(people, seed, prose=0.5)


def world_data(out: Path, seed: int, people: int, steps: int) -> Path:
    """Pack texts of a world, as many as the training steps can read."""
    folder = out / "data" / f"world.s{seed}"
    if not folder.exists():
        world = the_world(seed, people)
        per_person = 1 + steps * WORLD["batch_rows"] * 3 // len(world.people("train"))
        texts = list(world.documents("train", per_person=per_person))
        tokenizer = train_tokenizer((d.text for d in texts[:3000]), 2048, split_digits=False)
        PackedData.write(encode_many(texts, tokenizer), tokenizer, CONTEXT, folder)
    return folder


def wiki_data(out: Path, data: Path, articles: int) -> Path:
    """Pack biographies with marks, without those that a judge has labelled."""
    folder = out / "data" / "wiki"
    if not folder.exists():
        labelled = {d.meta.get("title") for d in read_labels(labels_of(data))}
        chosen = (
            d for d in read(str(data / "wiki" / "train.jsonl.gz"))
            if d.meta.get("is_biography") and d.meta.get("title") not in labelled
        )  # fmt: skip
        texts = list(itertools.islice(chosen, articles))
        tokenizer = train_tokenizer((d.text for d in texts[:3000]), 4096)
        marked = annotated(texts)
        PackedData.write(encode_many(marked, tokenizer), tokenizer, CONTEXT, folder)
    return folder


def annotated(texts: Iterable[Document]) -> Iterable[Document]:
    """Yield the texts with the marks of the bundled pipeline."""
    annotator, stream = SpacyAnnotator("bundled"), iter(texts)
    while batch := list(itertools.islice(stream, 256)):
        found = annotator.annotate([text.text for text in batch])
        for text, marks in zip(batch, found, strict=True):
            yield replace(text, marks=tuple(marks))


def labels_of(data: Path) -> Path:
    return data / "judge" / "lmlm_dwiki_830.json"


def smallest(out: Path, packed: Path, seed: int) -> Path:
    """Save an untrained model whose shape is not a preset."""
    folder = out / "begin" / f"{packed.name}.micro.s{seed}"
    if not folder.exists():
        tokenizer = load_tokenizer(packed)
        save_model(folder, build_model(SMALLEST, tokenizer, context=CONTEXT, seed=seed), tokenizer)
    return folder


def trained(spec: Spec, out: Path, packed: Path, steps: int, **more: object) -> Path:
    """Return the folder of a run; train it if it does not exist yet."""
    folder = out / "runs" / spec.name
    if (folder / "facts.json").exists():
        return folder
    shape = (
        {"model": str(smallest(out, packed, spec.seed))}
        if spec.size == "micro"
        else {"model": spec.size}
    )
    common = WORLD if spec.data == "world" else WIKI
    begin = time.perf_counter()
    settings = {
        "dtype": "fp32", "device": "cpu", "threads": 1, "quiet": True, "hold_out": 0.02,
        "save_minutes": 1.0, **common, **shape, **METHODS[spec.method], **more,
    }  # fmt: skip
    train(TrainConfig(data=packed, out=folder, steps=steps, seed=spec.seed, **settings))
    facts = {"seconds": round(time.perf_counter() - begin, 1), **read_off(folder, settings, steps)}
    if facts["last"]["step"] != steps:
        raise SystemExit("Training was interrupted; run the same command again to resume it.")
    write_atomic(folder / "facts.json", json.dumps(facts) + "\n")
    return folder


def read_off(folder: Path, settings: dict, steps: int) -> dict:
    """Return parameters, tokens and losses of a finished run."""
    from lacy.model import load_model

    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "loss" in row]
    valid = [row for row in read_metrics(folder / "metrics.jsonl") if "valid_loss" in row]
    return {
        "parameters": load_model(folder).model.num_parameters(),
        "steps": steps,
        "tokens": steps * settings["batch_rows"] * CONTEXT,
        "loss": rows[-1]["loss"],
        "last": {**rows[-1], **(valid[-1] if valid else {})},
    }
