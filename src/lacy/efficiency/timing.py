"""Speed of generation: time to first token, prefill, decode, latency, throughput.

Each repetition is one request, after a warm-up that loads kernels and fills caches. Times are wall
times of this process; figures are quantiles over repetitions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lacy.cascade import Engine, TextSequence
from lacy.results import CONFIDENCE, RESAMPLES, Score
from lacy.types import Answer, Span

TEXT = (
    "The river rises in the hills above the town and flows north through a wide valley, past old "
    "mills and farms, until it reaches the sea near a small harbour where fishing boats are kept. "
    "In the nineteenth century a railway was built along its banks, and the valley grew quickly. "
    "Many of the people who lived there worked in the mills, and their children went to a school "
    "that had been founded by the owners. "
)
"""A text of which prompts are made if the caller has none."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One request, in seconds."""

    prompt_tokens: int
    tokens: int
    """Number of generated tokens, from the model and its source."""
    first: float
    """Seconds until the first generated text."""
    total: float
    """Seconds until the whole answer."""
    calls: int
    source: float
    """Seconds that sources took."""

    @property
    def prefill(self) -> float:
        """Tokens of the prompt per second until the first text."""
        return self.prompt_tokens / self.first

    @property
    def decode(self) -> float:
        """Generated tokens per second after the first text; NaN for a single one."""
        rest = self.total - self.first
        return (self.tokens - 1) / rest if self.tokens > 1 and rest > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class Timings:
    """Requests one after another, and requests together."""

    single: tuple[Timing, ...]
    batches: tuple[tuple[int, float, float], ...]
    """Generated tokens, seconds, and CPU seconds of this process of each batch."""
    batch_size: int
    answers: tuple[Answer, ...]
    """The answers of the last batch."""


def time_requests(
    engine: Engine,
    prompts: Sequence[str],
    *,
    new_tokens: int,
    repeat: int = 20,
    warm_up: int = 2,
    batch_size: int = 8,
    batches: int = 3,
) -> Timings:
    """Time requests of equal length.

    Args:
        engine: the engine; its policy and source decide about calls.
        prompts: used in turn.
        new_tokens: number of generated tokens per request.
        repeat: number of single requests.
        warm_up: number of requests before, which are not counted.
        batch_size: number of requests of a batch.
        batches: number of batches; one more before is not counted.
    """
    fixed = engine.variant(min_new_tokens=new_tokens)
    fixed.batch_size = batch_size
    for n in range(warm_up):
        _time_one(fixed, prompts[n % len(prompts)], new_tokens)
    single = [_time_one(fixed, prompts[n % len(prompts)], new_tokens) for n in range(repeat)]
    together = [prompts[n % len(prompts)] for n in range(batch_size)]
    found, answers = [], []
    for n in range(batches + 1):
        begin, cpu = time.perf_counter(), time.process_time()
        answers = fixed.generate(together, max_new_tokens=new_tokens)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        if n:
            found.append((sum(answer.tokens for answer in answers), seconds, cpu))
    return Timings(tuple(single), tuple(found), batch_size, tuple(answers))


def timed_prompts(
    engine: Engine, count: int, tokens: int, texts: Sequence[str] = (TEXT,)
) -> list[str]:
    """Return prompts of about equal length in tokens, from the beginnings of texts.

    Args:
        engine: its tokenizer counts.
        count: number of prompts.
        tokens: length of each, with the begin token.
        texts: used in turn; a short text is repeated.
    """
    own = tokens - (engine.begin_id is not None)
    prompts = []
    for n in range(count):
        text = texts[n % len(texts)]
        words = text.split()
        text = " ".join(words[n // len(texts) :]) if len(texts) < count else text
        ids = engine.token_text.encode(text)
        while len(ids) < own:
            ids = ids + engine.token_text.encode(" " + text)
        prompts.append(engine.token_text.decode(ids[:own]))
    return prompts


def quantile(values: Sequence[float], q: float, unit: str, *, seed: int = 0) -> Score:
    """Return a quantile over repetitions with a bootstrap interval.

    Args:
        values: one per repetition; NaN is left out.
        q: between 0 and 1.
        unit: of the values.
        seed: of the bootstrap.
    """
    known = np.asarray([value for value in values if value == value], float)
    if not len(known):
        return Score(float("nan"), float("nan"), float("nan"), 0, unit)
    value = float(np.quantile(known, q))
    if len(known) == 1:
        return Score(value, float("nan"), float("nan"), 1, unit)
    rng = np.random.default_rng(seed)
    drawn = np.quantile(rng.choice(known, (RESAMPLES, len(known))), q, axis=1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Score(value, float(low), float(high), len(known), unit)


def _time_one(engine: Engine, prompt: str, new_tokens: int) -> Timing:
    """Time one request."""
    seen: list[float] = []

    def on_text(span: Span) -> None:
        seen.append(time.perf_counter())

    begin = time.perf_counter()
    sequence: TextSequence = engine.sequence(0, prompt, None, new_tokens)
    sequence.on_text = on_text
    engine.run([sequence])
    end = time.perf_counter()
    answer = sequence.answer()
    return Timing(
        prompt_tokens=sum(span.tokens for span in answer.spans if span.speaker == "prompt"),
        tokens=answer.tokens,
        first=(seen[0] if seen else end) - begin,
        total=end - begin,
        calls=answer.calls,
        source=sum(span.seconds for span in answer.spans),
    )
