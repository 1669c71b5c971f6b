"""Reference log-likelihoods: how likely a value is in texts where a value of its kind is due.

A rare name is unlikely everywhere, so its likelihood at one place says little. Compared with its
likelihood in a few *reference texts*, cut where a value of its kind stood, it shows whether that
kind is due here, however rare the value. The reference texts are rewritten to be about the same
subject: values that the model has memorized for a subject are likely anywhere, and that must not
count for one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lacy.corpus import TokenText, begin_end
from lacy.model import Decoder, context_of
from lacy.sources import continuation

MAX_POSITIONS = 4096
"""Most tokens of texts that are read together."""

MAX_CACHED = 100_000
"""Most log-likelihoods kept."""


class ValueKey(NamedTuple):
    """A value of a kind, about a subject ("" if unknown)."""

    subject: str
    kind: str
    value: str


class ReferenceText(NamedTuple):
    """A text that stops where a value of some kind is due, and its subject."""

    text: str
    subject: str

    def about(self, subject: str) -> str:
        """Return the text with another subject, if both subjects are known.

        If both names have as many parts, each part is replaced too ("Ada" later in the text).
        """
        if not (self.subject and subject):
            return self.text
        text = self.text.replace(self.subject, subject)
        old, new = self.subject.split(), subject.split()
        for before, after in zip(old, new, strict=True) if len(old) == len(new) else ():
            text = re.sub(rf"\b{re.escape(before)}\b", after.replace("\\", r"\\"), text)
        return text


class ReferenceLikelihoods:
    """Mean log-likelihoods (nats) of values after reference texts of their kind.

    Args:
        model: the SLM.
        tokenizer: its tokenizer.
        references: reference texts by kind.
        call_id: the id of ``<CALL>``; None for a model without it.
        ends: tokens that may follow a whole value; if empty, all except ``<CALL>``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        references: Mapping[str, Sequence[ReferenceText]],
        call_id: int | None,
        ends: Sequence[int] = (),
    ) -> None:
        self._model = model
        self._begin_id = begin_end(tokenizer)[0]
        self._references = {kind: list(texts) for kind, texts in references.items() if texts}
        self._call_id = call_id
        self._token_text = TokenText(tokenizer)
        self._known: dict[ValueKey, float] = {}
        self.ends = list(ends) or None

    def look_up(self, wanted: Iterable[ValueKey]) -> dict[ValueKey, float]:
        """Return the mean log-likelihood of each key whose kind has reference texts.

        New keys are computed together.
        """
        keys = dict.fromkeys(key for key in wanted if key.kind in self._references)
        new = [key for key in keys if key not in self._known]
        if len(self._known) + len(new) > MAX_CACHED:
            self._known.clear()
            return self.look_up(keys) if len(keys) <= MAX_CACHED else {}
        pairs, owners = [], []
        for key in new:
            for reference in self._references[key.kind]:
                pairs.append((reference.about(key.subject), key.value))
                owners.append(key)
        known = {key: self._known[key] for key in keys if key in self._known}
        found = dict.fromkeys(new, 0.0)
        for key, logp in zip(owners, self.after(pairs), strict=True):
            found[key] += logp / len(self._references[key.kind])
        self._known |= found  # one update: another thread may look up the same keys meanwhile
        return {key: found[key] if key in found else known[key] for key in keys}

    @torch.inference_mode()
    def after(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(value, and its end | text, no CALL) of each (text, value).

        Every text is read once, several of similar length together, before all its values.
        """
        texts = {text: self._token_text.encode(text) for text in {text for text, _ in pairs}}
        values: list[list[int]] = []
        by_text: dict[tuple[int, ...], list[int]] = {}
        for n, (text, value) in enumerate(pairs):
            before, tokens = self._encoded(texts[text], text, value)
            values.append(tokens)
            by_text.setdefault(tuple(before), []).append(n)
        found = [0.0] * len(pairs)
        order = sorted(by_text, key=len)
        while order:
            count = max(1, MAX_POSITIONS // len(order[-1]))
            order, batch = order[:-count], order[-count:]
            decoder = Decoder(self._model, call_id=self._call_id)
            decoder.read(batch)
            groups = [[values[n] for n in by_text[ids]] for ids in batch]
            scores = decoder.score(range(len(batch)), groups, whole=True, ends=self.ends)
            for ids, logps in zip(batch, scores, strict=True):
                for n, logp in zip(by_text[ids], logps, strict=True):
                    found[n] = logp
        return found

    def _encoded(self, before: Sequence[int], text: str, value: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a text (those of ``before`` that have room) and of a value."""
        context = context_of(self._model)
        tokens = self._token_text.encode_continuation(continuation(text, value))[: context - 1]
        start = [] if self._begin_id is None else [self._begin_id]
        return [*start, *before][len(tokens) - context :], tokens
