"""Reference log-likelihoods: how likely a value is in texts where a value of its kind is due.

A rare name is unlikely everywhere, so its likelihood at one position says little. Compared with its
likelihood after a few *reference texts*, which end right before a value of its kind, it shows
whether that kind is due here, however rare the value is. The reference texts are rewritten to be
about the same subject, because a value that the model has memorized for a subject is likely at any
position, which must not count.
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
"""Maximum number of logits in one forward pass."""

MAX_CACHED = 100_000
"""Maximum number of cached log-likelihoods."""

MIN_SHARED = 4
"""If at least this many values follow the same text, the text is read only once. With fewer values,
a batch with other texts is faster."""


class ValueKey(NamedTuple):
    """A value, its kind, and its subject ("" if unknown)."""

    subject: str
    kind: str
    value: str


class ReferenceText(NamedTuple):
    """A text that ends right before a value, and the text's subject."""

    text: str
    subject: str

    def about(self, subject: str) -> str:
        """Return the text with its subject replaced, if both subjects are known.

        If both names have the same number of parts, parts of the name ("Ada") are replaced too.
        """
        if not (self.subject and subject):
            return self.text
        text = self.text.replace(self.subject, subject)
        old, new = self.subject.split(), subject.split()
        for before, after in zip(old, new, strict=True) if len(old) == len(new) else ():
            text = re.sub(rf"\b{re.escape(before)}\b", after.replace("\\", r"\\"), text)
        return text


class ReferenceLikelihoods:
    """Computes and caches mean log-likelihoods of values after reference texts, in nats.

    Args:
        model: the SLM.
        tokenizer: the SLM's tokenizer.
        references: reference texts by kind.
        call_id: the id of ``<CALL>``; None for a model without it.
        ends: tokens that count as the end of a value; if empty, all except ``<CALL>``.
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

    def look_up(self, keys: Iterable[ValueKey]) -> dict[ValueKey, float]:
        """Return the mean log-likelihood of each key whose kind has reference texts.

        New keys are computed together.
        """
        known_keys = dict.fromkeys(key for key in keys if key.kind in self._references)
        new = [key for key in known_keys if key not in self._known]
        if len(self._known) + len(new) > MAX_CACHED:
            self._known.clear()
            return self.look_up(known_keys) if len(known_keys) <= MAX_CACHED else {}
        pairs, owners = [], []
        for key in new:
            for reference in self._references[key.kind]:
                pairs.append((reference.about(key.subject), key.value))
                owners.append(key)
        cached = {key: self._known[key] for key in known_keys if key in self._known}
        logps = dict.fromkeys(new, 0.0)
        for key, logp in zip(owners, self.after(pairs), strict=True):
            logps[key] += logp / len(self._references[key.kind])
        self._known |= logps  # a single update, as another thread may look up the same keys
        return {key: logps[key] if key in logps else cached[key] for key in known_keys}

    @torch.inference_mode()
    def after(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(value and its end | text, no CALL) for each pair (text, value)."""
        texts = {text: self._token_text.encode(text) for text in {text for text, _ in pairs}}
        jobs = [self._encoded(texts[text], text, value) for text, value in pairs]
        logps = [0.0] * len(jobs)
        by_text: dict[tuple[int, ...], list[int]] = {}
        for n, (ids, count) in enumerate(jobs):
            by_text.setdefault(tuple(ids[:-count]), []).append(n)
        order = []
        for before, indices in by_text.items():
            if len(indices) < MIN_SHARED or not before:
                order += indices
                continue
            scores = self._shared(before, [jobs[n] for n in indices])
            for n, logp in zip(indices, scores, strict=True):
                logps[n] = logp
        order.sort(key=lambda n: len(jobs[n][0]))
        vocab_size = int(self._model.config.vocab_size)
        while order:
            width = len(jobs[order[-1]][0])
            count = max(1, MAX_LOGITS // (width * vocab_size))
            order, batch = order[:-count], order[-count:]
            for n, logp in zip(batch, self._forward([jobs[n] for n in batch]), strict=True):
                logps[n] = logp
        return logps

    def _encoded(self, before: Sequence[int], text: str, value: str) -> tuple[list[int], int]:
        """Return the tokens of a text (``before``) with a value, and the number of the value's."""
        tokens = self._token_text.encode_continuation(continuation(text, value))
        start = [] if self._begin_id is None else [self._begin_id]
        ids = [*start, *before, *tokens]
        return ids[-context_of(self._model) :], len(tokens)

    def _shared(self, before: Sequence[int], jobs: Sequence[tuple[list[int], int]]) -> list[float]:
        """Do as ``_forward``, for values that all follow the same text."""
        decoder = Decoder(self._model, call_id=self._call_id)
        decoder.feed([before])
        values = [ids[-count:] for ids, count in jobs]
        return decoder.score([0], [values], whole=True, ends=self.ends)[0]

    def _forward(self, jobs: Sequence[tuple[list[int], int]]) -> list[float]:
        """Return the log-likelihoods of values that follow different texts, by one forward pass."""
        device = self._model.device
        rows = [torch.tensor(ids, device=device) for ids, _ in jobs]
        input_BT = pad_sequence(rows, batch_first=True)  # causal attention ignores right padding
        logits_BTV = self._model(input_ids=input_BT, use_cache=False).logits.float()
        logps = []
        for (ids, count), logits_TV in zip(jobs, logits_BTV, strict=True):
            last = len(ids) - 1
            own_TV = logits_TV[last - count : last].clone()
            if self._call_id is not None:
                own_TV[:, self._call_id] = -torch.inf
            targets = torch.tensor(ids[last - count + 1 :], device=device)
            logp = torch.log_softmax(own_TV, -1).gather(-1, targets[:, None]).sum()
            logps.append(float(logp + self._end_logp(logits_TV[last])))
        return logps

    def _end_logp(self, logits_V: torch.Tensor) -> torch.Tensor:
        """Return log p(the value ends here), that is, log p(one of ``ends`` follows)."""
        if self.ends is not None:
            allowed_N = logits_V[self.ends]
        elif self._call_id is not None:
            allowed_N = torch.cat((logits_V[: self._call_id], logits_V[self._call_id + 1 :]))
        else:
            allowed_N = logits_V
        return torch.logsumexp(allowed_N, -1) - torch.logsumexp(logits_V, -1)
