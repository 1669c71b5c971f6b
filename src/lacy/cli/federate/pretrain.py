"""``lacy federate pretrain``: several workers train one model and exchange little."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._text import format_duration
from lacy.cli.terminal import facts, say
from lacy.config import Inline, Rare
from lacy.diloco import DilocoSettings
from lacy.train import TrainConfig

if TYPE_CHECKING:
    from lacy.diloco import ExchangeEstimate


@dataclass
class FederatePretrainConfig(TrainConfig):
    """Train one model with several workers that exchange little (DiLoCo).

    Every worker takes --sync-every ordinary steps on its own rows; then the changes of the weights
    are sent in few bits, and their mean moves the shared model. Steps and rows count all workers
    together, so the tokens are those of `lacy train` with the same settings.

    OUT receives model/, checkpoints/, metrics.jsonl and report.html. The same command again resumes
    a stopped run.
    """

    settings: Inline[DilocoSettings] = field(default_factory=DilocoSettings)
    """How workers train apart and what they exchange."""

    # [Processes]
    processes: bool = False
    """Start a process for each worker; otherwise they take turns in this one."""
    address: Rare[str] = "127.0.0.1:0"
    """Where the server listens for workers (host and port; 0 chooses a port)."""
    join: Rare[str | None] = None
    """Work for the server at this address (HOST:PORT) instead of starting one."""
    number: Rare[int] = 0
    """With --join: which worker to be, from 0."""


FLAGS = FederatePretrainConfig
EXAMPLES = """
lacy federate pretrain --data data/wiki --model 1m --steps 2000 --workers 4 --out runs/together
lacy federate pretrain recipes/wiki-cpu.yaml --data data/wiki --codec int4 --processes
"""


def run(config: FederatePretrainConfig) -> int:
    """Pretrain with several workers, write the page, and print what to do next."""
    from lacy.diloco import estimate_exchange, join, prepare_together, pretrain

    plain = TrainConfig(**{name: getattr(config, name) for name in _names(TrainConfig)})
    plain.check()
    config.settings.check()
    if config.dry_run:
        _say_estimate(
            estimate_exchange(prepare_together(plain, config.settings)), config.settings.workers
        )
        return 0
    if config.join is not None:
        applied = join(plain, config.settings, config.join, config.number)
        say(f"done: {applied:,} outer steps")
        return 0
    began = time.monotonic()

    def on_round(row: Mapping[str, Any]) -> bool:
        if not config.quiet:
            say(_line(row))
        return False

    done = pretrain(
        plain,
        config.settings,
        processes=config.processes,
        address=config.address,
        on_round=on_round,
    )
    _write_page(config.out)
    if not config.quiet:
        folder = shlex.quote(str(config.out))
        say(f"done in {format_duration(time.monotonic() - began)}: {config.out / 'model'}")
        say(f"Next: open {folder}/report.html")
        say(f'      lacy generate {folder} "..." --source FACTS.sqlite')
    return 0 if done.finished else 1


def _say_estimate(found: ExchangeEstimate, workers: int) -> None:
    facts(
        "What would be exchanged",
        {
            "parameters": f"{found.parameters:,}",
            "steps": f"{found.steps:,}",
            "exchanges": f"{found.exchanges:,}",
            "a worker sends at once": f"{found.up / 1e6:,.2f} MB",
            "a worker receives at once": f"{found.down / 1e6:,.2f} MB",
            f"all {workers} workers, whole run": f"{found.total / 1e6:,.2f} MB",
            "synchronous in float32": f"{found.synchronous / 1e6:,.0f} MB,"
            f" {found.synchronous / found.total:,.0f} times as much",
        },
    )


def _names(kind: Any) -> list[str]:
    return [name for name in kind.__dataclass_fields__]


def _line(row: Mapping[str, Any]) -> str:
    """Format an outer step as one line."""
    parts = [f"round {row['round']:,}", f"step {row['step']:,}"]
    if "loss" in row:
        parts.append(f"loss {row['loss']:.3f}")
        if row["call_rate"]:
            parts.append(f"calls {row['call_rate']:.1%}")
    if "valid_loss" in row:
        parts.append(f"held out {row['valid_loss']:.3f}")
    parts += [
        f"{row['workers']} workers", f"sent {row['bytes_up'] / 1e6:,.2f} MB",
        f"received {row['bytes_down'] / 1e6:,.2f} MB",
    ]  # fmt: skip
    if row["late"]:
        parts.append(f"{row['late']} late")
    if row["refused"]:
        parts.append(f"{row['refused']} refused")
    return ", ".join(parts)


def _write_page(out: Path) -> None:
    from lacy.report import write_together_page

    write_together_page(out / "report.html", out)
