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
from torch.nn.utils.rnn import pad_sequence

from lacy.corpus import TokenText, begin_end
from lacy.model import Decoder, context_of
from lacy.sources import continuation

MAX_LOGITS = 1 << 23
"""Most logits of one forward pass."""

MAX_CACHED = 100_000
"""Most log-likelihoods kept."""

MIN_SHARED = 4
"""From this many values after one text, the text is read only once. Fewer are faster in a batch
with other texts."""


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
        """Return log p(value, and its end | text, no CALL) of each (text, value)."""
        texts = {text: self._token_text.encode(text) for text in {text for text, _ in pairs}}
        jobs = [self._encoded(texts[text], text, value) for text, value in pairs]
        found = [0.0] * len(jobs)
        by_text: dict[tuple[int, ...], list[int]] = {}
        for n, (ids, count) in enumerate(jobs):
            by_text.setdefault(tuple(ids[:-count]), []).append(n)
        order = []
        for before, places in by_text.items():
            if len(places) < MIN_SHARED or not before:
                order += places
                continue
            scores = self._shared(before, [jobs[n] for n in places])
            for n, logp in zip(places, scores, strict=True):
                found[n] = logp
        order.sort(key=lambda n: len(jobs[n][0]))
        size = int(self._model.config.vocab_size)
        while order:
            width = len(jobs[order[-1]][0])
            count = max(1, MAX_LOGITS // (width * size))
            order, batch = order[:-count], order[-count:]
            for n, logp in zip(batch, self._forward([jobs[n] for n in batch]), strict=True):
                found[n] = logp
        return found

    def _encoded(self, before: Sequence[int], text: str, value: str) -> tuple[list[int], int]:
        """Return the tokens of a text (``before``) and a value, and how many are the value's."""
        tokens = self._token_text.encode_continuation(continuation(text, value))
        start = [] if self._begin_id is None else [self._begin_id]
        ids = [*start, *before, *tokens]
        return ids[-context_of(self._model) :], len(tokens)

    def _shared(self, before: Sequence[int], jobs: Sequence[tuple[list[int], int]]) -> list[float]:
        """Like ``_forward``, for values that all follow the same text."""
        decoder = Decoder(self._model, call_id=self._call_id)
        decoder.feed([before])
        values = [ids[-count:] for ids, count in jobs]
        return decoder.score([0], [values], whole=True, ends=self.ends)[0]

    def _forward(self, jobs: Sequence[tuple[list[int], int]]) -> list[float]:
        device = self._model.device
        rows = [torch.tensor(ids, device=device) for ids, _ in jobs]
        input_BT = pad_sequence(rows, batch_first=True)  # causal attention ignores right padding
        logits_BTV = self._model(input_ids=input_BT, use_cache=False).logits.float()
        found = []
        for (ids, count), logits_TV in zip(jobs, logits_BTV, strict=True):
            last = len(ids) - 1
            own_TV = logits_TV[last - count : last].clone()
            if self._call_id is not None:
                own_TV[:, self._call_id] = -torch.inf
            targets = torch.tensor(ids[last - count + 1 :], device=device)
            logp = torch.log_softmax(own_TV, -1).gather(-1, targets[:, None]).sum()
            found.append(float(logp + self._end_logp(logits_TV[last])))
        return found

    def _end_logp(self, logits_V: torch.Tensor) -> torch.Tensor:
        """Return log p(the value ends here), that is, that one of ``ends`` follows."""
        if self.ends is not None:
            allowed_N = logits_V[self.ends]
        elif self._call_id is not None:
            allowed_N = torch.cat((logits_V[: self._call_id], logits_V[self._call_id + 1 :]))
        else:
            allowed_N = logits_V
        return torch.logsumexp(allowed_N, -1) - torch.logsumexp(logits_V, -1)
