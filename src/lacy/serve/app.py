"""The ASGI application: OpenAI's API, paths for operators, and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from lacy import __version__
from lacy.cascade import control_tokens
from lacy.decide import Decider
from lacy.records import RecordLog
from lacy.serve import schemas
from lacy.serve.bodies import ChatBody, CompletionBody, FeedbackBody, ResponseBody
from lacy.serve.decisions import add_decisions, worker_of
from lacy.serve.errors import ApiError, add_error_handlers
from lacy.serve.formats import CompletionFormat, ResponseFormat
from lacy.serve.keys import Keys
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics
from lacy.serve.middleware import EnvelopeMiddleware, GuardMiddleware
from lacy.serve.prompts import chat_prompt, completion_prompts
from lacy.serve.recording import Recorder, fingerprint_of
from lacy.serve.scheduler import Scheduler
from lacy.serve.service import PING_SECONDS, Service, check_limit
from lacy.serve.source_status import source_status

PAGE = files("lacy.serve") / "page"

SCRIPTS = (
    "address", "detail", "dom", "guesses", "page", "pane", "receipt", "sources", "speakers",
    "stream", "verdict",
)  # fmt: skip
"""The page's JavaScript modules; there is no build step."""

PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page/design.css": ("design.css", "text/css"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/page/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS},
}
"""Files of the page and their media types, by path."""

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page has no inline code, loads nothing from other servers and cannot be framed."""

OPEN_PATHS = ("/health", *PAGE_FILES)
"""Paths that need no key: they reveal nothing about the model."""


def make_app(
    scheduler: Scheduler,
    name: str,
    *,
    limits: Limits | None = None,
    keys: Keys | None = None,
    log_prompts: bool = False,
    hosts: Sequence[str] | None = None,
    prompts: Sequence[str] = (),
    ping_seconds: float = PING_SECONDS,
    origins: Sequence[str] = (),
    records: RecordLog | None = None,
    decider: Decider | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Return the ASGI application of one model.

    Args:
        scheduler: generates the texts; it is closed when the application ends.
        name: the model's name for clients.
        limits: limits on requests and connections.
        keys: accepted API keys; None if no key is needed.
        log_prompts: also write prompts to the log.
        hosts: host names that requests may use; None for any.
        prompts: example prompts that the page offers.
        ping_seconds: silence after which a stream sends a comment to keep the connection open.
        origins: origins whose web pages may send requests, such as ``https://chat.example``.
        records: keeps records of answers and users' verdicts; closed by the caller.
        decider: makes typed decisions; None for the likelihoods of the model itself.
        metrics: counters of an application around this one, which counts the requests.
    """
    limits, inner = limits or Limits(), metrics is not None
    metrics = metrics or Metrics(scheduler, records)
    # Fill the cache before several threads use the tokenizer.
    control_tokens(scheduler.engine.tokenizer)
    service = Service(
        scheduler, name, limits, metrics, log_prompts, int(time.time()),
        scheduler.engine.context, prompts, ping_seconds,
        Recorder(records, name, fingerprint_of(scheduler.engine) if records else ""),
    )  # fmt: skip

    worker = worker_of(scheduler.engine, decider, limits.decision_tokens)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        if worker is not None:
            await asyncio.to_thread(worker.close)
        await asyncio.to_thread(scheduler.close)

    app = FastAPI(title="lacy", version=__version__, lifespan=lifespan, docs_url=None,
                  redoc_url=None)  # fmt: skip
    app.state.service = service
    app.add_middleware(
        GuardMiddleware, limits=limits, keys=keys, metrics=None if inner else metrics, hosts=hosts,
        open_paths=OPEN_PATHS,
    )  # fmt: skip
    add_error_handlers(app)
    _add_generation(app, service)
    add_decisions(app, service, worker)
    _add_feedback(app, service)
    _add_information(app, service, decides=worker is not None)
    for path, (file, media_type) in PAGE_FILES.items():
        route = _file_route(read_page_file(file), media_type)
        app.add_api_route(path, route, methods=["GET", "HEAD"], include_in_schema=False)
    schemas.adapt_openapi(app, keys=keys is not None)
    build_stack = app.build_middleware_stack
    app.build_middleware_stack = lambda: EnvelopeMiddleware(build_stack(), origins)  # type: ignore[method-assign]
    return app


def _add_generation(app: FastAPI, service: Service) -> None:
    """Add the paths that generate text."""
    response_docs = schemas.generation_responses

    @app.post("/v1/completions", responses=response_docs(schemas.Completion))
    async def completions(body: CompletionBody, request: Request) -> Response:
        # Before tokens are decoded, which takes time.
        check_limit("prompt", body.prompts, service.limits.prompts)
        prompts = completion_prompts(body.prompt, service.scheduler.engine)
        generation_request = service.request(body, prompts, body.max_tokens)
        answer_format = CompletionFormat(
            "completion", body.model, str(generation_request.engine.policy)
        )
        return await service.answer(request, body, generation_request, answer_format)

    @app.post("/v1/chat/completions", responses=response_docs(schemas.ChatCompletion))
    async def chat(body: ChatBody, request: Request) -> Response:
        if body.top_logprobs and not body.logprobs:
            why = "top_logprobs needs logprobs: true"
            raise ApiError(400, why, "invalid_value", "top_logprobs")
        limit = body.max_completion_tokens or body.max_tokens
        prompt = chat_prompt(body.messages, service.scheduler.engine.tokenizer)
        generation_request = service.request(body, [prompt], limit)
        answer_format = CompletionFormat("chat", body.model, str(generation_request.engine.policy))
        return await service.answer(request, body, generation_request, answer_format)

    @app.post("/v1/responses", responses=response_docs(schemas.ResponseSchema))
    async def responses(body: ResponseBody, request: Request) -> Response:
        prompt = chat_prompt(body.messages(), service.scheduler.engine.tokenizer, "input")
        generation_request = service.request(body, [prompt], body.limit)
        engine = generation_request.engine
        answer_format = ResponseFormat(body, str(engine.policy), engine.temperature, engine.top_p)
        return await service.answer(request, body, generation_request, answer_format)


def _add_feedback(app: FastAPI, service: Service) -> None:
    """Add the path that takes users' verdicts on answers."""

    @app.post(
        "/v1/feedback", response_model=schemas.FeedbackSchema,
        responses=schemas.error_responses(400, 404, 408, 413, 503),
    )  # fmt: skip
    async def feedback(body: FeedbackBody) -> dict[str, Any]:
        return service.recorder.add_verdict(body)


def _add_information(app: FastAPI, service: Service, *, decides: bool) -> None:
    """Add the paths that return information about the server."""
    templated = bool(getattr(service.scheduler.engine.tokenizer, "chat_template", None))
    can = ["completion", *["chat"] * templated, *["decision"] * decides]
    model = {
        "id": service.name, "object": "model", "created": service.created, "owned_by": "lacy",
        "root": service.name, "parent": None, "permission": [], "max_model_len": service.context,
        "capabilities": can,
    }  # fmt: skip
    card = {
        "name": service.name, "description": f"lacy {__version__}: {', '.join(can)}",
        "release_date": time.strftime("%Y-%m-%d", time.gmtime(service.created)),
    }  # fmt: skip
    error_docs = schemas.error_responses

    @app.get("/v1/models", response_model=schemas.ModelList, responses=error_docs())
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model], "models": [card]}

    @app.get(
        "/v1/models/{name:path}", response_model=schemas.ModelSchema, responses=error_docs(400, 404)
    )
    async def one_model(name: str) -> dict[str, Any]:
        service.engine(service.policy_in_name(name), "model")
        return model | {"id": name}

    @app.get("/v1/lacy", response_model=schemas.ServerInfo, responses=error_docs())
    async def about() -> dict[str, Any]:
        engine = service.scheduler.engine
        return {
            "model": service.name,
            "policy": str(engine.policy),
            "unit": engine.unit,
            "chat": templated,
            "decisions": decides,
            "feedback": service.recorder.active,
            "prompts": list(service.prompts),
            "sources": source_status(engine.source),
        }

    @app.get("/health", response_model=schemas.Health)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse, responses=error_docs())
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def read_page_file(name: str) -> bytes:
    """Return a file of the page, which shares its design with the reports."""
    folder = files("lacy.report") / "templates" if name == "design.css" else PAGE
    return (folder / name).read_bytes()


def _file_route(data: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(data, media_type=kind, headers=PAGE_HEADERS)

    return send
