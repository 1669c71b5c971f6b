"""The service behind the paths: check requests against limits, and generate answers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from lacy.cascade import MAX_TOKEN_CHARACTERS, Engine
from lacy.errors import LacyError
from lacy.serve.bodies import RequestBody
from lacy.serve.disconnect import while_connected
from lacy.serve.errors import ApiError, as_api_error
from lacy.serve.fields import HELP
from lacy.serve.formats import CompletionFormat, ResponseFormat
from lacy.serve.generation import Generation, GenerationRequest
from lacy.serve.limits import Limits
from lacy.serve.metrics import Metrics
from lacy.serve.prompts import Prompt
from lacy.serve.recording import Recorder
from lacy.serve.scheduler import Scheduler

ALIASES = {"calls=never": "never", "calls=always": "always"}
"""Alternative names of policies that read well after a model's name."""

PING_SECONDS = 5.0
"""A stream sends a comment after this silence; proxies commonly time out after 30 or 60 seconds."""

MIN_TEMPERATURE = 0.001
"""A lower temperature is treated as 0, which takes the likeliest token."""


@dataclass
class Service:
    """The model, limits and metrics that the paths share."""

    scheduler: Scheduler
    name: str
    limits: Limits
    metrics: Metrics
    log_prompts: bool
    created: int
    context: int
    """Maximum length of prompt and answer in tokens."""
    prompts: Sequence[str] = ()
    """Example prompts that the page offers."""
    ping_seconds: float = PING_SECONDS
    """Silence after which a stream sends a comment to keep the connection open."""
    recorder: Recorder = field(default_factory=Recorder)
    """Keeps records of answers, if the operator wants them."""

    def request(
        self, body: RequestBody, prompts: list[Prompt], limit: int | None
    ) -> GenerationRequest:
        """Check a body and convert it to a request.

        Raises:
            ApiError: a value exceeds a limit, is unknown, or is not supported.
        """
        self._check_supported(body, prompts)
        limits, scheduler = self.limits, self.scheduler
        count, default_engine = body.n or 1, scheduler.engine
        limit = (
            min(default_engine.max_new_tokens, limits.max_new_tokens) if limit is None else limit
        )
        min_tokens = body.fewest_tokens(limit)
        check_limit("max_tokens", limit, limits.max_new_tokens)
        check_limit("n", count, min(limits.choices, scheduler.streams))
        check_limit("stop", len(body.stops), limits.stops)
        check_limit("stop", max(map(len, body.stops), default=0), limits.stop_characters)
        if "" in body.stops:
            raise ApiError(400, "a stop string must not be empty", "invalid_value", "stop")
        check_limit("n", count * len(prompts), scheduler.streams + scheduler.queue)
        name_policy = self.policy_in_name(body.model)
        param = "model" if body.lacy.policy is None else "lacy.policy"
        policy = name_policy if body.lacy.policy is None else body.lacy.policy
        if body.wanted_logprobs is not None and body.wants_echo and limit <= 1:
            policy = "never"  # the request only scores the prompt
        check_limit("min_tokens", body.min_tokens or 0, limit)
        if min_tokens and scheduler.hosted:
            field = "ignore_eos" if body.ignore_eos else "min_tokens"
            why = f"{field} is not supported for a model on another server"
            raise ApiError(400, why, "unsupported", field)
        greedy = body.temperature is not None and body.temperature < MIN_TEMPERATURE
        engine = self.engine(
            policy,
            param,
            unit=body.lacy.unit,
            temperature=0.0 if greedy else body.temperature,
            top_p=body.top_p,
            seed=random.getrandbits(32) if body.seed is None else body.seed % 2**32,
            min_new_tokens=min_tokens,
        )
        return GenerationRequest(
            engine, prompts, limit, count, body.stops, body.lacy.subject,
            body.wanted_logprobs, body.wants_echo,
        )  # fmt: skip

    def _check_supported(self, body: RequestBody, prompts: list[Prompt]) -> None:
        """Check for unsupported fields and for prompts that are surely too long.

        Long prompts are refused by their characters, because tokenizing them would be slow.

        Raises:
            ApiError: 400, there is one.
        """
        longest = self.context * MAX_TOKEN_CHARACTERS
        if any(len(prompt.text) > longest for prompt in prompts):
            why = f"a prompt of more than {longest:,} characters is beyond the context"
            raise ApiError(400, why, "context_length_exceeded", body.prompt_field)
        if (field := body.unsupported()) is not None:
            why = f"{field} is not supported by lacy"
            why += f"; {HELP[field]}" if field in HELP else ""
            raise ApiError(400, why, "unsupported", field)
        if body.stream_options is not None and not body.stream:
            why = "stream_options needs stream: true"
            raise ApiError(400, why, "invalid_value", "stream_options")
        if body.wanted_logprobs is not None and self.scheduler.hosted:
            why = "logprobs are not supported for a model on another server"
            raise ApiError(400, why, "unsupported", "logprobs")

    def engine(self, policy: str | None, param: str, **settings: Any) -> Engine:
        """Return the model with a policy and other settings of a request.

        Raises:
            ApiError: 400, there is no such policy, or this model cannot use it.
        """
        try:
            return self.scheduler.engine.variant(ALIASES.get(policy or "", policy), **settings)
        except LacyError as error:
            raise as_api_error(error, param) from error
        except (TypeError, ValueError, OverflowError) as error:  # for example, infinite numbers
            raise ApiError(400, f"{policy!r} is not a policy: {error}", "E61", param) from error

    def policy_in_name(self, model: str) -> str | None:
        """Return the policy in a model's name, such as ``mine:budget=0.1``; None if it has none.

        Raises:
            ApiError: 404, it is not the name of this server's model.
        """
        if model == self.name:
            return None
        if model.startswith(f"{self.name}:"):
            return model[len(self.name) + 1 :]
        message = f"there is no model {model!r}; this server has {self.name!r}"
        raise ApiError(404, message, "model_not_found", "model")

    async def answer(
        self,
        http: Request,
        body: RequestBody,
        request: GenerationRequest,
        form: CompletionFormat | ResponseFormat,
    ) -> Response:
        """Return the response with the answer, whole or as a stream."""
        log, client = http.state.log, http.state.client
        client.charge(len(request.prompts) * request.count)
        request = replace(request, owner=client.owner)
        log |= {
            "id": http.state.request_id,
            "model": body.model,
            "policy": str(request.engine.policy),
            "stream": body.stream,
        }
        if self.log_prompts:
            log["prompts"] = [prompt.text for prompt in request.prompts]
        generation = Generation(self.scheduler, request)
        generation.on_complete = partial(self.recorder.record, form.id, generation)
        timeout = self.ping_seconds if body.stream else None
        try:
            await _while_connected(http, generation.start(timeout), generation)
        except ApiError:
            raise
        except Exception as error:
            raise as_api_error(error, body.prompt_field) from error
        if body.stream:
            chunks = form.chunks(generation, body.wants_usage, timeout)
            return EventStream(chunks, lambda: self._end(generation, log))
        try:
            await _while_connected(http, _read_all(generation), generation)
        except LacyError as error:
            raise as_api_error(error, body.prompt_field) from error
        finally:
            self._end(generation, log)
        return JSONResponse(form.whole(generation))

    def _end(self, generation: Generation, log: dict[str, Any]) -> None:
        """Cancel texts that are still being generated; count and log what was generated."""
        generation.cancel()
        generation.complete()
        self.metrics.add_prompt(generation.prompt_tokens)
        if generation.first_text is not None:
            self.metrics.first_text.observe(generation.first_text)
        for choice in generation.choices:
            self.metrics.add_answer(choice)
        log["prompt_tokens"], log["tokens"] = generation.prompt_tokens, generation.completion_tokens
        log["calls"] = sum(span.asked for c in generation.choices for span in c.spans)
        log["finish"] = [choice.finish for choice in generation.choices]


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Args:
        chunks: the encoded events.
        on_end: called at the end, even if the client leaves before the first event.
    """

    def __init__(self, chunks: AsyncIterator[bytes], on_end: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def check_limit(param: str, value: int, limit: int) -> None:
    """Check that a value is within a limit.

    Raises:
        ApiError: 400, it is not.
    """
    if value > limit:
        raise ApiError(400, f"{param}: {value} is more than {limit}", "above_limit", param)


async def _read_all(generation: Generation) -> None:
    async for _ in generation.updates():
        pass


async def _while_connected(
    http: Request, work: Coroutine[Any, Any, None], generation: Generation
) -> None:
    """Await ``work``; if it fails or the client disconnects, cancel the generation."""
    try:
        await while_connected(http, work)
    except BaseException:
        generation.cancel()
        raise
