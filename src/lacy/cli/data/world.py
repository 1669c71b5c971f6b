"""``lacy data world``: write a made-up world as marked texts, held-out splits and a database."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lacy._require import require_at_least
from lacy.cli.terminal import facts, say

if TYPE_CHECKING:
    from lacy.world import World


@dataclass
class WorldConfig:
    """Make a world of people whose every fact is known, as texts with marks and a database.

    OUT holds train.jsonl, valid.jsonl (the same people, new wording), fresh.jsonl (phrasings
    never trained on), unseen.jsonl (people never trained on), truth.sqlite and world.json.
    """

    # [World]
    out: Path
    """Folder to write; an older world in it is replaced."""
    people: int = 400
    """Number of people; each has facts of about 80 bits, so it sets the load on a model."""
    seed: int = 0
    """The same seed gives the same world, character for character."""
    prose: float = 0.0
    """Mean number of additional sentences without a fact per text."""
    errors: float = 0.0
    """Share of wrong facts in the database; texts and world.json stay true."""
    per_person: int = 8
    """Differently worded training texts per person; held-out splits have one."""
    dry_run: bool = False
    """Print what would be written, with sizes and time, and write nothing."""


FLAGS = WorldConfig
EXAMPLES = """
lacy data world --people 20000 --out world
lacy data mark world --annotator gold --out data/world
"""


def run(config: WorldConfig) -> int:
    """Write the world."""
    require_at_least("per_person", config.per_person, 1)
    from lacy.world import make_world, wrong_values

    world = make_world(config.people, config.seed, prose=config.prose)
    wrong = len(
        wrong_values(world.everyone, config.errors, config.seed)
    )  # raises if it is not a share
    if config.dry_run:
        return _estimate(config, world)
    from lacy.corpus import write_documents
    from lacy.run import replace_folder
    from lacy.world import Split

    counts: dict[str, object] = {}
    with replace_folder(config.out) as folder:
        for split in get_args(Split):
            rounds = config.per_person if split == "train" else 1
            documents = world.documents(split, per_person=rounds)
            counts[f"{split}.jsonl, texts"] = write_documents(documents, folder / f"{split}.jsonl")
        world.save(folder, config.errors)
    counts |= {"wrong facts in truth.sqlite": wrong} if wrong else {}
    facts(f"World in {config.out}", {**_about(world), **counts})
    say(f"Next: lacy data mark {config.out} --annotator gold --out {config.out}-packed")
    return 0


def _about(world: World) -> dict[str, object]:
    return {
        "people": len(world.everyone),
        "of them never trained on": len(world.people("unseen")),
        "bits in the facts to learn": round(world.bits("train")),
    }


def _estimate(config: WorldConfig, world: World) -> int:
    begin = time.perf_counter()
    sample = list(itertools.islice(world.documents("train"), 200))
    seconds = (time.perf_counter() - begin) / len(sample)
    texts = len(world.people("train")) * config.per_person
    size = sum(len(document.text) for document in sample) / len(sample)
    rest = {
        "texts to train on": texts,
        "characters": round(size * texts),
        "seconds, about": round(seconds * texts * 1.3, 1),
    }
    if config.errors:
        rest["share of facts wrong in truth.sqlite"] = config.errors
    facts(f"Would write to {config.out}", {**_about(world), **rest})
    return 0
