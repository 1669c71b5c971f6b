"""Loss, perplexity and bits per byte on true texts, on and off fact tokens, alone and with calls.

Texts longer than a window are read in overlapping windows: the first window scores all of its
tokens, each further one the next ``stride`` tokens, with at least ``window - stride`` tokens before
them. Every token of a text is scored once. The token that ends a text is left out, because it has
no bytes and tokenizers differ in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy._require import require_at_least
from lacy.evaluate.choices import (
    ChoiceMade,
    ChoicesResult,
    TextWithCalls,
    choices_in,
    summarize_choices,
)
from lacy.evaluate.stored import engine_settings
from lacy.model import context_of, model_fingerprint, without_call
from lacy.results import NO_DATA, AnswerStore, Result, Score, answer_key, ratio, score_sums
from lacy.types import CALL_TOKEN, Document, MarkFlag

LN2 = math.log(2.0)
WINDOW = 1024
"""Default number of tokens that are read together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TextLosses:
    """The losses of one text, one entry per token."""

    id: str
    loss: Floats
    """``-log p(token)`` in nats, without ``<CALL>``."""
    fact: NDArray[np.bool_]
    """True for tokens of facts."""
    size: NDArray[np.int64]
    """Bytes (UTF-8) of the text that each token adds; they add up to those of the text."""


@dataclass(frozen=True, slots=True)
class LanguageMeasured:
    """Losses of one model on true texts; intervals are over texts."""

    scores: dict[str, dict[str, Score]]
    """By metric, for ``all`` tokens, ``facts`` and ``others``."""
    window: int
    stride: int
    skipped: int
    """Texts without a token."""
    calls: dict[str, ChoicesResult] = field(default_factory=dict)
    """The losses with calls, by policy, on the beginnings of the texts."""
    call_bytes: dict[str, tuple[int, ...]] = field(default_factory=dict, metadata=NO_DATA)
    conditions: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    def results(self) -> list[Result]:
        """Return every metric; ``tokens`` in the conditions names the tokens that are counted."""
        how = {
            **self.conditions, "window": str(self.window), "stride": str(self.stride),
            "policy": "never",
        }  # fmt: skip
        found = [
            self._result(metric, score, {**how, "tokens": tokens})
            for metric, by_tokens in self.scores.items()
            for tokens, score in by_tokens.items()
        ]
        exact = Score(float(self.skipped), math.nan, math.nan, 1, "texts")
        found.append(self._result("texts_skipped", exact, {**how, "why": "no tokens"}))
        for policy, measured in self.calls.items():
            for metric, score in with_call_scores(
                measured, self.call_bytes[policy], seed=self.seed
            ).items():
                beginnings = {**self.conditions, "policy": policy, "tokens": "beginnings"}
                found.append(self._result(metric, score, beginnings))
        return found

    def _result(self, metric: str, score: Score, conditions: dict[str, str]) -> Result:
        return Result(
            metric, score.value, score.low, score.high, score.n, score.unit, self.seed, conditions
        )


def measure_language(
    loaded: Any,
    documents: Sequence[Document],
    *,
    window: int = WINDOW,
    stride: int | None = None,
    seed: int = 0,
    conditions: dict[str, str] | None = None,
) -> LanguageMeasured:
    """Measure the losses of a model on texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: the texts; where marks are known, losses on facts are measured apart.
        window: number of tokens that are read together, at most the model's context.
        stride: number of tokens that each further window scores; by default half the window.
        seed: seed of the bootstrap.
        conditions: conditions of the results, such as the model's name.

    Raises:
        LacyError: E12, window or stride is out of range.
    """
    window = min(int(require_at_least("window", window, 2)), context_of(loaded.model))
    stride = max(1, window // 2) if stride is None else min(stride, window)
    require_at_least("stride", stride, 1)
    texts = [text for text in read_losses(loaded, documents, window, stride) if len(text.loss)]
    known = any(document.marks for document in documents)
    return LanguageMeasured(
        language_scores(texts, facts=known, seed=seed), window, stride,
        len(documents) - len(texts), conditions=dict(conditions or {}), seed=seed,
    )  # fmt: skip


def language_scores(
    texts: Sequence[TextLosses], *, facts: bool = True, seed: int = 0
) -> dict[str, dict[str, Score]]:
    """Return loss, perplexity and bits per byte of all tokens, of facts, and of others.

    Args:
        texts: the losses.
        facts: False for texts without marks, whose facts are unknown.
        seed: seed of the bootstrap over texts.
    """
    parts = {"all": [np.ones(len(text.loss), bool) for text in texts]}
    if facts:
        parts |= {"facts": [t.fact for t in texts], "others": [~t.fact for t in texts]}
    found: dict[str, dict[str, Score]] = {"text_loss": {}, "perplexity": {}, "bits_per_byte": {}}
    for name, masks in parts.items():
        pairs = list(zip(texts, masks, strict=True))
        nats = [float(text.loss[mask].sum()) for text, mask in pairs]
        tokens = [float(mask.sum()) for mask in masks]
        size = [float(text.size[mask].sum()) for text, mask in pairs]
        found["text_loss"][name] = ratio(nats, tokens, unit="nats per token", seed=seed)
        found["perplexity"][name] = perplexity(nats, tokens, seed=seed)
        found["bits_per_byte"][name] = bits_per_byte(nats, size, seed=seed)
    return found


def perplexity(nats: Sequence[float], tokens: Sequence[float], *, seed: int = 0) -> Score:
    """Return the exponential of the loss per token, with an interval over texts."""
    return score_sums(
        np.stack([np.asarray(nats, float), np.asarray(tokens, float)], 1),
        lambda sums: np.exp(sums[:, 0] / sums[:, 1]), unit="perplexity", seed=seed,
    )  # fmt: skip


def bits_per_byte(nats: Sequence[float], size: Sequence[float], *, seed: int = 0) -> Score:
    """Return the loss in bits per byte of text, with an interval over texts."""
    return ratio([x / LN2 for x in nats], size, unit="bits per byte", seed=seed)


def with_call_scores(
    measured: ChoicesResult, sizes: Sequence[int], *, seed: int = 0
) -> dict[str, Score]:
    """Return the losses without calls, with calls, and with the places of calls, of the same texts.

    Args:
        measured: the losses of ``choices_along``.
        sizes: bytes of each text.
        seed: seed of the bootstrap over texts.
    """
    texts, size = measured.texts, [float(n) for n in sizes]
    tokens = [float(text.tokens) for text in texts]
    alone = [text.loss for text in texts]
    calls = [text.loss_with_calls for text in texts]
    places = [text.loss_with_calls + text.places for text in texts]
    return {
        "perplexity": perplexity(alone, tokens, seed=seed),
        "perplexity_with_calls": perplexity(calls, tokens, seed=seed),
        "perplexity_augmented": perplexity(places, tokens, seed=seed),
        "bits_per_byte": bits_per_byte(alone, size, seed=seed),
        "bits_per_byte_with_calls": bits_per_byte(calls, size, seed=seed),
        "bits_per_byte_augmented": bits_per_byte(places, size, seed=seed),
        "calls_per_token": measured.calls,
    }


def measure_with_calls(
    engine: Any,
    documents: Sequence[Document],
    *,
    tokens: int = 256,
    seed: int = 0,
    store: AnswerStore | None = None,
) -> tuple[ChoicesResult, tuple[int, ...]]:
    """Measure losses with calls on the beginnings of texts.

    Args:
        engine: an engine whose model reads what its source says.
        documents: the texts.
        tokens: number of tokens of each text that are read.
        seed: seed of the bootstrap.
        store: keeps the losses of each text, so that a stopped measurement goes on. The facts of
            the source must not have changed since.

    Returns:
        The losses, and the bytes of each beginning.

    Raises:
        ValueError: the engine's model does not read.
    """
    from lacy.cascade import truncate_document
    from lacy.sources import wrapped_sources

    length = min(tokens, engine.context)
    cut = [truncate_document(d, engine.tokenizer, length) for d in documents if d.text.strip()]
    sizes = tuple(len(document.text.encode("utf-8")) for document in cut)
    sources = [source.name for source in wrapped_sources(engine.source)]
    settings = ["with calls", model_fingerprint(engine.model), sources, *engine_settings(engine)]
    found = (AnswerStore() if store is None else store).answers(
        cut,
        lambda document: answer_key(*settings, document.text),
        lambda batch: [asdict(choices_in(engine, document)) for document in batch],
    )
    return summarize_choices([_from_data(data) for data in found], seed=seed), sizes


def _from_data(data: dict[str, Any]) -> TextWithCalls:
    choices = tuple(ChoiceMade(tuple(c["logps"]), c["right"]) for c in data["choices"])
    return TextWithCalls(**{**data, "choices": choices})


@torch.inference_mode()
def read_losses(
    loaded: Any, documents: Sequence[Document], window: int, stride: int
) -> Iterator[TextLosses]:
    """Yield the losses of each text, in order.

    Args:
        loaded: ``.model`` and ``.tokenizer``.
        documents: the texts.
        window: number of tokens that are read together.
        stride: number of tokens that each further window scores.
    """
    from lacy.annotate import encode

    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is not None and call_id >= int(model.config.vocab_size):
        call_id = None
    for document in documents:
        encoded = encode(document, tokenizer)
        ids, flags = encoded.input_ids[:-1], encoded.marks[1:-1]
        losses = [
            _losses(model, call_id, ids[begin:end], ids[done + 1 : end + 1])
            for begin, done, end in windows(len(ids) - 1, window, stride)
        ]
        yield TextLosses(
            document.id,
            np.concatenate(losses) if losses else np.zeros(0),
            np.not_equal(np.asarray(flags, np.uint8) & MarkFlag.FACT, 0),
            token_sizes(document.text, tokenizer),
        )


def windows(targets: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(begin, done, end)`` of each window over a begin token and ``targets`` tokens.

    The window reads the tokens from ``begin`` to ``end - 1`` (the begin token is number 0) and
    scores those from ``done + 1`` to ``end``, so that each is scored once.
    """
    done = 0
    while done < targets:
        end = min(targets, done + (stride if done else window))
        yield max(0, end - window), done, end
        done = end


def token_sizes(text: str, tokenizer: Any) -> NDArray[np.int64]:
    """Return the bytes that each token adds to a text.

    A character that several tokens share counts for the first of them.
    """
    from lacy.annotate import token_spans

    found = next(token_spans(tokenizer, [text]))
    ends = np.maximum.accumulate(np.array([0, *(end for _, end in found.offsets)]))
    # Characters that the tokenizer drops at the end of the text belong to its last token.
    if len(ends) > 1:
        ends[-1] = len(text)
    sizes = [
        len(text[start:end].encode("utf-8", "surrogatepass"))
        for start, end in itertools.pairwise(ends.tolist())
    ]
    return np.asarray(sizes, np.int64)


def _losses(model: Any, call_id: int | None, ids: Sequence[int], targets: Sequence[int]) -> Floats:
    """Return the losses of tokens, the last of which follows the last of ``ids``."""
    input_1T = torch.tensor([ids], device=model.device)
    logits_NV = without_call(model(input_ids=input_1T, use_cache=False).logits[0], call_id)
    logits_NV = logits_NV[-len(targets) :].float()
    target_N1 = torch.tensor(targets, device=model.device)[:, None]
    losses_N = torch.logsumexp(logits_NV, -1) - logits_NV.gather(-1, target_N1)[:, 0]
    found: Floats = losses_N.double().cpu().numpy()
    return found
