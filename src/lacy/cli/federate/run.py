"""``lacy federate run``: train one model on the texts of several clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import print_report, table
from lacy.config import Inline, Positional, Rare
from lacy.federate import FederateSettings


@dataclass
class FederateRunConfig(TextOptions):
    """Train one model on the texts of several clients, which never send them.

    Every round, clients train on their own texts and send the change of the trained weights; a
    server checks and aggregates the changes. Here all clients run in this process, one after
    another, from a folder with the texts of each, or from one file that is split among simulated
    clients.
    """

    model: Positional[str] = field(kw_only=True)
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name."""
    # [Clients]
    clients: Path | None = None
    """Folder with a file or a folder of texts for each client."""
    data: str | None = None
    """Texts that are split among --simulate clients."""
    simulate: int = 8
    """Number of simulated clients."""
    skew: Literal["none", "topic", "dirichlet"] = "none"
    """How texts are split: at random, by topic, or by topic with shares of a Dirichlet
    distribution."""
    topic_field: Rare[str] = "topic"
    """Field with the topic of a text."""
    alpha: Rare[float] = 0.5
    """Concentration of the Dirichlet distribution; the smaller, the more the clients differ."""

    settings: Inline[FederateSettings] = field(default_factory=FederateSettings)
    """How the federation trains and aggregates."""

    # [Output]
    out: Path | None = None
    """Folder of the results; by default runs/MODEL-federated."""


FILE = False
FLAGS = FederateRunConfig
EXAMPLES = """
lacy federate run smollm2 --clients texts/ --rounds 5
lacy federate run smollm2 --data texts.jsonl --simulate 8 --skew topic --rounds 3
"""


def run(config: FederateRunConfig) -> int:
    """Show the clients."""
    from lacy.corpus import ReadReport
    from lacy.federate import client_folders, split_documents

    config.settings.check()
    report = ReadReport()
    if config.clients is not None:
        found = {
            name: list(config.read(str(path), report))
            for name, path in client_folders(config.clients).items()
        }
    else:
        found = split_documents(
            config.read(config.data or "", report), config.simulate, skew=config.skew,
            field=config.topic_field, alpha=config.alpha, seed=config.settings.seed,
        )  # fmt: skip
    print_report(report)
    table("Clients", [(name, len(texts)) for name, texts in found.items()], ("", "texts"))
    return 0
