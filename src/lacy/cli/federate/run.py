"""``lacy federate run``: train one model on the texts of several clients."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.data.texts import TextOptions
from lacy.cli.terminal import print_report, say, table
from lacy.config import Inline, Positional, Rare
from lacy.corpus import ReadReport
from lacy.errors import one_line
from lacy.federate import FederateSettings

if TYPE_CHECKING:
    from lacy.federate import Federation, Round
    from lacy.types import Document


@dataclass
class FederateRunConfig(TextOptions):
    """Train one model on the texts of several clients, which never send them.

    Every round, clients train on their own texts and send the change of the trained weights; a
    server checks and aggregates the changes. Here all clients run in this process, one after
    another, from a folder with the texts of each, or from one file that is split among simulated
    clients. OUT receives model/, report.html and federation.json. The same command again continues
    a stopped federation.
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

    # [Texts]
    held_out: str | None = None
    """Texts of the server, on which the loss is measured after each round."""
    context: Rare[int] = 256
    """Tokens per row."""

    # [Output]
    out: Path | None = None
    """Folder of the results; by default runs/MODEL-federated."""
    quiet: bool = False
    """Print nothing but errors."""


FILE = False
FLAGS = FederateRunConfig
EXAMPLES = """
lacy federate run smollm2 --clients texts/ --rounds 5
lacy federate run smollm2 --data texts.jsonl --simulate 8 --skew topic --rounds 3
lacy federate run runs/tuned --clients texts/ --strategy multi-krum --malicious 1
lacy federate run runs/tuned --clients texts/ --clip 1 --noise 1.2 --fraction 0.2 --budget 8
"""


def run(config: FederateRunConfig) -> int:
    """Run the rounds, and write the model and a report."""
    from lacy.federate import federate

    config.settings.check()
    out = config.out or Path("runs") / f"{Path(config.model.rstrip('/')).stem}-federated"
    texts = _texts(config)
    held_out = list(config.read(config.held_out, ReadReport())) if config.held_out else []
    show = RoundsShown(config.settings.rounds, len(texts), config.quiet)
    with show:
        done = federate(
            config.model, texts, out, config.settings, held_out=held_out, context=config.context,
            notify=show.note, on_reply=show.reply, on_round=show.round,
        )  # fmt: skip
    write_federation(out, done, quiet=config.quiet)
    return 0


def write_federation(out: Path, done: Federation, *, quiet: bool) -> None:
    """Write the report of a federation, and print its rounds."""
    from lacy import report

    report.write_federation_page(out / "report.html", done)
    if quiet:
        return
    cells = [(str(each.number), *report.round_cells(each)) for each in done.rounds]
    shown = [n for n, column in enumerate(zip(*cells, strict=True)) if {*column} - {"–", "0"}]
    columns = ("", *report.ROUND_COLUMNS)
    table("Rounds", [[row[n] for n in shown] for row in cells], [columns[n] for n in shown])
    for each in done.rounds:
        for client, why in {**each.refused, **each.failed}.items():
            say(f"Round {each.number}: not used: {client}, {why}")
    if not done.finished:
        say(f"Ended after {len(done.rounds)} rounds: one more would exceed the privacy budget.")
    say(f"Written: {out / 'report.html'} and {out / 'federation.json'}")
    say(f'Next: lacy generate {shlex.quote(str(out))} "..."', sys.stderr)


def _texts(config: FederateRunConfig) -> dict[str, list[Document]]:
    """Return the texts of each client.

    Raises:
        LacyError: E12, neither or both of --clients and --data are given; and the errors of
            ``client_folders`` and ``split_documents``.
    """
    from lacy.errors import LacyError
    from lacy.federate import client_folders, split_documents

    if (config.clients is None) == (config.data is None):
        why = "give either a folder of clients or texts to split"
        do = "add --clients FOLDER, or --data FILE --simulate 8"
        raise LacyError("E12", key="clients", value=str(config.clients or ""), why=why, do=do)
    report = ReadReport()
    if config.clients is None:
        found = split_documents(
            config.read(config.data or "", report, limit=config.limit), config.simulate,
            skew=config.skew, field=config.topic_field, alpha=config.alpha,
            seed=config.settings.seed,
        )  # fmt: skip
        print_report(report)
        return found
    found = {}
    for name, path in client_folders(config.clients).items():
        try:
            found[name] = list(config.read(str(path), report, limit=config.limit))
        except LacyError as error:
            if error.code not in ("E21", "E22"):  # it has no usable text: it takes no part
                raise
            found[name] = []
    print_report(report)
    return found


class RoundsShown:
    """Shows the clients of the current round live in a terminal, and a line for every round."""

    def __init__(self, rounds: int, clients: int, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._quiet, self._rounds, self._round, self._clients = quiet, rounds, 0, clients
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.fields[now]}"), TimeElapsedColumn(), console=Console(stderr=True),
            transient=True, disable=quiet or not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bar.add_task("round 1", total=clients, now="")

    def __enter__(self) -> RoundsShown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, sentence: str) -> None:
        """Print a sentence."""
        if not self._quiet:
            self._bar.console.print(
                one_line(sentence), markup=False, highlight=False, soft_wrap=True
            )

    def reply(self, client: str) -> None:
        """Show that a client has replied."""
        self._bar.update(self._task, advance=1, now=one_line(client))

    def round(self, done: Round) -> None:
        """Print the line of a round."""
        from lacy import report

        cells = zip(report.ROUND_COLUMNS, report.round_cells(done), strict=True)
        line = ", ".join(f"{name} {cell}" for name, cell in cells if cell not in ("–", "0"))
        self.note(f"Round {done.number} of {self._rounds}: {line}")
        self._bar.update(self._task, completed=0, description=f"round {done.number + 1}", now="")
