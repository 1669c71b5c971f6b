"""Pass the texts of one request from the scheduler's thread to the server's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lacy.cascade import Engine, question_hint
from lacy.serve.admission import GenerationJob
from lacy.serve.choice import PROMPT, Choice, StopStrings
from lacy.serve.prompts import Prompt
from lacy.serve.scheduler import Scheduler
from lacy.types import Answer, Span

Event = tuple[int, Span | Answer] | int
"""From the scheduler: the index of a text with a span or the whole answer, or the number of tokens
of a prompt that has started."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """The contents of one request."""

    engine: Engine
    prompts: Sequence[Prompt]
    limit: int
    count: int = 1
    stops: Sequence[str] = ()
    subject: str | None = None
    logprobs: int | None = None
    """Number of likeliest tokens to return with log-probabilities; None for none."""
    echo: bool = False
    owner: str | None = None
    """The key that owns the texts, if several keys share the server."""


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """New spans of one answer; ``ended`` is True if the answer is complete."""

    index: int
    spans: list[Span]
    ended: bool = False


@dataclass(eq=False)
class Generation:
    """The running generation of one request: ``count`` texts per prompt, in the prompts' order.

    Create it inside an event loop, and call ``cancel`` if you do not read all updates.
    """

    scheduler: Scheduler
    request: GenerationRequest
    choices: list[Choice] = field(init=False)
    prompt_tokens: int = field(default=0, init=False)
    first_text: float | None = field(default=None, init=False)
    """Seconds from the start to the first text."""
    on_complete: Callable[[], None] = field(default=lambda: None, init=False)
    """Called once, when all texts have ended or are cancelled."""
    _next_event: Event | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        request = self.request
        count = request.count * len(request.prompts)
        self.choices = [Choice(StopStrings(request.stops)) for _ in range(count)]
        self._loop, self._started = asyncio.get_running_loop(), time.perf_counter()
        self._events: asyncio.Queue[Exception | Event] = asyncio.Queue()
        self._jobs = [self._job(n, prompt) for n, prompt in enumerate(request.prompts)]

    async def start(self, timeout: float | None = None) -> None:
        """Submit the texts and wait until the first one has started.

        Args:
            timeout: maximum number of seconds to wait; None for no limit.

        Raises:
            Busy, Closing: there is no room.
            LacyError: the prompt does not fit.
        """
        self.scheduler.submit(*self._jobs)
        try:
            tokens = await self._next(timeout)
            assert tokens is None or isinstance(tokens, int)
            self.prompt_tokens += tokens or 0
            if self.scheduler.hosted:  # if its server is down, the HTTP status must not be 200
                self._next_event = await self._next(timeout)
        except BaseException:
            self.cancel()
            raise

    async def updates(self, timeout: float | None = None) -> AsyncIterator[StreamUpdate | None]:
        """Yield updates until all texts have ended.

        Args:
            timeout: yield None after this many seconds without an update; None for never.

        Raises:
            Exception: the error that ended a text.
        """
        open_choices = len(self.choices)
        while open_choices:
            event = await self._next(timeout)
            if event is None:
                yield None
                continue
            if isinstance(event, int):  # another prompt has started
                self.prompt_tokens += event
                continue
            if self.first_text is None:
                self.first_text = time.perf_counter() - self._started
            index, content = event
            choice = self.choices[index]
            if isinstance(content, Answer):
                open_choices -= 1
                update = StreamUpdate(index, choice.end(content), ended=True)
                if not open_choices:  # before the client knows that the answer has ended
                    self.complete()
                yield update
            elif spans := choice.add(content):
                yield StreamUpdate(index, spans)

    def hint(self, index: int) -> dict[str, str]:
        """Return ``{"hint": ...}`` if the user should rephrase a prompt, otherwise {}.

        A model without a chat template continues texts and does not answer questions.
        """
        prompt = self.request.prompts[index // self.request.count].text
        templated = bool(getattr(self.request.engine.tokenizer, "chat_template", None))
        hint = question_hint(prompt, templated=templated)
        return {"hint": hint} if hint else {}

    def complete(self) -> None:
        """Call ``on_complete``, the first time only."""
        call, self.on_complete = self.on_complete, lambda: None
        call()

    def cancel(self) -> None:
        """Stop the generation of all texts."""
        self.scheduler.cancel(*self._jobs)

    @property
    def completion_tokens(self) -> int:
        """Number of generated tokens in all answers."""
        return sum(choice.tokens for choice in self.choices)

    async def _next(self, timeout: float | None) -> Event | None:
        if self._next_event is not None:
            event, self._next_event = self._next_event, None
            return event
        try:
            async with asyncio.timeout(timeout if self._events.empty() else None):
                item = await self._events.get()
        except TimeoutError:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def _send(self, item: Exception | Event) -> bool:
        """Pass an event to the event loop; return True if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, item)
        except RuntimeError:
            return True
        return False

    def _job(self, number: int, prompt: Prompt) -> GenerationJob:
        request, first = self.request, number * self.request.count
        # Stop strings are also checked in the scheduler's thread, so that a text ends at once.
        stops = [StopStrings(request.stops) for _ in range(request.count)]

        def on_span(text_number: int, span: Span) -> bool:
            if span.speaker != PROMPT:
                stops[text_number].add(span)
            return self._send((first + text_number, span)) or stops[text_number].found

        def on_end(text_number: int, answer: Answer | Exception) -> None:
            self._send(answer if isinstance(answer, Exception) else (first + text_number, answer))

        def on_start(tokens: int) -> None:
            self._send(tokens)

        written = prompt.text if prompt.written is None else prompt.written
        return GenerationJob(
            request.engine,
            prompt.text,
            request.limit,
            request.count,
            request.subject,
            tokens=prompt.tokens,
            on_span=on_span,
            on_end=on_end,
            on_start=on_start,
            logprobs=request.logprobs,
            echo=written if request.echo else None,
            implied=prompt.implied,
            owner=request.owner,
            question=prompt.question,
        )
