"""Answers of a model with its source to the requests of lm-eval.

Generation is that of the engine. The log-likelihood of a continuation with calls is that of
``evaluate.choices``: where the policy calls, the choice among the source's values gives each value
a probability. If the continuation goes on with one of them, this probability takes the place of
that of its tokens; if not, the probability that no value is right is a factor. In a chat, only
generation asks the source before the first word, because it then writes a whole statement.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from tqdm import tqdm

from lacy.cascade import Engine, question_in, read_continuations
from lacy.errors import LacyError
from lacy.evaluate import with_calls
from lacy.types import Answer, Span

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from lacy.cascade import DecodeStep, Question

KNOWN_SETTINGS = ("do_sample", "temperature", "top_p", "until", "max_gen_toks")
"""Settings of generation that a cascade supports."""

_LABELS = re.compile(r"\A\s*(?:question|q):\s*|\s*\b(?:answer|a):\s*\Z", re.IGNORECASE)
"""What tasks write around a question in a prompt; in a chat, the question stands without it."""

DEFAULT_BATCH = 8
"""Number of requests that are computed together for ``batch_size=auto``."""


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What was called for one generated answer."""

    tokens: int
    calls: int
    answered: int
    """Number of calls whose answer is in the text."""
    borrowed: int
    """Number of tokens from sources."""
    cost: float
    """US dollars."""

    @classmethod
    def of(cls, answer: Answer) -> CallCounts:
        """Count the calls of an answer."""
        borrowed = [s for s in answer.spans if s.speaker not in ("prompt", "slm")]
        return cls(
            answer.tokens, answer.calls, len(borrowed), sum(span.tokens for span in borrowed),
            sum(span.cost for span in answer.spans),
        )  # fmt: skip

    def as_list(self) -> list[float]:
        """Return the counts as plain data."""
        return list(astuple(self))


class EngineAnswers:
    """Answers requests with an engine.

    Args:
        lm: the ``LacyLM``, which tokenizes as ``hf`` does and stores answers.
        engine: the same model with its source.
    """

    def __init__(self, lm: Any, engine: Engine) -> None:
        self._lm, self._engine = lm, engine
        given = str(lm.batch_size)
        self._batch = int(given) if given.isdigit() else DEFAULT_BATCH

    def generate(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return a continuation of each context."""
        texts: dict[int, str] = {}
        before = self._lm.occurrences("generate_until", requests)
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Generating with calls") as bar:
            for batch in self._batches(requests):
                found = self._generate([requests[n] for n in batch], [before[n] for n in batch])
                texts.update(zip(batch, found, strict=True))
                bar.update(len(batch))
        return [texts[n] for n in range(len(requests))]

    def likelihoods(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
    ) -> list[tuple[float, bool]]:
        """Return log-likelihoods with calls, and whether the cascade would write the continuation.

        Args:
            requests: context and continuation as texts (None for a window of a long text), and as
                tokens.
            disable_tqdm: show no progress bar.
        """
        found: list[tuple[float, bool]] = []
        size = self._batch
        bar = tqdm(total=len(requests), disable=disable_tqdm, desc="Log-likelihoods with calls")
        with bar:
            for start in range(0, len(requests), size):
                batch = requests[start : start + size]
                texts = [self._context(pair, ids, follow) for pair, ids, follow in batch]
                follows = [follow for _, _, follow in batch]
                read = read_continuations(self._engine, texts, follows)
                for (pair, _, _), (text, steps) in zip(batch, read, strict=True):
                    answer = -with_calls(text, steps).loss_with_calls, _would_write(text, steps)
                    if pair is not None:
                        self._lm.answered("loglikelihood", pair, answer)
                    found.append(answer)
                bar.update(len(batch))
        return found

    def _generate(self, requests: Sequence[Instance], before: Sequence[int]) -> Iterator[str]:
        """Yield the text of each request of a batch with equal settings.

        Args:
            requests: the requests.
            before: how many equal requests were answered before each of them; with sampling, they
                have different answers.
        """
        lm = self._lm
        given = requests[0].args[1]
        settings: dict[str, Any] = dict(normalize_gen_kwargs(given, lm.max_gen_toks))
        if unknown := sorted(set(settings) - set(KNOWN_SETTINGS)):
            raise LacyError("E244", settings=", ".join(unknown), known=", ".join(KNOWN_SETTINGS))
        end = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
        stops = handle_stop_sequences(settings["until"] or None, eos=end)
        limit = settings["max_gen_toks"]
        engine = self._engine.variant(
            temperature=settings.get("temperature", 0.0), top_p=settings.get("top_p", 1.0)
        )
        sequences = []
        for request, number in zip(requests, before, strict=True):
            context = request.args[0]
            number += zlib.crc32(context.encode("utf-8", "surrogatepass"))
            ids = lm.tok_encode(context)[-(lm.max_length - limit) :]
            text, question = self._source_text(context)
            sequence = engine.sequence(number, text, None, limit, ids, question)
            sequence.implied = int(bool(ids) and ids[0] == engine.begin_id)
            sequence.on_text = _until(stops)
            sequences.append(sequence)
        engine.run(sequences)
        for request, sequence in zip(requests, sequences, strict=True):
            answer = sequence.answer()
            text = postprocess_generated_text(answer.continuation, stops, None)
            lm.answered("generate_until", request.args, text, CallCounts.of(answer))
            yield text

    def _batches(self, requests: Sequence[Instance]) -> Iterator[list[int]]:
        """Yield indices of requests with equal settings and similar lengths, longest first."""
        by_settings: dict[str, list[int]] = {}
        for n, request in enumerate(requests):
            by_settings.setdefault(repr(request.args[1]), []).append(n)
        size = self._batch
        for group in by_settings.values():
            group.sort(key=lambda n: (-len(requests[n].args[0]), requests[n].args[0]))
            yield from (group[start : start + size] for start in range(0, len(group), size))

    def _context(
        self, pair: tuple[str, str] | None, ids: list[int], follow: Sequence[int]
    ) -> tuple[str, list[int]]:
        """Return what stands before a continuation, as the source sees it and as tokens."""
        room = self._engine.context + 1 - len(follow)
        kept = ids[-room:] if room > 0 else []
        if pair is None or not pair[0]:
            return self._engine.token_text.decode(kept), kept
        return self._source_text(pair[0])[0], kept

    def _source_text(self, context: str) -> tuple[str, Question | None]:
        """Return a context as the source sees it: a chat without the marks of its template."""
        messages = self._lm.chat_of(context)
        if not messages:
            return context, None
        *before, last = messages
        asked = {**last, "content": _LABELS.sub("", last["content"])}
        return "\n\n".join(m["content"] for m in messages), question_in([*before, asked])


def _until(stops: Sequence[str]) -> Callable[[Span], bool]:
    """Return an observer of a text that ends it at the first stop string."""
    written = ""

    def add(span: Span) -> bool:
        nonlocal written
        written += span.text
        return any(stop and stop in written for stop in stops)

    return add


def _would_write(text: str, steps: Sequence[DecodeStep]) -> bool:
    """Return whether the cascade itself would have written a text."""
    given = 0
    for step in steps:
        if step.start < given:
            continue
        taken = next((offer for offer in step.offers if offer.taken), None)
        if taken is not None:
            if not text.startswith(taken.text, step.start):
                return False
            given = step.start + len(taken.text)
        elif (step.p_text or 0.0) < step.own.p:
            return False
    return True
