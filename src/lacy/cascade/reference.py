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

from lacy.corpus import TokenText, begin_end
from lacy.model import Decoder, context_of, new_decoder
from lacy.sources import continuation

MAX_POSITIONS = 4096
"""Maximum number of tokens of texts that are read together."""

MAX_CACHED = 100_000
"""Maximum number of cached log-likelihoods."""

MAX_KEPT = 2048
"""Maximum number of tokens of texts whose keys and values are kept for the next values (94 MB for
SmolLM2-135M in float32)."""

MAX_CHARACTERS = 600
"""Maximum length of a reference text; longer texts lose their beginning. For a large model,
processing a text costs more than scoring values after it, and the last sentences show which kind of
value is due."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class ValueKey(NamedTuple):
    """A value, its kind, and its subject ("" if unknown)."""

    subject: str
    kind: str
    value: str


class ReferenceText(NamedTuple):
    """A text that ends right before a value, and the text's subject."""

    text: str
    subject: str

    def shortened(self) -> ReferenceText:
        """Return the last sentences, at most ``MAX_CHARACTERS`` characters.

        The subject is dropped if they do not name it. Most do not, so they are the same for all
        subjects and are processed only once.
        """
        if len(self.text) <= MAX_CHARACTERS:
            return self
        text = self.text[-MAX_CHARACTERS:]
        begins = [match.end() for match in _SENTENCE.finditer(text) if match.end() < len(text)]
        text = text[begins[0] :] if begins else text.partition(" ")[2] or text
        return ReferenceText(text, self.subject if self.subject in text else "")

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
        self._logps: dict[tuple[str, str], float] = {}
        self._read: dict[tuple[int, ...], Decoder] = {}
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

    def after(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(value and its end | text, no CALL) for each pair (text, value).

        Every text is read once, several of similar length together, before all its values. Results
        are cached, and so are the keys and values of the last texts.
        """
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._logps))
        found = dict(zip(new, self._compute(new), strict=True))
        known = self._logps
        logps = [found[pair] if pair in found else known[pair] for pair in pairs]
        if len(known) + len(found) > MAX_CACHED:
            known = {}
        self._logps = known | found if found else known
        return logps

    @torch.inference_mode()
    def _compute(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        texts = {text: self._token_text.encode(text) for text in {text for text, _ in pairs}}
        values: list[list[int]] = []
        by_text: dict[tuple[int, ...], list[int]] = {}
        for n, (text, value) in enumerate(pairs):
            before, tokens = self._encoded(texts[text], text, value)
            values.append(tokens)
            by_text.setdefault(tuple(before), []).append(n)
        logps = [0.0] * len(pairs)
        order = sorted(by_text, key=len)
        while order:
            count = max(1, MAX_POSITIONS // len(order[-1]))
            order, batch = order[:-count], order[-count:]
            batch.sort(key=lambda ids: ids not in self._read)
            decoder = self._decoder(batch)
            groups = [[values[n] for n in by_text[ids]] for ids in batch]
            scores = decoder.score(range(len(batch)), groups, whole=True, ends=self.ends)
            for ids, found in zip(batch, scores, strict=True):
                for n, logp in zip(by_text[ids], found, strict=True):
                    logps[n] = logp
        return logps

    def _decoder(self, texts: Sequence[tuple[int, ...]]) -> Decoder:
        """Return a decoder that has read ``texts``; those read before must be the first."""
        new = [ids for ids in texts if ids not in self._read]
        parts = [self._read[ids] for ids in texts[: len(texts) - len(new)]]
        if new:
            reader = new_decoder(self._model, call_id=self._call_id)
            reader.read(new)
            parts.append(reader)
            kept = dict(self._read)
            for row, ids in enumerate(new):
                if len(ids) <= MAX_KEPT:
                    kept[ids] = reader.part([row])
            while sum(map(len, kept)) > MAX_KEPT:
                del kept[next(iter(kept))]  # the oldest
            self._read = kept  # a single update, as another thread may score values
        decoder = new_decoder(self._model, call_id=self._call_id)
        decoder.join(parts)
        return decoder

    def _encoded(self, before: Sequence[int], text: str, value: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a text (those of ``before`` that have room) and of a value."""
        context = context_of(self._model)
        tokens = self._token_text.encode_continuation(continuation(text, value))[: context - 1]
        start = [] if self._begin_id is None else [self._begin_id]
        return [*start, *before][len(tokens) - context :], tokens
