"""Options as products of a text encoder's vectors: the fastest features.

    feature(option) = [v(state) * v(option), |v(state) - v(option)|]

with vectors of length 1 (InferSent: Conneau et al., arXiv 1705.02364 §3.1). Vectors of options are
kept, so a known question costs one pass of the encoder over the state.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from lacy.decide.decision import Floats
from lacy.decide.features import Recent
from lacy.decide.questions import NO, DecisionQuestion, Option
from lacy.encoder import EncoderBody, PieceReader, body_of, encoder_folder, mean_states

KEPT = 4096
"""Vectors of options that are kept."""

BATCH = 32
"""Texts encoded at a time."""

UNEVEN = 2
"""The longest text of a batch is at most so many times as long as the shortest."""


class VectorFeatures:
    """Features from a frozen sentence encoder.

    A text that is longer than the encoder's positions is read in windows, whose vectors are
    averaged. The option *no* of a question without a description of it has features of 0.

    Args:
        body: the encoder.
        reader: splits texts for it.
    """

    def __init__(self, body: EncoderBody, reader: PieceReader) -> None:
        self._body, self._reader = body, reader
        self._window = body.shape.positions - 2
        self._known = Recent[str, Floats](KEPT)
        self._lock = threading.Lock()

    @classmethod
    def open(cls, name: str) -> VectorFeatures:
        """Open an encoder by its folder or its package's name.

        Raises:
            LacyError: E345, there is none.
        """
        folder = encoder_folder(name)
        return cls(body_of(folder), PieceReader.open(folder))

    def features(self, state: str, questions: Sequence[DecisionQuestion]) -> list[Floats]:
        """Return the features of each question's options ``[K, 2 D]``, in their given order."""
        with self._lock:
            texts = [[option_text(q, one) for one in q.options] for q in questions]
            known = {text: self._known.get(text) for group in texts for text in group if text}
            # In an order of their own, so that not even rounding depends on the given one.
            new = sorted(text for text, vector_D in known.items() if vector_D is None)
            state_D, *found = self._vectors([state, *new])
            for text, vector_D in zip(new, found, strict=True):
                known[text] = self._known.put(text, vector_D)
            return [np.stack([_compared(state_D, known.get(text)) for text in group])
                    for group in texts]  # fmt: skip

    def tokens(self, state: str, questions: Sequence[DecisionQuestion]) -> int:
        """Return the number of tokens of a state and questions with all options."""
        texts = [state, *(option_text(q, one) for q in questions for one in q.options)]
        with self._lock:
            return sum(map(len, self._pieces(texts)))

    def identity(self) -> dict[str, Any]:
        """Return kind and fingerprint of the encoder."""
        words = self._body.words.weight
        found = hashlib.sha256(words[:: max(1, len(words) // 64)].float().numpy().tobytes())
        for name, parameter in self._body.named_parameters():
            if name.startswith("layers."):
                found.update(parameter.detach().float().flatten()[:64].numpy().tobytes())
        return {"kind": "vectors", "fingerprint": found.hexdigest()[:32]}

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        longest = max(map(len, texts))
        return self._reader.pieces(texts, longest + 1)

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[str]) -> list[Floats]:
        """Return the vector of each text ``[D]``, of length 1."""
        windows, owners = [], []
        for number, ids in enumerate(self._pieces(texts)):
            for start in range(0, max(1, len(ids)), self._window):
                part = ids[start : start + self._window]
                windows.append(torch.tensor([self._reader.cls, *part, self._reader.sep]))
                owners.append(number)
        sums_ND = np.zeros((len(texts), self._body.shape.width))
        for places in _batches([len(window) for window in windows]):
            ids_BT = pad_sequence([windows[place] for place in places], batch_first=True)
            mean_BD = mean_states(self._body.states(ids_BT), ids_BT)
            for place, vector_D in zip(places, mean_BD.double().numpy(), strict=True):
                sums_ND[owners[place]] += vector_D / np.linalg.norm(vector_D).clip(1e-9)
        return [one / np.linalg.norm(one).clip(1e-9) for one in sums_ND]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return the places of windows in batches of similar lengths, so that little is padded."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        last = batches[-1] if batches else []
        if not last or len(last) == BATCH or lengths[place] > UNEVEN * lengths[last[0]]:
            batches.append([])
        batches[-1].append(place)
    return batches


def option_text(question: DecisionQuestion, option: Option) -> str:
    """Return the text of an option for an encoder; "" for a *no* without a description.

    A *yes* is the statement itself: the question, with the description of *yes*.
    """
    if question.type != "noul":
        return question.text_of(option)
    if option.name == NO:
        return option.description
    return f"{question.instructions} {option.description}".strip()


def _compared(state_D: Floats, option_D: Floats | None) -> Floats:
    """Return the features of one option ``[2 D]``."""
    if option_D is None:
        return np.zeros(2 * len(state_D))
    scale = len(state_D) ** 0.5
    return np.concatenate([state_D * option_D * scale, np.abs(state_D - option_D)])
