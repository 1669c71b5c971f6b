"""The settings of a tuning; importing them needs neither torch nor spaCy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lacy.config import Rare

Target = Literal["where", "miss", "value"]
"""Where the model should call."""


@dataclass
class TuneSettings:
    """What to fit, and on how much text."""

    # [Tuning]
    depth: str = "row"
    """How much of the model is trained: only the <CALL> row (row; minutes on a CPU), adapters
    (lora), the last layers (last=2), or everything (full)."""
    target: Target = "where"
    """Where the model should call: at the first token of each value (where), only at values that
    the model gets wrong (miss), or at the fact tokens with the highest loss (value, as in the
    paper, for --unit token)."""
    articles: int = 200
    """Number of articles to use, chosen at random if there are more."""
    tokens: int = 256
    """Maximum number of tokens per article; longer ones are cut."""
    seed: Rare[int] = 0
    """Seed of the choice of articles and of the groups in which they are scored."""

    # [Fit]
    epochs: Rare[float] = 1.0
    """Passes over the articles, for depths other than row."""
    call_rate: Rare[float] = 0.22
    """Share of tokens at which a call is due, for --target value."""
    inverse_penalty: Rare[float] = 0.01
    """C of the logistic regression; smaller values shrink the row more."""

    # [Machine]
    states: Rare[Path | None] = None
    """Folder for the hidden states, which later runs on the same texts reuse; by default
    OUT-states."""
    device: Rare[Literal["auto", "cpu"]] = "auto"
    """Device for the hidden states; auto uses a GPU if there is one."""
    threads: Rare[int | None] = None
    """Number of CPU threads."""
