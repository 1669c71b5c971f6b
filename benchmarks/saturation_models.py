"""Train small models of several widths in made-up worlds, with and without delegation.

    OMP_NUM_THREADS=1 python benchmarks/saturation_models.py --out DIR

The models for ``benchmarks/saturation.py``. Each seed has its own world, tokenizer, weights and
order of rows; within a seed all models read the same texts. Methods:

- ``plain``: no delegation;
- ``lacy``: 15% of the targets are ``<CALL>``, with the default text weight of 0.5;
- ``only-call``: the same with a text weight of 0, so delegated tokens are never trained as text.

``--save`` steps apart, a checkpoint of each run is kept. Finished runs are skipped, and stopped
ones continue.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

from lacy.annotate import encode_many
from lacy.corpus import PackedData, load_tokenizer, train_tokenizer
from lacy.disk import replace_folder
from lacy.model import Preset, build_model, save_model
from lacy.train import TrainConfig, train
from lacy.world import make_world

METHODS: dict[str, dict[str, Any]] = {
    "plain": {"method": "none"},
    "lacy": {"method": "lacy"},
    "only-call": {"method": "lacy", "text_weight": 0.0},
}
LAYERS, CONTEXT, VOCABULARY = 3, 256, 2048
PEOPLE, TEXTS, PROSE = 200, 30, 0.5
"""The world of the recipes named ``*-world.yaml``."""


def prepare(folder: Path, seed: int) -> None:
    """Make a seed's world, tokenizer and packed texts."""
    if (folder / "done").exists():
        return
    world = make_world(PEOPLE, seed, prose=PROSE)
    with replace_folder(folder / "world") as fresh:
        world.save(fresh)
    texts = world.documents("train", per_person=TEXTS)
    sample = (document.text for document in itertools.islice(texts, 3000))
    tokenizer = train_tokenizer(sample, VOCABULARY, split_digits=False)
    texts = world.documents("train", per_person=TEXTS)
    PackedData.write(encode_many(texts, tokenizer), tokenizer, CONTEXT, folder / "packed")
    (folder / "done").touch()


def shape(width: int) -> Preset:
    """Return a Llama of this width, whose heads are 16 wide."""
    heads = max(1, width // 16)
    return Preset(f"w{width}", "llama", width, LAYERS, heads, heads, 3 * width)


def run(folder: Path, texts: Path, width: int, method: str, seed: int, flags: Any) -> None:
    """Train one model."""
    if (folder / "model" / "config.json").exists():
        return
    start = folder.parent / f"start-w{width}-s{seed}"
    if not (start / "config.json").exists():
        tokenizer: Any = load_tokenizer(texts / "packed")
        save_model(
            start, build_model(shape(width), tokenizer, context=CONTEXT, seed=seed), tokenizer
        )
    train(
        TrainConfig(
            data=texts / "packed", out=folder, model=str(start), steps=flags.steps, batch_rows=6,
            optimizer="muon", lr=6e-3, decay=0.3, decay_shape="linear", dtype="fp32", device="cpu",
            threads=1, call_rate=0.15, call_negative="softmax", seed=seed, quiet=True,
            save_every=flags.save, save_minutes=0.0, keep=1000, **METHODS[method],
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--save", type=int, default=150)
    flags = parser.parse_args()
    for seed in flags.seeds:
        texts = flags.out / f"texts-s{seed}"
        prepare(texts, seed)
        for width, method in itertools.product(flags.widths, flags.methods):
            name = f"w{width}.{method}.s{seed}"
            print(name, flush=True)
            run(flags.out / name, texts, width, method, seed, flags)


if __name__ == "__main__":
    main()
