"""The application: OpenAI's paths, those of operators, and the page."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from lacy import __version__
from lacy.cascade import MAX_TOKEN_CHARACTERS, control_tokens
from lacy.errors import LacyError
from lacy.serve.about import told
from lacy.serve.answers import (
    About,
    Chat,
    Completion,
    Health,
    Model,
    Models,
    Responded,
    asking,
    describe,
    failures,
)
from lacy.serve.bodies import Body, ChatBody, CompletionBody
from lacy.serve.envelope import Envelope
from lacy.serve.failures import ApiError, as_api_error
from lacy.serve.fields import HELP
from lacy.serve.front import add_page
from lacy.serve.gate import Gate
from lacy.serve.handlers import add_handlers
from lacy.serve.keys import Keys
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics
from lacy.serve.prompts import prompt_of, prompts_of
from lacy.serve.response_bodies import ResponseBody
from lacy.serve.responses import ResponseShape
from lacy.serve.scheduler import Scheduler
from lacy.serve.shapes import Shape
from lacy.serve.writing import Prompt, Wanted, Writing

LOG = logging.getLogger("lacy.serve")

ALIASES = {"calls=never": "never", "calls=always": "always"}
"""Policies by a second name, which reads well after a model's name."""


PING_SECONDS = 5.0
"""Seconds of silence in a stream; proxies commonly give up after 30 or 60."""

COLD = 0.001
"""A temperature below this is 0: the likeliest token."""


@dataclass
class Service:
    """What the paths share."""

    scheduler: Scheduler
    name: str
    limits: Limits
    metrics: Metrics
    log_prompts: bool
    created: int
    context: int
    """Tokens of the longest text."""
    prompts: Sequence[str] = ()
    """Prompts that the page offers."""
    ping: float = PING_SECONDS
    """Seconds of silence after which a stream says that it goes on."""

    @property
    def longest(self) -> int:
        """Most characters of a prompt; longer ones are refused before slow tokenization."""
        return self.context * MAX_TOKEN_CHARACTERS

    def wanted(self, body: Body, prompts: list[Prompt], limit: int | None) -> Wanted:
        """A body's wishes, checked.

        Raises:
            ApiError: what is beyond a limit, unknown, or cannot be honoured.
        """
        limits = self.limits
        if any(len(prompt.text) > self.longest for prompt in prompts):
            why = f"a prompt of more than {self.longest:,} characters is beyond the context"
            raise ApiError(400, why, "context_length_exceeded", body.asks)
        if (field := body.refused()) is not None:
            why = f"{field} is not supported by lacy"
            why += f"; {HELP[field]}" if field in HELP else ""
            raise ApiError(400, why, "unsupported", field)
        if body.stream_options is not None and not body.stream:
            why = "stream_options needs stream: true"
            raise ApiError(400, why, "invalid_value", "stream_options")
        if body.scored is not None and self.scheduler.hosted:
            why = "logprobs are not told of a model at another server"
            raise ApiError(400, why, "unsupported", "logprobs")
        count, base = body.n or 1, self.scheduler.engine
        limit = min(base.max_new_tokens, limits.max_new_tokens) if limit is None else limit
        _at_most("max_tokens", limit, limits.max_new_tokens)
        _at_most("n", count, min(limits.choices, self.scheduler.streams))
        _at_most("stop", len(body.stops), limits.stops)
        _at_most("stop", max(map(len, body.stops), default=0), limits.stop_characters)
        if "" in body.stops:
            raise ApiError(400, "an empty stop string stops everything", "invalid_value", "stop")
        _at_most("n", count * len(prompts), self.scheduler.streams + self.scheduler.queue)
        travelling = self.travelling(body.model)
        param = "model" if body.lacy.policy is None else "lacy.policy"
        policy = travelling if body.lacy.policy is None else body.lacy.policy
        if body.scored is not None and body.echoed and limit <= 1:
            policy = "never"  # the request only scores the prompt
        seed = random.getrandbits(32) if body.seed is None else body.seed % 2**32
        _at_most("min_tokens", body.min_tokens or 0, limit)
        least = body.least(limit)
        if least and self.scheduler.hosted:
            field = "ignore_eos" if body.ignore_eos else "min_tokens"
            why = f"{field} is not supported for a model on another server"
            raise ApiError(400, why, "unsupported", field)
        cold = body.temperature is not None and body.temperature < COLD
        engine = self.engine(
            policy, param, unit=body.lacy.unit,
            temperature=0.0 if cold else body.temperature, top_p=body.top_p, seed=seed,
            min_new_tokens=least,
        )  # fmt: skip
        return Wanted(
            engine, prompts, limit, count, body.stops, body.lacy.subject, body.scored, body.echoed
        )

    def engine(self, policy: str | None, param: str, **how: Any) -> Any:
        """The model with a policy and settings of a request.

        Raises:
            ApiError: 400, there is no such policy, or this model cannot hold it.
        """
        try:
            return self.scheduler.engine.variant(ALIASES.get(policy or "", policy), **how)
        except LacyError as error:
            raise as_api_error(error, param) from error
        except (TypeError, ValueError, OverflowError) as error:  # numbers beyond all numbers
            raise ApiError(400, f"{policy!r} is no policy: {error}", "E61", param) from error

    def travelling(self, model: str) -> str | None:
        """The policy in a model's name.

        Raises:
            ApiError: 404, the name is another model's.
        """
        if model == self.name:
            return None
        if model.startswith(f"{self.name}:"):
            return model[len(self.name) + 1 :]
        message = f"there is no model {model!r}; this server has {self.name!r}"
        raise ApiError(404, message, "model_not_found", "model")

    async def answer(
        self, request: Request, body: Body, wanted: Wanted, shape: Shape | ResponseShape
    ) -> Response:
        """Write and send, whole or as a stream."""
        note, guest = request.state.note, request.state.guest
        guest.pay(len(wanted.prompts) * wanted.count)
        wanted = replace(wanted, owner=guest.owner)
        note |= {
            "id": request.state.request_id,
            "model": body.model,
            "policy": str(wanted.engine.policy),
            "stream": body.stream,
        }
        if self.log_prompts:
            note["prompts"] = [prompt.text for prompt in wanted.prompts]
        writing = Writing(self.scheduler, wanted)
        patience = self.ping if body.stream else None
        try:
            await _unless_gone(request, writing.start(patience), writing)
        except Exception as error:
            if isinstance(error, asyncio.CancelledError | ApiError):
                raise
            raise as_api_error(error, body.asks) from error
        if body.stream:
            chunks = shape.chunks(writing, body.usage_wanted, patience)
            return Events(chunks, lambda: self._end(writing, note))
        try:
            await _unless_gone(request, _read(writing), writing)
        except LacyError as error:
            raise as_api_error(error, body.asks) from error
        finally:
            self._end(writing, note)
        return JSONResponse(shape.whole(writing))

    def _end(self, writing: Writing, note: dict[str, Any]) -> None:
        """Leave what is still being written; figures and log of what was."""
        writing.cancel()
        self.metrics.prompt(writing.prompt_tokens)
        if writing.first is not None:
            self.metrics.first.observe(writing.first)
        for choice in writing.choices:
            self.metrics.answer(choice)
        note["prompt_tokens"], note["tokens"] = writing.prompt_tokens, writing.completion_tokens
        note["calls"] = sum(span.asked for c in writing.choices for span in c.spans)
        note["finish"] = [choice.finish for choice in writing.choices]


class Events(StreamingResponse):
    """Server-sent events.

    Args:
        chunks: the events.
        ended: called at the end, also where the client left before the first of them.
    """

    def __init__(self, chunks: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._ended = ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def make_app(
    scheduler: Scheduler,
    name: str,
    *,
    limits: Limits | None = None,
    keys: Keys | None = None,
    log_prompts: bool = False,
    hosts: Sequence[str] | None = None,
    prompts: Sequence[str] = (),
    ping: float = PING_SECONDS,
    origins: Sequence[str] = (),
) -> FastAPI:
    """The ASGI application of one model.

    Args:
        scheduler: generates the texts; closed when the application ends.
        name: the model's name for clients.
        limits: limits on requests and connections.
        keys: accepted API keys; None: no key is needed.
        log_prompts: also write prompts to the log.
        hosts: host names that requests may use; None: any.
        prompts: beginnings of texts that the page offers.
        ping: seconds of silence after which a stream sends a comment to keep the connection open.
        origins: origins whose web pages may send requests, such as ``https://chat.example``.
    """
    limits, metrics = limits or Limits(), Metrics(scheduler)
    context = scheduler.engine.context
    control_tokens(scheduler.engine.tokenizer)  # cached now, before threads share the tokenizer
    made = int(time.time())
    service = Service(scheduler, name, limits, metrics, log_prompts, made, context, prompts, ping)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scheduler.close)

    app = FastAPI(title="lacy", version=__version__, lifespan=lifespan, docs_url=None,
                  redoc_url=None)  # fmt: skip
    app.state.service = service
    app.add_middleware(Gate, limits=limits, keys=keys, metrics=metrics, hosts=hosts)
    add_handlers(app)
    _asking(app, service)
    _looking(app, service)
    add_page(app)
    describe(app, keys=keys is not None)
    inner = app.build_middleware_stack
    app.build_middleware_stack = lambda: Envelope(inner(), origins)  # type: ignore[method-assign]
    return app


def _asking(app: FastAPI, service: Service) -> None:
    """Paths that make a model speak."""

    @app.post("/v1/completions", responses=asking(Completion))
    async def completions(body: CompletionBody, request: Request) -> Response:
        _at_most("prompt", body.prompts, service.limits.prompts)  # before tokens become texts
        prompts = prompts_of(body.prompt, service.scheduler.engine)
        wanted = service.wanted(body, prompts, body.max_tokens)
        shape = Shape("completion", body.model, str(wanted.engine.policy))
        return await service.answer(request, body, wanted, shape)

    @app.post("/v1/chat/completions", responses=asking(Chat))
    async def chat(body: ChatBody, request: Request) -> Response:
        if body.top_logprobs and not body.logprobs:
            why = "top_logprobs needs logprobs: true"
            raise ApiError(400, why, "invalid_value", "top_logprobs")
        limit = body.max_completion_tokens or body.max_tokens
        prompt = prompt_of(body.messages, service.scheduler.engine.tokenizer)
        wanted = service.wanted(body, [prompt], limit)
        shape = Shape("chat", body.model, str(wanted.engine.policy))
        return await service.answer(request, body, wanted, shape)

    @app.post("/v1/responses", responses=asking(Responded))
    async def responses(body: ResponseBody, request: Request) -> Response:
        prompt = prompt_of(body.messages(), service.scheduler.engine.tokenizer, "input")
        wanted = service.wanted(body, [prompt], body.limit)
        engine = wanted.engine
        shape = ResponseShape(body, str(engine.policy), engine.temperature, engine.top_p)
        return await service.answer(request, body, wanted, shape)


def _looking(app: FastAPI, service: Service) -> None:
    """Paths that only tell."""
    model = {
        "id": service.name, "object": "model", "created": service.created, "owned_by": "lacy",
        "root": service.name, "parent": None, "permission": [], "max_model_len": service.context,
    }  # fmt: skip

    @app.get("/v1/models", response_model=Models, responses=failures())
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}", response_model=Model, responses=failures(400, 404))
    async def one_model(name: str) -> dict[str, Any]:
        service.engine(service.travelling(name), "model")
        return model | {"id": name}

    @app.get("/v1/lacy", response_model=About, responses=failures())
    async def about() -> dict[str, Any]:
        engine = service.scheduler.engine
        how = {"policy": str(engine.policy), "unit": engine.unit}
        who = {"prompts": list(service.prompts), "sources": told(engine.source)}
        return {"model": service.name, **how, **who}

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse, responses=failures())
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _at_most(param: str, value: int, most: int) -> None:
    if value > most:
        raise ApiError(400, f"{param}: {value} is more than {most}", "above_limit", param)


async def _read(writing: Writing) -> None:
    async for _ in writing.news():
        pass


async def _unless_gone(request: Request, work: Any, writing: Writing) -> None:
    """Do ``work``; where the client leaves meanwhile, cancel its texts.

    Raises:
        ApiError: 499, the client has left (nobody reads this).
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=0.5)
            if not task.done() and await request.is_disconnected():
                raise ApiError(499, "the client has left", "client_left")
        await task
    except BaseException:
        task.cancel()
        writing.cancel()
        raise
