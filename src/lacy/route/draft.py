"""Draft signals: how sure a small model is of an answer that it begins to write.

The model writes a short draft greedily, without any call. What is kept are numbers about it: the
margin of ``<CALL>``, the probabilities of the chosen tokens, the entropy. They say something that
the text alone does not: whether this model knows the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.cascade import read_signal
from lacy.model import end_ids, gate_of, model_fingerprint, new_decoder, without_call
from lacy.route.cases import Floats
from lacy.route.hidden import asked_ids, opened_model
from lacy.route.vectors import stored_precision

if TYPE_CHECKING:
    from lacy.model import Loaded

DRAFT_TOKENS = 24
"""Tokens of a draft at most."""

BATCH = 16
"""Drafts that are written at a time."""

MARGIN = 20.0
"""Bound of margins; that of a model without ``<CALL>`` is minus infinity."""


@dataclass(frozen=True, slots=True)
class DraftSignals:
    """Numbers about a draft; means and extremes are over its tokens.

    Attributes:
        call_share: share of the tokens before which ``<CALL>`` wins (its margin is above 0).
        call_margin: mean margin of ``<CALL>``.
        call_highest: highest margin.
        call_first: margin before the first token.
        p_mean: mean probability of the chosen tokens, without ``<CALL>``.
        p_least: lowest probability.
        p_first: probability of the first token.
        logp: mean log-probability.
        entropy: mean entropy, nats.
        entropy_highest: highest entropy.
        lead: mean difference between the two highest logits.
        length: tokens, as a share of the most.
    """

    call_share: float
    call_margin: float
    call_highest: float
    call_first: float
    p_mean: float
    p_least: float
    p_first: float
    logp: float
    entropy: float
    entropy_highest: float
    lead: float
    length: float


@torch.inference_mode()
def draft_signals(
    loaded: Loaded, texts: Sequence[str], *, tokens: int = DRAFT_TOKENS, batch: int = BATCH
) -> list[DraftSignals]:
    """Write a draft for each text, and return the numbers about it.

    Args:
        loaded: the model.
        texts: what users wrote.
        tokens: tokens of a draft at most.
        batch: drafts written at a time; texts of similar length go together.
    """
    prompts = [asked_ids(loaded, text, "\n")[0] for text in texts]
    found: list[DraftSignals | None] = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        drafts = _write(loaded, [prompts[place] for place in places], tokens)
        for place, steps in zip(places, drafts, strict=True):
            found[place] = _signals(np.array(steps), tokens)
    return [one for one in found if one is not None]


def _write(loaded: Loaded, prompts: list[list[int]], tokens: int) -> list[list[list[float]]]:
    """Return margin, log-probability, entropy and lead before each token of each draft."""
    model, call_id, gate = loaded.model, loaded.call_id, gate_of(loaded.model)
    ends = set(end_ids(loaded.tokenizer, model))
    decoder = new_decoder(model, call_id=call_id)
    logits_BV = decoder.read(prompts)
    alive = list(range(len(prompts)))
    steps: list[list[list[float]]] = [[] for _ in prompts]
    for number in range(tokens):
        margin_B = read_signal(logits_BV, call_id if loaded.calls else None, "margin", gate)
        own_BV = without_call(logits_BV, call_id)
        logp_B, token_B = torch.log_softmax(own_BV, -1).max(-1)
        entropy_B = read_signal(logits_BV, call_id, "entropy")
        lead_B = read_signal(logits_BV, call_id, "top2")
        for row, draft in enumerate(alive):
            margin = float(np.clip(margin_B[row], -MARGIN, MARGIN))
            steps[draft].append([margin, float(logp_B[row]), float(entropy_B[row]),
                                 float(lead_B[row])])  # fmt: skip
        kept = [row for row, token in enumerate(token_B.tolist()) if token not in ends]
        if not kept or number + 1 == tokens or decoder.length + 1 > decoder.context:
            break
        decoder.keep(kept)
        alive = [alive[row] for row in kept]
        logits_BV = decoder.step([int(token_B[row]) for row in kept])
    return steps


def _signals(steps_T4: Floats, tokens: int) -> DraftSignals:
    margin_T, logp_T, entropy_T, lead_T = steps_T4.T
    p_T = np.exp(logp_T)
    values = (
        (margin_T > 0).mean(), margin_T.mean(), margin_T.max(), margin_T[0], p_T.mean(), p_T.min(),
        p_T[0], logp_T.mean(), entropy_T.mean(), entropy_T.max(), lead_T.mean(),
        len(steps_T4) / tokens,
    )  # fmt: skip
    return DraftSignals(*(float(value) for value in values))


class DraftStore:
    """Signals on disk, one line of JSON per text, so that a stopped run goes on.

    A text is named by a hash, and a model by its fingerprint; no text is written.

    Args:
        path: the file; None keeps signals in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[tuple[str, str], list[float]] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    one = json.loads(line)
                    self._known[one["model"], one["text"]] = [float(n) for n in one["signals"]]
                except (ValueError, KeyError, TypeError):
                    continue  # half a line of a killed run

    def get(self, model: str, text: str) -> list[float] | None:
        """Return the signals of a text, if they are known."""
        return self._known.get((model, text))

    def add(self, model: str, text: str, signals: DraftSignals) -> None:
        """Keep the signals of a text."""
        values = [round(value, 5) for value in astuple(signals)]
        self._known[model, text] = values
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"model": model, "text": text, "signals": values})
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")


class DraftFeatures:
    """Draft signals as inputs.

    Args:
        model: name or folder of the model that writes drafts.
        store: keeps the signals of training texts.
        key: names a text in the store.
    """

    name = "draft"

    def __init__(
        self, model: str, store: DraftStore | None = None, key: Callable[[str], str] = str
    ) -> None:
        self.model, self._store, self._key = model, store or DraftStore(), key

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs of the training texts, and store them on the way."""
        loaded = opened_model(self.model)
        mark = model_fingerprint(loaded.model)
        missing = [text for text in texts if self._store.get(mark, self._key(text)) is None]
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            for text, one in zip(part, draft_signals(loaded, part), strict=True):
                self._store.add(mark, self._key(text), one)
        return stored_precision(
            np.array([self._store.get(mark, self._key(text)) for text in texts], np.float64)
        )

    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, 12]``."""
        signals = draft_signals(opened_model(self.model), texts)
        values = [[round(value, 5) for value in astuple(one)] for one in signals]
        return stored_precision(np.array(values, np.float64).reshape(-1, len(fields(DraftSignals))))

    def names(self) -> list[str]:
        """Return the name of each column."""
        return [one.name.replace("_", " ") for one in fields(DraftSignals)]

    def data(self) -> dict[str, Any]:
        """Return the model's name."""
        return {"model": self.model}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}
