"""``lacy federate align``: align one model on the samples of clients that sanitise them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.federate.run import RoundsShown, write_federation
from lacy.config import Inline, Positional, Rare
from lacy.federate import RoundSettings

if TYPE_CHECKING:
    from lacy.safety import Sample


@dataclass
class FederateAlignConfig:
    """Align one model on the preference pairs or replies of several clients.

    Each client flags harmful samples with a classifier on its own device (lacy safety train),
    replaces them by refusals, and trains adapters: with DPO on pairs (fields prompt, chosen,
    rejected), or on the replies to imitate (prompt, reply; or messages). Each may be a text or a
    list of messages. Clients report how many samples they saw, flagged and replaced, never a text
    (FedDetox). OUT receives model/, report.html and
    federation.json. The same command again continues a stopped federation.
    """

    model: Positional[str] = field(kw_only=True)
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name."""
    # [Clients]
    clients: Path | None = None
    """Folder with a file of samples for each client."""
    data: Path | None = None
    """Samples that are split among --simulate clients."""
    simulate: int = 8
    """Number of simulated clients."""
    skew: Literal["none", "topic", "dirichlet"] = "none"
    """How samples are split: at random, by topic, or by topic with shares of a Dirichlet
    distribution."""
    topic_field: Rare[str] = "topic"
    """Field with the topic of a sample."""
    alpha: Rare[float] = 0.5
    """Concentration of the Dirichlet distribution; the smaller, the more the clients differ."""

    # [Sanitising]
    guard: Path | None = None
    """Folder of the classifier with which clients flag samples; by default nothing is flagged."""
    sanitise: Literal["replace", "drop", "keep"] = "replace"
    """What happens to flagged samples: replace them by refusals, drop them, or only count them."""
    prompt_threshold: Rare[float | None] = None
    """Probability from which a prompt is flagged, above 1 for none; by default the
    classifier's."""
    answer_threshold: Rare[float | None] = None
    """Probability from which a reply is flagged, above 1 for none; by default the
    classifier's."""

    # [Alignment]
    beta: Rare[float] = 0.1
    """Beta of DPO: the larger, the closer the model stays to what it was."""
    hold_call: Rare[float] = 0.0
    """Weight of a term that keeps the margins of the <CALL> gate (DPO)."""
    epochs: int = 1
    """Passes over a client's samples per round."""
    prompt_tokens: Rare[int] = 128
    """Tokens kept of a prompt."""
    reply_tokens: Rare[int] = 96
    """Tokens kept of a reply."""

    settings: Inline[RoundSettings] = field(default_factory=RoundSettings)
    """How the federation aggregates."""
    # [Training on a client]
    batch_rows: Rare[int] = 8
    """Rows per step; a preference pair has two."""
    lr: float | None = None
    """Learning rate; by default 2e-4."""

    # [Output]
    out: Path | None = None
    """Folder of the results; by default runs/MODEL-aligned."""
    quiet: bool = False
    """Print nothing but errors."""


FILE = False
FLAGS = FederateAlignConfig
EXAMPLES = """
lacy federate align smollm2 --clients pairs/ --guard runs/guard --rounds 3
lacy federate align smollm2 --data pairs.jsonl --simulate 8 --guard runs/guard --sanitise drop
"""


def run(config: FederateAlignConfig) -> int:
    """Run the rounds, and write the model and a report."""
    from lacy.federate import FederateSettings, align
    from lacy.safety import AlignSettings, load_classifier

    settings = FederateSettings(
        **asdict(config.settings), batch_rows=config.batch_rows, lr=config.lr
    )
    settings.check()
    samples = _samples(config)
    how = AlignSettings(
        beta=config.beta, hold_call=config.hold_call, epochs=config.epochs,
        batch=samples_per_step(config.batch_rows, samples),
        prompt_tokens=config.prompt_tokens, reply_tokens=config.reply_tokens,
        seed=settings.seed,
    )  # fmt: skip
    out = config.out or Path("runs") / f"{Path(config.model.rstrip('/')).stem}-aligned"
    guard = load_classifier(config.guard) if config.guard is not None else None
    shown = RoundsShown(settings.rounds, len(samples), config.quiet)
    if guard is None:
        shown.note("Nothing is flagged, because there is no --guard (lacy safety train makes one).")
    with shown:
        done = align(
            config.model, samples, out, settings, how, guard=guard,
            guard_name=str(config.guard or ""), mode=config.sanitise,
            thresholds=(config.prompt_threshold, config.answer_threshold),
            notify=shown.note, on_reply=shown.reply, on_round=shown.round,
        )  # fmt: skip
    write_federation(out, done, quiet=config.quiet)
    return 0


def samples_per_step(rows: int, samples: Mapping[str, Sequence[Sample]]) -> int:
    """Return how many samples fill the rows of a step; a preference pair fills two."""
    from lacy.safety import PreferencePair

    pairs = any(isinstance(one, PreferencePair) for own in samples.values() for one in own)
    return max(1, rows // 2) if pairs else rows


def _samples(config: FederateAlignConfig) -> dict[str, list[Sample]]:
    """Return the samples of each client.

    Raises:
        LacyError: E12, neither or both of --clients and --data are given; and the errors of
            ``client_folders``, ``read_samples`` and ``split_samples``.
    """
    from lacy.errors import LacyError
    from lacy.federate import client_folders, split_samples
    from lacy.safety import read_samples

    if config.clients is not None and config.data is None:
        found = client_folders(config.clients)
        return {name: _of_client(path, config.topic_field) for name, path in found.items()}
    if config.data is not None and config.clients is None:
        return split_samples(
            list(read_samples(config.data, topic_field=config.topic_field)), config.simulate,
            skew=config.skew, field=config.topic_field, alpha=config.alpha,
            seed=config.settings.seed,
        )  # fmt: skip
    why = "give either a folder of clients or samples to split"
    do = "add --clients FOLDER, or --data FILE --simulate 8"
    raise LacyError("E12", key="clients", value=str(config.clients or ""), why=why, do=do)


def _of_client(path: Path, topic_field: str) -> list[Sample]:
    """Return the samples of one client; none if its file is empty, so that it takes no part."""
    from lacy.errors import LacyError
    from lacy.safety import read_samples

    try:
        return list(read_samples(path, topic_field=topic_field))
    except LacyError as error:
        if error.code != "E21":
            raise
        return []
