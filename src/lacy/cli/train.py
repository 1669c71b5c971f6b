"""``lacy train``: train a small model that knows when to call."""

from __future__ import annotations

from lacy.cli.process import CLOSED, STOPPED
from lacy.train import TrainConfig

FLAGS = TrainConfig
EXAMPLES = """
lacy train --data data/wiki --model 1m --out runs/wiki
lacy train recipes/wiki-cpu.yaml --data data/wiki --dry-run
lacy train recipes/paper-334m.yaml --dry-run
"""


def run(config: TrainConfig) -> int:
    """Train a model and print what to do next."""
    config.check()
    from lacy.train import CLOSED_OUTPUT, first_process, leave_processes, train

    result = train(config)
    leave_processes()
    if result.stopped and not config.dry_run:  # it has printed how to resume
        return CLOSED if result.stopped == CLOSED_OUTPUT else STOPPED
    if not (config.dry_run or config.quiet) and first_process():
        print(f'Next: lacy generate {config.out} "..." --source FACTS.sqlite')
        print(f"      lacy evaluate {config.out} --world WORLD")
    return 0
