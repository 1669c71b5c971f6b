"""Any model of the ``llm`` package as a source: a provider's, one on this computer, a plugin's.

``llm`` (https://llm.datasette.io) finds its models in plugins and keeps their keys itself. Models
that await run in one thread with an event loop; others in threads of their own, which end by
themselves: one that hangs keeps its place among the ``concurrency``, never a text.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from lacy.errors import LacyError
from lacy.remote import THOUGHT_TOKENS, Accepted, Failure, LoopThread, plain
from lacy.sources.models import chat
from lacy.sources.models.answers import READING
from lacy.sources.models.endpoint import CHAT_TOKENS, DEFAULT_TIMEOUT, Mode, limits
from lacy.sources.models.growing import Growing, Spent, Thinking
from lacy.sources.models.remote import Remote
from lacy.sources.protocol import TokenPrice
from lacy.types import Candidate, Reply, Request, Unit

MOST_CHARACTERS = 20_000
"""Of an answer; one without end is an error."""

SHOWN = 12
"""Models named where there is none of the name asked for."""

Option = Callable[[int], Any]

_LIMITS = ("max_tokens", "max_output_tokens", "num_predict")
_OWN_OPTIONS: Mapping[str, Option] = {"temperature": lambda _: 0.0} | dict.fromkeys(_LIMITS, int)
"""What is asked of models that know these options: the likeliest words, and no more than needed."""


@dataclass
class _Turns:
    """How many may be asked at the same time; made where they are asked, anew after a fork."""

    concurrency: int
    free: asyncio.Semaphore | None = None
    process: int = 0

    def open(self) -> asyncio.Semaphore:
        if self.free is None or self.process != os.getpid():
            self.free, self.process = asyncio.Semaphore(self.concurrency), os.getpid()
        return self.free

    async def close(self) -> None:
        self.free = None


class LlmModel(Remote):
    """A model of the ``llm`` package.

    Args:
        model: its name or alias, as in ``llm models``; or a model object of that package.
        mode: ``"completions"`` gives it the raw text, ``"chat"`` asks it to continue the text;
            ``"auto"`` gives raw text to those that ``llm`` knows as completion models only.
        name: who speaks; the model's own name by default.
        max_tokens: most tokens asked for, by unit or one number for all.
        timeout: seconds for one request, waiting for its turn included.
        concurrency: requests at the same time.
        price: US dollars per million tokens, or a pair: input tokens, output tokens.
        characters: most characters shown to it; of longer texts the end.
        options: of the model, as in ``llm models --options``; None as a value leaves one out.

    It is left as soon as the unit is there. What it took is then estimated: four characters of text
    a token, and one token a piece.

    Raises:
        LacyError: E11, ``llm`` is not installed; E107, it has no such model; E12, a setting out of
            range.
    """

    def __init__(
        self,
        model: Any,
        *,
        mode: Mode = "auto",
        name: str | None = None,
        max_tokens: int | Mapping[Unit, int] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        concurrency: int = 4,
        price: float | tuple[float, float] = 0.0,
        characters: int = 16_000,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = _found(model) if isinstance(model, str) else model
        self.model = str(self._model.model_id)
        self.name = name or self.model
        self.raw = mode == "completions" or (mode == "auto" and _completes(self._model))
        self.max_tokens = limits(max_tokens)
        self.timeout, self.characters = timeout, characters
        self.price = TokenPrice.of(price)
        self.options = dict(options or {})
        known = getattr(self._model.Options, "model_fields", {})
        self._own = {key: of for key, of in _OWN_OPTIONS.items() if key in known}
        for key, value, least in (
            ("timeout", timeout, 0.001), ("concurrency", concurrency, 1),
            ("characters", characters, 1), ("max_tokens", min(self.max_tokens.values()), 1),
        ):  # fmt: skip
            if not value >= least:
                do = f"give at least {least}"
                raise LacyError("E12", key=key, value=value, why="too little", do=do)
        self._accepted = Accepted()
        self._turns = _Turns(concurrency)
        self._loop_thread = LoopThread(self._turns.close)

    def __repr__(self) -> str:
        return f"LlmModel({self.model!r})"

    def settings(self) -> dict[str, Any]:
        """What the answers depend on; never the key."""
        return {
            "model": self.model, "raw": self.raw, "options": self.options,
            "max_tokens": self.max_tokens, "characters": self.characters, "prompt": chat.PROMPT,
            "reading": READING,
        }  # fmt: skip

    async def _all(self, requests: list[Request]) -> list[Reply]:
        return list(await asyncio.gather(*(self._one(request) for request in requests)))

    async def _one(self, request: Request) -> Reply:
        """One reply in time, whatever happens."""
        begin = time.perf_counter()
        note = ""
        if len(request.text) > self.characters:
            request = replace(request, text=request.text[-self.characters :])
            note = f", which saw the last {self.characters} characters only"
        answer = Growing(request.text, request.unit, raw=self.raw)
        spent = Spent.guessed(len(request.text) + (0 if self.raw else len(chat.PROMPT)))
        why = ""
        try:
            async with asyncio.timeout(self.timeout):
                text = await self._fill(answer, spent)
        except TimeoutError:
            why = f"no whole answer within {self.timeout:g} s"
        except Failure as failure:
            why = str(failure)
        except Exception as error:  # whatever a plugin raises must not end the text
            why = plain(f"{type(error).__name__} {error}", self._key())
        seconds = time.perf_counter() - begin
        cost = self.price.cost(spent.read, spent.spoken)
        if why:
            return Reply(error=f"{self.name}: {why}", fault=True, cost=cost, seconds=seconds)
        found = (Candidate(text, f"continued by {self.name}{note}"),) if text else ()
        return Reply(found, cost=cost, seconds=seconds)

    async def _fill(self, answer: Growing, spent: Spent) -> str:
        """Asks the model and returns the unit; retries without options that the model rejects.

        If its reasoning reached the token limit, the model is asked once more with a higher limit.
        """
        while True:
            room, sent = self._accepted.room, self._sent(answer)
            try:
                return answer.outcome(await self._say(answer, spent, sent))
            except Thinking:
                if room:
                    raise
                self._accepted.room = THOUGHT_TOKENS
                answer.restart()
            except Failure:
                raise
            except Exception as error:
                self._accepted.learn(sent, 400, str(error))
                if answer.said or self._sent(answer) == sent:
                    raise

    def _sent(self, answer: Growing) -> dict[str, Any]:
        """The options that the model has not rejected, and the messages for a chat model."""
        limit = self.max_tokens[answer.unit] + (0 if self.raw else CHAT_TOKENS)
        own: dict[str, Any] = {key: of(limit) for key, of in self._own.items()}
        if not self.raw:
            own["messages"] = chat.messages(answer.text)
        shaped = self._accepted.shaped(own)
        return {key: value for key, value in shaped.items() if key in own}

    async def _say(self, answer: Growing, spent: Spent, sent: dict[str, Any]) -> str:
        """Fills ``answer`` up to its unit; returns the finish reason, "" if it was cut off."""
        *system, said = sent.get("messages") or [{"content": answer.text}]
        options = {key: value for key, value in sent.items() if key != "messages"} | self.options
        ask = {
            "prompt": said["content"],
            "system": system[0]["content"] if system else None,
            "options": {key: value for key, value in options.items() if value is not None},
            "stream": bool(self._model.can_stream),
        }
        free = self._turns.open()
        await free.acquire()
        if inspect.isasyncgenfunction(self._model.execute):
            try:
                complete = await _grow(self._model.prompt(**ask), answer, spent)
            finally:
                free.release()
        else:
            complete = await _in_a_thread(lambda: self._model.prompt(**ask), answer, spent, free)
        limits = [options[key] for key in _LIMITS if isinstance(options.get(key), int)]
        limited = bool(limits) and spent.spoken >= min(limits)
        return "" if complete else "length" if limited else "stop"

    def _key(self) -> str:
        """The key that ``llm`` holds for the model, only to keep it out of messages."""
        try:
            return self._model.get_key() or ""
        except Exception:  # there is none
            return ""


async def _grow(response: Any, answer: Growing, spent: Spent) -> bool:
    """Reads a model that awaits; whether the unit is complete before the answer is."""
    async with aclosing(response.astream_events()) as events:
        async for event in events:
            if _add(event, answer, spent):
                return True
    spent.told(response.input_tokens, response.output_tokens)
    return False


async def _in_a_thread(
    prompt: Callable[[], Any], answer: Growing, spent: Spent, free: asyncio.Semaphore
) -> bool:
    """``_grow`` of a model that blocks, in a thread that gives its turn back when it ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()
    left = threading.Event()

    def work() -> None:
        complete, error = False, None
        try:
            response = prompt()
            with closing(response.stream_events()) as events:
                for event in events:
                    if left.is_set() or (complete := _add(event, answer, spent)):
                        break
                else:
                    spent.told(response.input_tokens, response.output_tokens)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(end, complete, error)

    def end(complete: bool, error: BaseException | None) -> None:
        free.release()
        if not done.done():
            done.set_result(complete) if error is None else done.set_exception(_told(error))

    threading.Thread(target=work, name="lacy-llm", daemon=True).start()
    try:
        return await done
    finally:
        left.set()


def _told(error: BaseException) -> Exception:
    """An error of a thread as one that a task may raise: ``StopIteration`` and exits may not."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return Failure(f"{type(error).__name__}")


def _add(event: Any, answer: Growing, spent: Spent) -> bool:
    """Takes one event; whether the unit is complete."""
    if event.type != "text":
        answer.thought = answer.thought or "reason" in event.type or "think" in event.type
        return False
    spent.spoken += bool(event.chunk)
    if len(answer.said) > MOST_CHARACTERS:
        raise Failure(f"the answer is longer than {MOST_CHARACTERS:,} characters")
    return answer.add(event.chunk)


def _found(name: str) -> Any:
    """The model of a name or alias; one that awaits where there are both.

    Raises:
        LacyError: E11, ``llm`` is not installed; E107, it has no such model.
    """
    try:
        import llm
    except ImportError:
        raise LacyError("E11", extra_for=f"llm:{name}", package="llm", extra="llm") from None
    for known in (llm.get_async_model_aliases(), llm.get_model_aliases()):
        if name in known:
            return known[name]
    models = list(dict.fromkeys(
        str(model.model_id) for model in [*llm.get_models(), *llm.get_async_models()]
    ))  # fmt: skip
    close = difflib.get_close_matches(name, models, SHOWN, 0.3)
    shown = list(dict.fromkeys([*close, *models]))[:SHOWN]
    more = f" and {len(models) - len(shown)} more" if len(models) > len(shown) else ""
    raise LacyError("E107", model=name, found=f"{', '.join(shown) or 'none'}{more}")


def _completes(model: Any) -> bool:
    """Whether a model goes on with raw text: ``llm`` has one class of these."""
    return any(kind.__name__ == "Completion" for kind in type(model).__mro__)
