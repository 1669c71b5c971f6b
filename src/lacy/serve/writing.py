"""A request's texts between the scheduler's thread and the event loop that answers clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lacy.cascade import Engine, question_hint
from lacy.serve.choice import PROMPT, Choice
from lacy.serve.scheduler import Order, Scheduler
from lacy.serve.stops import Stops
from lacy.types import Answer, Span


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue.

    Attributes:
        text: its characters, without control tokens.
        tokens: returns its tokens if they differ from the encoded text.
        implied: how many of the tokens the server added.
        written: the prompt as the client wrote it, with control tokens by name.
    """

    text: str
    tokens: Callable[[], Sequence[int]] = lambda: ()
    implied: int = 0
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for."""

    engine: Engine
    prompts: Sequence[Prompt]
    limit: int
    count: int = 1
    stops: Sequence[str] = ()
    subject: str | None = None
    scored: int | None = None
    """Number of likeliest tokens to return with log-probabilities; None: no log-probabilities."""
    echoed: bool = False
    owner: str | None = None
    """The key that owns the texts, if several keys share the server."""


@dataclass(frozen=True, slots=True)
class News:
    """Something to be sent: pieces of one answer; ``finish`` where it ended."""

    index: int
    pieces: list[Span]
    ended: bool = False


@dataclass(eq=False)
class Writing:
    """The texts of one request, in the order of its prompts, ``count`` for each.

    To be made in an event loop, and to be left by ``cancel`` if not read to its end.
    """

    scheduler: Scheduler
    wanted: Wanted
    choices: list[Choice] = field(init=False)
    prompt_tokens: int = field(default=0, init=False)
    first: float | None = field(default=None, init=False)
    """Seconds to the first words."""

    _held: tuple[int, Span | Answer] | int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        wanted = self.wanted
        self.choices = [Choice() for _ in range(wanted.count * len(wanted.prompts))]
        self._loop, self._begun = asyncio.get_running_loop(), time.perf_counter()
        self._news: asyncio.Queue[Exception | tuple[int, Span | Answer] | int] = asyncio.Queue()
        self._orders = [self._order(n, prompt) for n, prompt in enumerate(wanted.prompts)]
        for choice in self.choices:
            choice.stops = Stops(wanted.stops)

    async def start(self, patience: float | None = None) -> None:
        """Hand the texts in and wait until the first one's turn has come.

        Args:
            patience: seconds after which it is not waited for any longer; None: for ever.

        Raises:
            Busy, Closing: no room.
            LacyError: the prompt does not fit.
        """
        self.scheduler.submit(*self._orders)
        try:
            tokens = await self._next(patience)
            assert tokens is None or isinstance(tokens, int)
            self.prompt_tokens += tokens or 0
            if self.scheduler.hosted:  # where its server is gone, that is no answer but an error
                self._held = await self._next(patience)
        except BaseException:
            self.cancel()
            raise

    async def news(self, patience: float | None = None) -> AsyncIterator[News | None]:
        """What is said, as it is said; ends when all texts have ended.

        Args:
            patience: after so many seconds without any news comes a None; None: never.

        Raises:
            Exception: whatever went wrong in the scheduler.
        """
        left = len(self.choices)
        while left:
            item = await self._next(patience)
            if item is None:
                yield None
                continue
            if isinstance(item, int):  # a prompt's turn has come
                self.prompt_tokens += item
                continue
            if self.first is None:
                self.first = time.perf_counter() - self._begun
            index, what = item
            choice = self.choices[index]
            if isinstance(what, Answer):
                left -= 1
                yield News(index, choice.end(what), ended=True)
            elif pieces := choice.hear(what):
                yield News(index, pieces)

    def hint(self, index: int) -> dict[str, str]:
        """A hint for the user about the prompt, as ``{"hint": ...}``, or {}.

        A model without a chat template continues texts and does not answer questions.
        """
        prompt = self.wanted.prompts[index // self.wanted.count].text
        templated = bool(getattr(self.wanted.engine.tokenizer, "chat_template", None))
        told = question_hint(prompt, templated=templated)
        return {"hint": told} if told else {}

    def cancel(self) -> None:
        """Nobody listens any more."""
        self.scheduler.cancel(*self._orders)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(choice.tokens for choice in self.choices)

    async def _next(self, patience: float | None) -> tuple[int, Span | Answer] | int | None:
        if self._held is not None:
            held, self._held = self._held, None
            return held
        try:
            async with asyncio.timeout(patience if self._news.empty() else None):
                item = await self._news.get()
        except TimeoutError:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def _tell(self, item: Exception | tuple[int, Span | Answer] | int) -> bool:
        """Pass something over to the event loop; True if that is gone."""
        try:
            self._loop.call_soon_threadsafe(self._news.put_nowait, item)
        except RuntimeError:
            return True
        return False

    def _order(self, number: int, prompt: Prompt) -> Order:
        wanted, first = self.wanted, number * self.wanted.count
        scouts = [Stops(wanted.stops) for _ in range(wanted.count)]

        def heard(which: int, piece: Span) -> bool:
            if piece.speaker != PROMPT:
                scouts[which].add(piece)  # tells at once that a text need not go on
            return self._tell((first + which, piece)) or scouts[which].stopped

        def ended(which: int, answer: Answer | Exception) -> None:
            self._tell(answer if isinstance(answer, Exception) else (first + which, answer))

        written = prompt.text if prompt.written is None else prompt.written
        echoed = written if wanted.echoed else None
        return Order(
            wanted.engine, prompt.text, wanted.limit, wanted.count, wanted.subject,
            prompt.tokens, heard, ended, self._tell_started, wanted.scored, echoed, prompt.implied,
            wanted.owner,
        )  # fmt: skip

    def _tell_started(self, tokens: int) -> None:
        self._tell(tokens)
