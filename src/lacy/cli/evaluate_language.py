"""``lacy evaluate --texts``: loss, perplexity and bits per byte of true texts."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from lacy.cli.terminal import note, say, table

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.evaluate import ChoicesResult, LanguageMeasured
    from lacy.model import Loaded
    from lacy.results import AnswerStore, Result
    from lacy.types import Document


def measure_texts(config: EvaluateConfig, loaded: Loaded) -> LanguageMeasured:
    """Measure the losses of a model on texts, alone and, with a source, with calls."""
    from lacy import evaluate
    from lacy.cascade import model_name, split_policy
    from lacy.results import AnswerStore

    documents = _marked(_read(config), config.pipeline)
    conditions = {"model": model_name(split_policy(config.model)[0])}
    measured = evaluate.measure_language(
        loaded, documents, window=config.window, stride=config.stride, seed=config.seed,
        conditions=conditions,
    )  # fmt: skip
    if not config.source:
        return measured
    stored = config.answers or (
        None if config.out is None else config.out.with_suffix(".answers.jsonl")
    )
    with AnswerStore(stored) as store:
        calls, sizes = _with_calls(config, loaded, documents, store)
    return replace(measured, calls=calls, call_bytes=sizes)


def _with_calls(
    config: EvaluateConfig, loaded: Loaded, documents: list[Document], store: AnswerStore
) -> tuple[dict[str, ChoicesResult], dict[str, tuple[int, ...]]]:
    """Return the losses with calls under each policy, and the bytes of the texts."""
    from lacy import evaluate
    from lacy.cascade import open_engine

    calls, sizes = {}, {}
    chosen: list[str | None] = [policy for policy in config.policies if policy != "never"]
    for policy in chosen or [None]:
        engine = open_engine(
            loaded, config.source, policy, calibration=config.calibrate, unit=config.unit,
            cache=config.cache, prices=config.price,
        )  # fmt: skip
        if engine.reader is None:
            note(
                "Losses with calls need a model that reads what its source says; this one only "
                "ranks values, which gives them no probability."
            )
            break
        say(f"With calls: {engine.policy}", file=sys.stderr)
        name = str(engine.policy)
        calls[name], sizes[name] = evaluate.measure_with_calls(
            engine, documents, tokens=config.call_tokens, seed=config.seed, store=store
        )
    return calls, sizes


def show_texts(measured: LanguageMeasured) -> None:
    """Print the losses by kind of token, then those with calls."""
    from lacy.report import format_score
    from lacy.results import metric_of

    parts = list(measured.scores["text_loss"])
    body = [
        (f"{metric_of(metric).label}, {metric_of(metric).unit}",
         *(format_score(by_tokens[part]) for part in parts))
        for metric, by_tokens in measured.scores.items()
    ]  # fmt: skip
    labels = {"all": "all tokens", "facts": "fact tokens", "others": "other tokens"}
    title = f"Texts in windows of {measured.window} tokens, stride {measured.stride}"
    table(title, body, ("", *(labels[part] for part in parts)))
    by_policy: dict[str, list[Result]] = {}
    for result in measured.results():
        if result.conditions.get("tokens") == "beginnings":
            by_policy.setdefault(result.conditions["policy"], []).append(result)
    for policy, results in by_policy.items():
        rows = [(metric_of(result.metric).label, format_score(result)) for result in results]
        table(f"Beginnings of the texts with calls, {policy}", rows, ("", "value"))
    number = measured.scores["text_loss"]["all"].n
    skipped = f" {measured.skipped} texts had no tokens." if measured.skipped else ""
    print(f"In brackets: 95% interval over {number} texts.{skipped}")


def _read(config: EvaluateConfig) -> list[Document]:
    """Read the texts."""
    from lacy.corpus import read

    assert config.texts is not None
    chosen = read(config.texts, encoding=config.encoding, only=config.only)
    return list(itertools.islice(chosen, config.people))


def _marked(documents: list[Document], pipeline: str) -> list[Document]:
    """Mark the fact tokens of texts that have no marks, if spaCy is installed."""
    from lacy.evaluate import marked_documents

    try:
        return marked_documents(documents, pipeline, note)
    except ModuleNotFoundError as error:
        note(f"Facts are not measured apart: {error.name} is not installed (lacy[spacy]).")
        return documents
