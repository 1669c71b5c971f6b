"""The sections that read true texts: losses with and without calls, and saturation of the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lacy.results import AnswerStore, Measurement, Result
from lacy.scorecard.combined import ByPolicy, Selected
from lacy.scorecard.inputs import ScorecardInputs

if TYPE_CHECKING:
    from lacy.types import Document

WITH_CALLS = 20
"""Number of texts that are read with calls, which takes as long as writing them."""

CALL_TOKENS = 96
"""Number of tokens of each of these texts."""

SATURATION_TEXTS = 40
"""Number of texts for saturation."""


def measure_losses(
    loaded: Any,
    inputs: ScorecardInputs,
    articles: Sequence[Document],
    policies: dict[str, str],
) -> Measurement:
    """Measure losses on articles, alone and with calls that an index of the articles answers.

    Args:
        loaded: the model.
        inputs: pipeline and seed.
        articles: articles with titles.
        policies: when to call, by condition.
    """
    from tempfile import TemporaryDirectory

    from lacy.cascade import Engine
    from lacy.evaluate import marked_documents, measure_language, measure_with_calls
    from lacy.sources.texts import Documents

    documents = marked_documents(articles, inputs.pipeline)
    found = measure_language(loaded, documents, seed=inputs.seed)
    names = {policy: name for name, policy in policies.items()}
    with TemporaryDirectory() as folder, Documents.build(documents, f"{folder}/index") as index:
        for policy in policies.values():
            engine = Engine(loaded, index, policy)
            if engine.never_calls or engine.reader is None:
                continue
            calls, sizes = measure_with_calls(
                engine, documents[:WITH_CALLS], tokens=CALL_TOKENS, seed=inputs.seed
            )
            found = replace(found, calls={policy: calls}, call_bytes={policy: sizes})
    return ByPolicy(found, lambda policy: names.get(policy, policy))


def measure_head(
    loaded: Any, inputs: ScorecardInputs, articles: Sequence[Document], answers: AnswerStore
) -> Measurement:
    """Measure the saturation of the output head on articles; no head is trained.

    Of the many values, those of the last layer, of the loss on text and of fitted heads are kept
    (``lacy evaluate --saturation`` shows all).

    Args:
        loaded: the model.
        inputs: pipeline and seed.
        articles: the articles.
        answers: keeps what was measured.
    """
    from lacy.evaluate import marked_documents, measure_saturation

    documents = marked_documents(articles[:SATURATION_TEXTS], inputs.pipeline)
    bf16 = "bfloat16" in str(loaded.model.dtype)
    found = measure_saturation(
        loaded, documents, train_heads=False, bf16=bf16, store=answers, seed=inputs.seed
    )
    return Selected(found, _is_shown)


def _is_shown(result: Result) -> bool:
    """True for the values of saturation that a scorecard shows."""
    chosen = {"layer": "last", "loss": "text", "head": "fitted"}
    if any(result.conditions.get(key, value) != value for key, value in chosen.items()):
        return False
    tokens = result.conditions.get("tokens", "all")
    return tokens == "all" if "rank" in result.conditions else tokens in ("all", "fact", "other")
