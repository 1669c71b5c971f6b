"""``lacy vocabulary check``: measure what a smaller vocabulary would lose."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lacy.cli.terminal import say, table
from lacy.cli.vocabulary.examples import ExampleOptions

if TYPE_CHECKING:
    from lacy.results import Score
    from lacy.vocabulary import StageMemory, VocabularyFigures


@dataclass
class CheckVocabularyConfig(ExampleOptions):
    """Measure on held-out texts what the head misses if it computes only some tokens.

    The whole head reads the texts. At every token of an output, its likeliest token, the output's
    own token and the probability of all others are compared with the active rows. The fallback
    computes other rows only where one of them could be the likeliest, so that greedy texts stay the
    same; the table says how often.
    """

    vocabulary: str = "dynamic"
    """A file of lacy vocabulary build (with the tokens of the context, too), dynamic for the tokens
    of the context alone, or context for the latest 3,000 of them."""
    # [Measure]
    mode: Literal["static", "hybrid"] = "hybrid"
    """With a file: hybrid adds the tokens that the model has read; static does not."""
    tokens: int = 256
    """Maximum number of tokens of an output that are measured."""
    memory: bool = False
    """Also measure the memory of fresh processes by stage: of the whole model, and with embedding
    and head in the model's file (Linux)."""
    # [Output]
    out: Path | None = None
    """Also write the figures as JSON."""


FILE = False
FLAGS = CheckVocabularyConfig
EXAMPLES = """
lacy vocabulary check smollm2 --vocabulary biographies.json --data held-out.jsonl.gz --limit 50
lacy vocabulary check smollm2 --data held-out.jsonl.gz --limit 50
"""


def run(config: CheckVocabularyConfig) -> int:
    """Print and write the figures."""
    from lacy.model import load_model
    from lacy.vocabulary import measure_vocabulary, open_vocabulary, tailor

    loaded = load_model(config.model)
    vocabulary, mode = open_vocabulary(config.vocabulary, loaded.tokenizer)
    mode = config.mode if vocabulary is not None else mode
    tailored = tailor(loaded, vocabulary, mode)
    sizes = tailored.sizes()
    tailored.restore()
    figures = measure_vocabulary(
        loaded, config.examples(), vocabulary, mode, tokens=config.tokens, where=config.data
    )
    _print(figures, config.vocabulary)
    rest = sizes.screen_bytes
    row = sizes.whole_bytes / sizes.tokens
    mean = figures.active.value * row + rest
    say(
        f"Embedding and head: {sizes.whole_bytes / 2**20:.1f} MiB; active rows and the fallback's "
        f"copy of the others: {mean / 2**20:.1f} MiB, of which the copy {rest / 2**20:.1f}."
    )
    stages = _memory(config) if config.memory else {}
    if config.out is not None:
        from lacy.results import as_data
        from lacy.run import environment, write_atomic

        data = {
            "vocabulary": config.vocabulary, "data": config.data, "figures": as_data(figures),
            "sizes": as_data(sizes), "memory": as_data(stages), "environment": environment(),
        }  # fmt: skip
        write_atomic(config.out, json.dumps(data, indent=2) + "\n")
        say(f"Written: {config.out}")
    return 0


def _memory(config: CheckVocabularyConfig) -> dict[str, list[StageMemory]]:
    """Measure and print the memory by stage, of the whole model and of the offloaded one."""
    from lacy.vocabulary import memory_by_stage

    whole = memory_by_stage(config.model)
    small = memory_by_stage(config.model, config.vocabulary, offload=True)
    by_stage = {stage.stage: stage for stage in whole}
    rows = []
    for stage in small:
        old = by_stage.get(stage.stage)
        rows.append((stage.stage, _mib(old), _mib(stage), f"{stage.files / 2**20:,.0f}"))
    columns = ("MiB after", "whole model", "offloaded", "... pages of files")
    table("Memory of a fresh process", rows, columns)
    return {"whole": whole, "offloaded": small}


def _mib(stage: StageMemory | None) -> str:
    return "" if stage is None else f"{stage.own / 2**20:,.0f}"


def _print(figures: VocabularyFigures, name: str) -> None:
    rows = [
        ("active rows", _shown(figures.active, ",.0f")),
        ("share of the head's operations", _shown(figures.share, ".2%")),
        ("likeliest token is active", _shown(figures.best_inside, ".2%")),
        ("text's own token is active", _shown(figures.target_inside, ".2%")),
        ("probability of other tokens", _shown(figures.mass_outside, ".2%")),
        ("divergence (nats)", _shown(figures.kl, ".3f")),
        ("fallback computes other rows", _shown(figures.fallbacks, ".2%")),
        ("... how many per token", _shown(figures.checked, ".2f")),
    ]
    title = f"{name}, {figures.mode}: {figures.positions:,} tokens of {figures.active.n} texts"
    table(title, rows)


def _shown(score: Score, form: str) -> str:
    """Format a score with its interval."""
    if math.isnan(score.low):
        return f"{score.value:{form}}"
    return f"{score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"
