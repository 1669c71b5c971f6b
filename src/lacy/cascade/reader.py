"""Put a source's sentences before the text when the SLM ranks the source's values.

A pretrained model may not know a fact, but it can find it in a text. So the sentences that state
the candidates (a passage of a document, or "Marie Curie's place of birth is Warsaw." for a row of a
database) are put before a hidden copy of the text. There, the likelihood of a candidate depends on
what the source says about it, and not only on its kind.

If a source names its relations in words, a second score is added: how much likelier is the
relation's name after "The sentence "Marie Curie was born in ..." gives Marie Curie's" than without
the sentence? This tells apart relations with the same kind of values, such as the places of birth
and of death.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lacy.cascade.hidden_copies import GrowingText, HiddenCopies
from lacy.cascade.token_beginnings import tokens_beginning_with
from lacy.corpus import TokenText
from lacy.errors import one_line
from lacy.model import context_of, from_scratch, new_decoder, without_call
from lacy.sources import fact_sentence, relation_words
from lacy.types import Candidate

DEFAULT_READ = 320
"""Default for the maximum number of tokens of a source's sentences that the SLM reads per call."""

_QUESTION = 'The sentence "{} ..." gives {}'
_NO_SENTENCE = "The sentence gives the person's"
_TAIL = 200
_SENTENCE_END = re.compile(r"(?<=\w\w[.!?])\s+(?=[A-Z])|\n")

BLOCK = 128
"""Number of tokens by which the beginning of a long text is cut at a time. The rest then stays the
same for many calls, so its keys and values can be reused."""

BLOCKS = 2
"""Number of whole blocks of the text that are always read."""


def can_read(loaded: Any) -> bool:
    """Return whether a model ranks after reading: not if lacy trained it from scratch.

    A small model trained on few texts has learned kinds of values, but cannot find a fact in a
    text.

    Args:
        loaded: the model, as from ``load_model``. its ``meta`` says whether lacy trained it
            from new weights.
    """
    meta = getattr(loaded, "meta", None) or {}
    return not from_scratch(meta)


def sentences_of(candidates: Sequence[Candidate], token_text: TokenText, most: int) -> str:
    """Return the sentences that state the candidates, the best ones last (nearest to the text).

    Args:
        candidates: the candidates of a reply, best first.
        token_text: counts tokens.
        most: maximum number of tokens; further sentences are left out.
    """
    kept: list[str] = []
    facts = {c.evidence or c.text: c for c in reversed(candidates)}
    stated = (
        one_line(c.context) or fact_sentence(c.subject, c.kind, c.text) for c in candidates
        if facts[c.evidence or c.text] is c or c.context
    )  # fmt: skip
    for sentence in dict.fromkeys(filter(None, stated)):
        most -= len(token_text.encode(sentence)) + 1
        if most < 0 and kept:
            break
        kept.append(sentence)
    return "\n".join(reversed(kept))


def _tail(text: str) -> str:
    """Return the unfinished last sentence of a text, at most ``_TAIL`` characters of it."""
    sentence = _SENTENCE_END.split(text[-_TAIL:])[-1]
    return " ".join(sentence.split())


class Reader:
    """Computes log-likelihoods of candidates after a source's sentences and a text.

    Args:
        model: the SLM, in this process.
        token_text: the text of its tokens.
        call_id: the id of ``<CALL>``; None for a model without it.
        begin_id: the id of the token that begins a text; None if there is none.
    """

    def __init__(
        self, model: Any, token_text: TokenText, call_id: int | None, begin_id: int | None
    ) -> None:
        self._model, self._call_id = model, call_id
        self._begin = [] if begin_id is None else [begin_id]
        self._token_text, self._context = token_text, context_of(model)
        self._copies = HiddenCopies(model, call_id)
        self._ends: list[int] | None = None
        self._prior: dict[tuple[str, ...], list[float]] = {}

    def score(
        self, sequence: GrowingText, sentences: str, candidates: Sequence[tuple[int, ...]]
    ) -> list[float]:
        """Return log p(candidate and its end | sentences, text) of each candidate, in nats.

        A value has ended where no letter or digit follows directly.

        Args:
            sequence: the text so far.
            sentences: what the source says (``sentences_of``).
            candidates: the tokens of each.
        """
        unique = list(dict.fromkeys(candidates))
        ids = self._ids(sequence, sentences, max(map(len, unique)))
        decoder = self._copies.read(sequence, ids)
        (logps,) = decoder.score([0], [unique], whole=True, ends=self._endings())
        by_tokens = dict(zip(unique, logps, strict=True))
        return [by_tokens[tokens] for tokens in candidates]

    def next_logits(self, sequences: Sequence[GrowingText]) -> Tensor:
        """Return the logits of each text's next token after reading, without ``<CALL>``.

        Args:
            sequences: the texts, with the sentences that are to be read (``sequence.sentences``).
        """
        ids = [self._ids(sequence, sequence.sentences, 1) for sequence in sequences]
        return without_call(self._copies.read_together(sequences, ids), self._call_id)

    def relation_gains(self, sequence: GrowingText, candidates: Sequence[Candidate]) -> list[float]:
        """Return log p(relation | last sentence) - log p(relation) of each candidate, in nats.

        Candidates whose relations have no name in words get the mean gain of the others. If fewer
        than two relations have one, all gains are 0.
        """
        names = ["" if c.kind.isupper() else relation_words(c.kind) for c in candidates]
        known = list(dict.fromkeys(filter(None, names)))
        if len(known) < 2:
            return [0.0] * len(candidates)
        encode = self._token_text.encode_continuation
        unique = [tuple(encode(" " + name)) for name in known]
        subject = next((c.subject for c in candidates if c.subject), "")
        whose = f"{subject}'s" if subject else "its"
        after = self._likelihoods(_QUESTION.format(_tail(sequence.text), whose), unique)
        key = tuple(known)
        if key not in self._prior:
            self._prior = {key: self._likelihoods(_NO_SENTENCE, unique)}
        gains = {n: a - b for n, a, b in zip(known, after, self._prior[key], strict=True)}
        mean = sum(gains.values()) / len(gains)
        return [gains.get(name, mean) for name in names]

    def _likelihoods(self, text: str, continuations: Sequence[Sequence[int]]) -> list[float]:
        """Return log p(continuation and its end | text) of each continuation."""
        decoder = new_decoder(self._model, call_id=self._call_id)
        decoder.feed([[*self._begin, *self._token_text.encode(text)]])
        return decoder.score([0], [continuations], whole=True, ends=self._endings())[0]

    def _endings(self) -> list[int]:
        """Return the tokens that do not continue a word or number."""
        if self._ends is None:
            size = int(self._model.config.vocab_size)
            letters = set(tokens_beginning_with(self._token_text, size, "letters").tolist())
            self._ends = [token for token in range(size) if token not in letters]
        return self._ends

    def _ids(self, sequence: GrowingText, sentences: str, room: int) -> list[int]:
        """Return the tokens of the sentences and the end of the text, with room for more."""
        text_ids = sequence.ids[sequence.implied :]
        left_out = max(0, len(text_ids) // BLOCK - BLOCKS) * BLOCK
        before = self._token_text.encode(sentences + "\n\n")
        free = max(0, self._context - room - 1 - len(text_ids) + left_out)
        before = before[max(0, len(before) - free) :]
        return [*self._begin, *before, *text_ids[left_out:]]
