"""Find what an earlier process left in a run's folder: its choices, or a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.config import read_yaml
from lacy.model import META
from lacy.run import Run
from lacy.train.choices import with_choices
from lacy.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Result of a run."""

    out: Path
    step: int
    finished: bool
    """True if the run reached its last step; then ``out/model`` contains the model."""
    stopped: str = ""
    """Why the run stopped early, e.g. ``SIGTERM``; the same command resumes it."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The last row of ``metrics.jsonl``."""


def keep_choices(config: TrainConfig) -> TrainConfig:
    """Return the settings with the automatic choices of the run in this folder, if there is one."""
    if not (config.out / "config.yaml").is_file():
        return config
    stored, _ = read_yaml(config.out / "config.yaml")
    return with_choices(config, stored)


def finished_before(config: TrainConfig) -> TrainResult | None:
    """Return the result of the finished run in this folder, or None.

    Raises:
        LacyError: E17, the run in the folder has other settings; raised before anything is loaded.
    """
    if not (config.out / "config.yaml").exists():
        return None
    run = Run(config.out, config, may_differ=config.may_differ)
    meta_file = config.out / "model" / META
    if not meta_file.exists():
        return None
    try:
        training = parse_json(meta_file.read_text(encoding="utf-8")).get("training", {})
    except (ValueError, AttributeError):  # damaged; resuming from the checkpoints restores it
        return None
    if training.get("step") != training.get("of"):
        return None
    if not config.quiet:
        print(
            f"{config.out} is finished: {training['step']:,} steps. For more: --fork {config.out}"
        )
    rows = run.metrics()
    return TrainResult(config.out, training["step"], True, metrics=rows[-1] if rows else {})
