"""``lacy train``: packed data in, a run folder with a model that knows when to call out."""

from __future__ import annotations

from collections.abc import Sequence

from lacy.cli.process import CLOSED, STOPPED
from lacy.cli.verb import settings
from lacy.train import TrainConfig

SETTINGS = TrainConfig
EXAMPLE = """
lacy train --data data/wiki --model 1m --out runs/wiki
lacy train recipes/wiki-cpu.yaml --data data/wiki --dry-run
lacy train recipes/paper-334m.yaml --dry-run
"""


def main(argv: Sequence[str]) -> int:
    """Trains."""
    config = settings(TrainConfig, argv, "train", EXAMPLE)
    config.check()
    from lacy.train import CLOSED_OUTPUT, train

    result = train(config)
    if result.stopped and not config.dry_run:  # the console has said how to resume
        return CLOSED if result.stopped == CLOSED_OUTPUT else STOPPED
    if not (config.dry_run or config.quiet):
        print(f'Next: lacy generate {config.out} --prompt "..." --source FACTS.sqlite')
        print(f"      lacy evaluate {config.out} --world WORLD")
    return 0
