"""``lacy vocabulary build``: find the tokens that a task needs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.terminal import facts, say
from lacy.cli.vocabulary.examples import ExampleOptions

if TYPE_CHECKING:
    from lacy.vocabulary import Vocabulary


@dataclass
class BuildVocabularyConfig(ExampleOptions):
    """Find the tokens that a model needs for a task, from examples of what it writes.

    With `--vocabulary FILE`, generate, serve and evaluate compute the logits of these tokens and of
    those that the model has read; all others are computed only where one of them could be the
    likeliest. Special tokens, <CALL> and single bytes are always included, so that every text can
    be written.
    """

    # [Output]
    out: Path = field(kw_only=True)
    """File to write (JSON)."""

    # [Vocabulary]
    counted: Literal["new", "all"] = "new"
    """Which tokens of an output count: those that its input lacks, or all."""
    scripts: list[str] = field(default_factory=list)
    """Scripts of Unicode whose tokens are kept, such as Latin Greek; by default all."""
    tolerance: float = 0.01
    """How many tokens may be missing per output: the rarest ones are left out."""
    tokens: int | None = None
    """Keep at most this many tokens, those in most outputs; by default as many as --tolerance
    leaves. Special tokens and bytes are always kept, also beyond this number."""


FILE = False
FLAGS = BuildVocabularyConfig
EXAMPLES = """
lacy vocabulary build smollm2 --data articles.jsonl.gz --out biographies.json
lacy vocabulary build smollm2 --data pairs.jsonl --input-field en --output-field pt --out pt.json
"""


def run(config: BuildVocabularyConfig) -> int:
    """Write the vocabulary and print what is in it."""
    from lacy.model import load_model
    from lacy.vocabulary import task_vocabulary

    loaded = load_model(config.model)
    vocabulary = task_vocabulary(
        loaded.tokenizer, config.examples(), counted=config.counted, scripts=config.scripts,
        tolerance=config.tolerance, tokens=config.tokens, where=config.data,
    )  # fmt: skip
    vocabulary.save(config.out)
    print_vocabulary(str(config.out), vocabulary)
    model, out = shlex.quote(config.model), shlex.quote(str(config.out))
    say(f"Next: lacy vocabulary check {model} --vocabulary {out} --data HELD_OUT", sys.stderr)
    say(f'      lacy generate {model} "..." --vocabulary {out}', sys.stderr)
    return 0


def print_vocabulary(name: str, vocabulary: Vocabulary) -> None:
    """Print what a vocabulary contains and how it was made."""
    made = vocabulary.made
    values = {
        "tokens": f"{len(vocabulary):,} of {vocabulary.size:,} ({vocabulary.share:.1%})",
        "examples": made.get("examples"),
        "an output's tokens that its input has": f"{made.get('in_input', 0):.1%}",
        "tokens of the outputs": made.get("counted_tokens"),
        "... of the scripts": made.get("of_scripts"),
        "... not too rare": made.get("tolerated"),
        "... missing per output": f"{made['missed']:.3g}" if "missed" in made else None,
        "special tokens and bytes": made.get("protected"),
        "counted": made.get("counted"),
        "scripts": ", ".join(made.get("scripts") or ()) or "all",
        "tolerance": made.get("tolerance"),
    }
    facts(name, {key: value for key, value in values.items() if value is not None})
