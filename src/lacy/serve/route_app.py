"""A server with several routes: it lets a router choose, tries the next route, and says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from lacy import __version__
from lacy.serve.disconnect import while_connected
from lacy.serve.errors import ApiError, add_error_handlers
from lacy.serve.keys import Keys
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics
from lacy.serve.middleware import EnvelopeMiddleware, GuardMiddleware
from lacy.serve.route_answers import marked, marked_stream, text_of
from lacy.serve.route_attempts import RouteAttempt, attempt, mended
from lacy.serve.route_config import AUTO
from lacy.serve.route_open import RouteOpener
from lacy.serve.route_table import LiveRoute, RoutePlan, RouteTable, scores_of
from lacy.serve.route_targets import LocalTarget, RouteReply
from lacy.serve.service import EventStream

LOG = logging.getLogger("lacy.serve")

GENERATION = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""Paths on which the router chooses."""

NO_BUDGET = "its budget for this minute is used up"

RELOAD_SECONDS = 1.0
"""How often the file of routes is looked at."""


@dataclass
class RouteService:
    """What the paths share."""

    table: RouteTable
    opener: RouteOpener
    limits: Limits
    metrics: Metrics
    created: int

    async def generate(self, http: Request, path: str) -> Response:
        """Answer a request: by the named route, or by those of the router's plan in turn.

        Raises:
            ApiError: the request is invalid, or no route has answered.
        """
        body = await _body_of(http)
        model = body.get("model")
        if not isinstance(model, str):
            raise ApiError(400, "model: give a route's name, or auto", "invalid_body", "model")
        http.state.client.charge(_texts_of(body))
        started = time.perf_counter()
        plan = await self._plan(model, body)
        log = http.state.log
        log |= {"id": http.state.request_id, "model": model, "why": plan.why,
                "scores": scores_of(plan.choice),
                "router_ms": round(1000 * (time.perf_counter() - started), 2)}  # fmt: skip
        if plan.shadow is not None:
            log["shadow"] = plan.shadow
        tried: list[dict[str, str]] = []
        waits: list[float] = []
        attempts: list[RouteAttempt] = []
        for name in plan.order:
            live = self.table.routes.get(name)
            if live is None:  # its file has just changed
                continue
            if wait := live.budget.wait():
                done = RouteAttempt("busy", NO_BUDGET)
                waits.append(wait)
            else:
                live.budget.spend()
                named = {**body, "model": name} if model == AUTO else body
                done = await while_connected(http, attempt(
                    live.target, path, named, http.state.request_id, live.entry.timeout,
                    comments=len(plan.order) == 1,
                ))  # fmt: skip
                if done.outcome == "busy":
                    waits.append(done.retry)
            outcome = "no_budget" if done.why == NO_BUDGET else done.outcome
            self.metrics.routed.labels(name, outcome).inc()
            if done.outcome == "answered":
                log |= {"route": name, "tried": tried}
                return self._response(done, name, self._about(name, live, plan, tried))
            attempts.append(done)
            tried.append({"route": name, "why": done.why})
        log["tried"] = tried
        # The last answer that a client understands: of a named route, or if all say the same.
        last = next((one for one in reversed(attempts) if one.reply is not None), None)
        outcomes = {one.outcome for one in attempts}
        if last is not None and (len(plan.order) == 1 or outcomes == {"refused"}) and last.content:
            return self._response(last, plan.order[-1], None)
        said = "; ".join(f"{one['route']}: {one['why']}" for one in tried)
        if outcomes == {"busy"}:
            raise ApiError(429, f"no route may answer now ({said})", "no_budget", retry=min(waits))
        raise ApiError(502, f"no route has answered ({said})", "route_failed", retry=1)

    def _response(self, done: RouteAttempt, name: str, about: dict[str, Any] | None) -> Response:
        """Return the response to the client, with the route if there is one."""
        reply, content = done.reply, done.content
        assert reply is not None
        headers = dict(reply.headers)
        if about is not None:
            headers |= {"X-Lacy-Route": about["route"], "X-Lacy-Route-Why": _ascii(about["why"])}
        if content is None:
            chunks = mended(reply.chunks, name, self.metrics.routed.labels(name, "broken").inc)
            marked_chunks = chunks if about is None else marked_stream(chunks, about)
            response: Response = EventStream(marked_chunks, lambda: _close(reply))
        else:
            if about is not None and reply.status < 400:
                content = marked(content, about)
            response = Response(content, reply.status, media_type=reply.media)
        response.headers.update(headers)
        return response

    async def _plan(self, model: str, body: dict[str, Any]) -> RoutePlan:
        """Return which routes are tried.

        Raises:
            ApiError: 404, there is no such route.
        """
        if model == AUTO:
            return await asyncio.to_thread(self.table.plan, text_of(body))
        name = model if model in self.table.routes else model.partition(":")[0]
        if name not in self.table.routes:
            raise self._unknown(model)
        return RoutePlan((name,), None, "the request names it")

    def _unknown(self, name: Any) -> ApiError:
        names = ", ".join((AUTO, *self.table.routes))
        why = f"there is no route {str(name)[:200]!r}; this server has {names}"
        return ApiError(404, why, "model_not_found", "model")

    def _about(
        self, name: str, live: LiveRoute, plan: RoutePlan, tried: list[dict[str, str]]
    ) -> dict[str, Any]:
        """Return what an answer says about its route."""
        found: dict[str, Any] = {"route": name, "why": plan.why}
        if plan.choice is not None:
            found["scores"] = scores_of(plan.choice)
        if live.budget.cost:
            found["cost"] = live.budget.cost
        if tried:
            found |= {"tried": tried, "why": f"{plan.why}; then {tried[-1]['route']} failed: "
                      f"{tried[-1]['why']}"}  # fmt: skip
        if plan.shadow is not None:
            found["shadow"] = plan.shadow
        return found

    def local(self, name: Any = AUTO) -> LocalTarget:
        """Return a model of this process: the named one, or the first.

        Raises:
            ApiError: 404, there is none.
        """
        routes = self.table.routes
        if name != AUTO and name not in routes:
            raise self._unknown(name)
        wanted = list(routes.values()) if name == AUTO else [routes[name]]
        wanted.sort(key=lambda live: live.entry.decide is None)  # fitted heads first
        for live in wanted:
            if isinstance(live.target, LocalTarget):
                return live.target
        raise ApiError(404, "no route is a model of this process", "model_not_found", "model")

    def models(self) -> list[dict[str, Any]]:
        """Return the routes as models, auto first."""
        names = {AUTO: "router", **{n: live.kind for n, live in self.table.routes.items()}}
        return [{"id": name, "object": "model", "created": self.created, "owned_by": "lacy",
                 "kind": kind} for name, kind in names.items()]  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return the routes with their budgets, and whether their file is valid."""
        config = self.table.config
        return {
            "router": config.router, "shadow": config.shadow, "fallback": config.fallback,
            "problem": self.table.problem,
            "routes": {
                name: {"kind": live.kind, "cost": live.budget.cost,
                       "per_minute": live.budget.per_minute,
                       "cost_per_minute": live.budget.cost_per_minute,
                       "wait": round(live.budget.wait(), 1)}
                for name, live in self.table.routes.items()
            },
        }  # fmt: skip


def make_routes_app(
    table: RouteTable,
    opener: RouteOpener,
    *,
    keys: Keys | None = None,
    hosts: Sequence[str] | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """Return the ASGI application of several routes.

    Args:
        table: the routes; opened and closed with the application.
        opener: opens what answers them.
        keys: accepted API keys; None if no key is needed.
        hosts: host names that requests may use; None for any.
        origins: origins whose web pages may send requests.
    """
    metrics = opener.metrics = Metrics(opener, opener.records)
    service = RouteService(table, opener, opener.limits, metrics, int(time.time()))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await table.open(opener)
        watching = asyncio.create_task(_watch(table, opener))
        try:
            yield
        finally:
            watching.cancel()
            for live in table.routes.values():
                await live.target.close()

    app = FastAPI(title="lacy routes", version=__version__, lifespan=lifespan, docs_url=None,
                  redoc_url=None)  # fmt: skip
    app.state.service = service
    app.add_middleware(
        GuardMiddleware, limits=opener.limits, keys=keys, metrics=metrics, hosts=hosts,
        open_paths=("/health",),
    )  # fmt: skip
    add_error_handlers(app)
    _add_paths(app, service)
    build_stack = app.build_middleware_stack
    app.build_middleware_stack = lambda: EnvelopeMiddleware(build_stack(), origins)  # type: ignore[method-assign]
    return app


def _add_paths(app: FastAPI, service: RouteService) -> None:
    """Add the paths."""

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await service.generate(request, "/v1/chat/completions")

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await service.generate(request, "/v1/completions")

    @app.post("/v1/responses")
    async def responses(request: Request) -> Response:
        return await service.generate(request, "/v1/responses")

    @app.post("/v1/systemone")
    async def decisions(request: Request) -> Response:
        body = await _body_of(request)
        questions = body.get("questions")
        request.state.client.charge(len(questions) if isinstance(questions, dict) else 1)
        target = service.local(body.get("model", AUTO))
        reply = await target.send("/v1/systemone", {**body, "model": target.name},
                                  request.state.request_id)  # fmt: skip
        return await _plain(reply)

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        body = await _body_of(request)
        reply = await service.local().send("/v1/feedback", body, request.state.request_id)
        return await _plain(reply)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": service.models()}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        for one in service.models():
            if one["id"] == name:
                return one
        raise ApiError(404, f"there is no route {name!r}", "model_not_found", "model")

    @app.get("/v1/routes")
    async def routes() -> dict[str, Any]:
        return service.state()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _watch(table: RouteTable, opener: RouteOpener) -> None:
    """Read the file of routes again when it changes, and it and the router at SIGHUP."""
    if table.path is None:
        return
    hurry = asyncio.Event()
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        # Only the main thread of a Unix process has signals.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hurry.set)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_SECONDS):
                await hurry.wait()
        hurried = hurry.is_set()
        hurry.clear()
        try:
            await table.reload(opener, always=hurried)
        except Exception:
            LOG.exception("the routes could not be read again")


def _texts_of(body: dict[str, Any]) -> int:
    """Return how many texts a request asks for: prompts times n, as a single model counts them."""
    prompt, count = body.get("prompt"), body.get("n")
    prompts = 1
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompts = len(prompt)
    return prompts * (count if isinstance(count, int) and count > 0 else 1)


async def _plain(reply: RouteReply) -> Response:
    """Return an answer as it is."""
    return Response(await reply.whole(), reply.status, reply.headers, reply.media)


def _close(reply: RouteReply) -> None:
    """End an answer whose client may have left, so that no more of it is generated."""
    task = asyncio.ensure_future(reply.close())
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Task[None]] = set()
"""Tasks that end answers; the event loop itself holds them only weakly."""


def _ascii(text: str) -> str:
    """Return a text as a header may hold it."""
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:300]


async def _body_of(http: Request) -> dict[str, Any]:
    """Return the body as a JSON object.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        body = json.loads(await http.body())
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON", "invalid_body") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a JSON object", "invalid_body")
    return body
