"""``lacy evaluate --saturation``: does the head of a model limit it?"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy import evaluate, results
from lacy.cli.terminal import needs_extra, note, say, table
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.evaluate import CheckpointsSaturation
    from lacy.types import Document

GROUPS = ("all", "fact", "other", "delegated", "kept")


def measure_saturation_of(config: EvaluateConfig) -> CheckpointsSaturation:
    """Measure the model, or every checkpoint of a run."""
    from lacy.cascade import split_policy, trained_not_to_call
    from lacy.model import bf16_is_fast, gate_of, load_model

    name, _ = split_policy(config.model)
    texts = _texts(config)
    found = {}
    stored = config.answers or (
        None if config.out is None else config.out.with_suffix(".answers.jsonl")
    )
    with results.AnswerStore(stored) as store:
        for step, folder in _checkpoints(name) if config.checkpoints else [("", name)]:
            loaded = load_model(folder)
            by_itself = gate_of(loaded.model) == "sigmoid" or trained_not_to_call(loaded.meta)
            fast = bf16_is_fast(loaded.model.device)[0]
            found[step] = evaluate.measure_saturation(
                loaded,
                texts,
                train_heads=config.train_heads,
                call_rate=None if by_itself else config.call_rate,
                bf16=config.dtype == "bf16" or (config.dtype == "auto" and fast),
                store=store,
                states_folder=None if stored is None else stored.with_suffix("") / "states",
                seed=config.seed,
                notify=lambda line, step=step: say(  # type: ignore[misc]
                    f"{step}: {line}" if step else line, sys.stderr
                ),
            )
    return evaluate.CheckpointsSaturation(found)


def _checkpoints(name: str) -> list[tuple[str, Any]]:
    """Return the checkpoints of a run by name, and its final model.

    Raises:
        LacyError: E262, there are none.
    """
    folders = sorted(Path(name).glob("checkpoints/step-*/config.json"))
    found: list[tuple[str, Any]] = [(file.parent.name, file.parent) for file in folders]
    if not found:
        raise LacyError("E262", path=name)
    return found


def _texts(config: EvaluateConfig) -> list[Document]:
    """Read the texts, and mark names, numbers and dates in those without marks."""
    from lacy.corpus import read

    assert config.saturation is not None
    chosen = read(config.saturation, encoding=config.encoding, only=config.only)
    texts = list(itertools.islice(chosen, config.people))
    if any(text.marks for text in texts):
        return texts
    with needs_extra("spacy", "finding names, numbers and dates"):
        extract = evaluate.default_extract(config.pipeline)
    note(f"The texts have no marks; names, numbers and dates are found by {config.pipeline}.")
    marks = extract([text.text for text in texts])
    return [replace(text, marks=tuple(one)) for text, one in zip(texts, marks, strict=True)]


def show_saturation(measured: CheckpointsSaturation) -> None:
    """Print the last checkpoint's tables, and a line per checkpoint."""
    last = list(measured.checkpoints.values())[-1]
    if len(measured.checkpoints) > 1:
        _show_checkpoints(measured)
        print(f"The tables below are of {list(measured.checkpoints)[-1]}.")
    spectrum = last.spectrum
    head = [
        ("hidden size, text tokens", f"{spectrum.hidden_size}, {spectrum.vocabulary:,}"),
        ("tied to the embedding", "yes" if last.tied else "no"),
        ("effective rank", f"{spectrum.effective_rank:.1f}"),
        ("singular entropy", f"{spectrum.singular_entropy:.3f} nats"),
        ("rank for 90%, 99% of the squares", f"{spectrum.rank_90}, {spectrum.rank_99}"),
        ("stable rank", f"{spectrum.stable_rank:.1f}"),
    ]
    table("Output head", head)
    _show_tokens(last)
    _show_ranks(last)
    measures = last.ranks.texts
    print(f"In brackets: 95% interval over {last.texts} texts; losses by rank over {measures}.")
    if last.left_out:
        print(f"{last.left_out} texts are too short and were left out.")


def _show_tokens(last: Any) -> None:
    """Print gradients and anisotropy by group of tokens."""
    from lacy.report import format_score

    kinds = list(last.gradient)
    named = {"text": "gradient kept", "call": "the same, with calls"}
    rows = [
        (
            group,
            f"{last.tokens[group]:,}",
            *(format_score(last.gradient[kind][group].kept) for kind in kinds),
            format_score(last.anisotropy["last"].get(group)),
        )
        for group in GROUPS
        if group in last.tokens
    ]
    columns = ("tokens", "number", *(named[kind] for kind in kinds), "anisotropy")
    table("What passes the head", rows, columns)
    by = {"calls": "where the model calls", "marks": "all tokens of facts", "": "none"}
    print(f"By chance, {last.chance:.1%} would pass. Delegated tokens: {by[last.delegated_by]}.")


def _show_ranks(last: Any) -> None:
    """Print the rise of the loss with heads of lower rank (intervals are in the results)."""
    from lacy.report import format_score

    heads = last.ranks.heads
    groups = [group for group in GROUPS if group in heads[0].rise]
    rows = [(one.head, one.rank, *(f"{one.rise[g].value:+.3f}" for g in groups)) for one in heads]
    table("Rise of the loss with a head of lower rank, nats", rows, ("head", "rank", *groups))
    if last.ranks.relief:
        relief = [(rank, format_score(score)) for rank, score in last.ranks.relief.items()]
        table("What a head gains on kept tokens if it serves no others, nats", relief)


def _show_checkpoints(measured: CheckpointsSaturation) -> None:
    from lacy.report import format_score

    rows = [
        (
            step,
            format_score(one.gradient["text"]["all"].loss),
            f"{one.spectrum.effective_rank:.1f}",
            format_score(one.anisotropy["last"]["all"]),
            format_score(one.gradient["text"]["all"].kept),
        )
        for step, one in measured.checkpoints.items()
    ]
    columns = ("checkpoint", "loss", "effective rank", "anisotropy", "gradient kept")
    table("Checkpoints", rows, columns)
