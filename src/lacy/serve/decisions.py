"""``POST /v1/systemone``: typed decisions, computed beside the generation of texts.

Decisions have a thread of their own that works on one request at a time, so a long one delays other
decisions but no text. The work of a request is bounded before it starts: by the number of questions
and options, and by the tokens of state and questions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from lacy.cascade import MAX_TOKEN_CHARACTERS, Engine
from lacy.decide import (
    Decider,
    DecisionQuestion,
    TypedDecision,
    open_decider,
    question_from_data,
    state_text,
    too_deep,
)
from lacy.errors import LacyError
from lacy.model import partial_head
from lacy.serve import schemas
from lacy.serve.admission import Busy, Closing
from lacy.serve.decision_bodies import SystemOneAnswer, SystemOneBody, repeated_name
from lacy.serve.disconnect import while_connected
from lacy.serve.errors import ApiError, as_api_error
from lacy.serve.service import Service

QUEUE = 16
"""Maximum number of requests that are decided or wait for it."""

SECONDS = 0.5
"""Assumed duration of a request until one has been measured."""

WEIGHT = 0.2
"""Weight of the latest request in the moving average of durations."""

REQUEST_ID = "X-TypeSafe-Request-Id"
"""Header in which clients of TypeSafe look for the id of a request."""


class DecisionWorker:
    """Decides requests one after another in a thread of its own.

    Args:
        open: opens the decider; called once, in that thread.
        limit: maximum number of tokens of state and questions.
        queue: maximum number of requests that are decided or wait.
    """

    def __init__(self, open: Callable[[], Decider], limit: int, queue: int = QUEUE) -> None:
        self._open, self._limit, self._queue = open, limit, queue
        self._decider: Decider | None = None
        self._pool = ThreadPoolExecutor(1, "lacy-decisions")
        self._lock, self._owners = threading.Lock(), Counter[str | None]()
        self._pace, self._closed = SECONDS, False

    def submit(
        self, state: str, questions: Mapping[str, DecisionQuestion], owner: str | None = None
    ) -> Future[tuple[dict[str, TypedDecision], int]]:
        """Decide some questions; the future's result is the decisions and the number of tokens.

        Args:
            state: what the questions are about.
            questions: the questions by name.
            owner: the key of the request, if several keys share the server.

        Raises:
            Busy: there is no room, or the owner has used its share.
            Closing: the server is shutting down.
        """
        with self._lock:
            if self._closed:
                raise Closing
            others = len(self._owners.keys() - {owner})
            share = self._queue if owner is None else -(-self._queue // (others + 2))
            full = self._owners.total() >= self._queue
            if full or self._owners[owner] >= share:
                raise Busy(self._owners.total() * self._pace)
            self._owners[owner] += 1
        future = self._pool.submit(self._decide, state, questions)
        future.add_done_callback(lambda _: self._ended(owner))
        return future

    def close(self) -> None:
        """Cancel what waits, and end the thread after the request that is being decided."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(cancel_futures=True)

    def _ended(self, owner: str | None) -> None:
        with self._lock:
            self._owners[owner] -= 1
            self._owners += Counter()  # drops owners without requests

    def _decide(
        self, state: str, questions: Mapping[str, DecisionQuestion]
    ) -> tuple[dict[str, TypedDecision], int]:
        begin = time.monotonic()
        if self._decider is None:
            self._decider = self._open()
        tokens = self._decider.features.tokens(state, list(questions.values()))
        if tokens > self._limit:
            what = "the server's limit"
            raise LacyError("E382", tokens=tokens, limit=self._limit, what=what)
        decided = self._decider.decide_named(state, questions)
        with self._lock:
            self._pace += WEIGHT * (time.monotonic() - begin - self._pace)
        return decided, tokens


def worker_of(engine: Engine, decider: Decider | None, limit: int) -> DecisionWorker | None:
    """Return the worker of a server; None if its model cannot decide.

    Args:
        engine: the server's engine.
        decider: the decider; None for the likelihoods of the engine's own model.
        limit: maximum number of tokens of a request.
    """
    if decider is not None:
        return DecisionWorker(lambda: decider, limit)
    if engine.hosted is not None or partial_head(engine.model) is not None:
        return None
    model, tokenizer, call_id = engine.model, engine.tokenizer, engine.call_id
    return DecisionWorker(lambda: open_decider(model, tokenizer, call_id=call_id), limit)


def add_decisions(app: FastAPI, service: Service, worker: DecisionWorker | None) -> None:
    """Add the path for typed decisions."""

    @app.post(
        "/v1/systemone", response_model=SystemOneAnswer,
        responses=schemas.error_responses(400, 404, 408, 413, 501, 503),
    )  # fmt: skip
    async def systemone(body: SystemOneBody, request: Request) -> Response:
        if worker is None:
            why = "this server's model makes no typed decisions; start it with --decide FOLDER"
            raise ApiError(501, why, "unsupported")
        state, questions = _checked(body, await request.body(), service)
        client, log = request.state.client, request.state.log
        client.charge(len(questions))
        log |= {"id": request.state.request_id, "model": body.model, "questions": len(questions)}
        if service.log_prompts:
            log["prompts"] = [state]
        try:
            future = worker.submit(state, questions, client.owner)
            decided, tokens = await _result_of(request, future)
        except Exception as error:
            raise as_api_error(error, "state") from error
        service.metrics.add_decisions(decided.values(), tokens)
        log["prompt_tokens"] = tokens
        answers = {name: decision.to_data() for name, decision in decided.items()}
        usage = {"input_tokens": tokens, "output_tokens": 0}
        answer = {"model": service.name, "answers": answers, "usage": usage}
        return JSONResponse(answer, headers={REQUEST_ID: request.state.request_id})


def _checked(
    body: SystemOneBody, raw: bytes, service: Service
) -> tuple[str, dict[str, DecisionQuestion]]:
    """Return the state as text, and the questions.

    Raises:
        ApiError: 404, there is no such model; 400, a question or the state cannot be decided.
    """
    service.engine(service.policy_in_name(body.model), "model")
    if (field := body.unsupported()) is not None:
        raise ApiError(400, f"{field} is not supported by lacy", "unsupported", field)
    if (name := repeated_name(raw)) is not None:
        why = f"the body has the name {name[:80]!r} twice in one object"
        raise ApiError(400, why, "invalid_value", "questions")
    if too_deep(body.state):
        raise ApiError(400, "state is nested too deeply", "invalid_value", "state")
    state = state_text(body.state)
    try:
        state.encode()
    except UnicodeEncodeError:
        why = "state contains a lone surrogate (half a character)"
        raise ApiError(400, why, "invalid_value", "state") from None
    if len(state) > service.limits.decision_tokens * MAX_TOKEN_CHARACTERS:
        why = f"a state of {len(state):,} characters is beyond the limit"
        raise ApiError(400, why, "context_length_exceeded", "state")
    questions = {}
    for name, question in body.questions.items():
        try:
            questions[name] = question_from_data(question, name)
        except LacyError as error:
            raise as_api_error(error, f"questions.{name}") from error
    return state, questions


async def _result_of(http: Request, future: Future[Any]) -> Any:
    """Await a result; if the client disconnects meanwhile, cancel what has not started.

    Raises:
        ApiError: 499, the client has disconnected; this goes only to the log.
        Closing: the server is shutting down.
    """
    try:
        return await while_connected(http, asyncio.wrap_future(future))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not task.cancelling():  # not this request was cancelled, but its work
            raise Closing from None
        raise
    finally:
        future.cancel()
