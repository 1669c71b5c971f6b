"""Ask a completions server for a model's next tokens, and for the likelihood of given tokens.

Prompts and answers are token ids, because a server that tokenizes text would read a typed
``<CALL>`` as a call. There are two dialects; in both, the server stops at ``<CALL>``:

- *ids* (vLLM): tokens are reported in OpenAI's fields as ids, including the end of text.
- *llama* (llama.cpp's own server): the same in other fields; ``<CALL>`` is an end token of the
  GGUF file. It cannot score given tokens, but it reports the likelihood of a token that a bias
  forces, so each token takes one request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from lacy.cascade.hosted_characters import LONGEST, unreported_parts
from lacy.corpus import TokenText
from lacy.errors import LacyError
from lacy.remote import Chunk, LoopThread, OpenAIClient, RemoteError, finish_reason, redact

T = TypeVar("T")

Dialect = Literal["ids", "llama"]

FORBIDDEN = -100.0
"""A logit bias that makes servers never generate a token; the lowest that OpenAI's API allows."""

FORCED = 1000.0
"""A logit bias that makes llama.cpp generate a token; it reports likelihoods before the bias."""

LLAMA_TEXTS = 4
"""Number of texts that llama.cpp scores at the same time, each with a request per token."""

MAX_ANSWER_BYTES = 1 << 27

_PLAIN_SAMPLING = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0}
"""Turns off the samplers that servers apply by default. llama.cpp and vLLM name the repetition
penalty differently; each ignores the other's name."""

_ID_DIALECT = {"return_tokens_as_token_ids": True, "skip_special_tokens": False}


@dataclass(frozen=True, slots=True)
class HostedToken:
    """A token that the model generated, and the likeliest tokens at its position."""

    token: int
    """The token's id; -1 if the server reported nothing, because it is a part of a character."""
    top: Mapping[int, float] = field(default_factory=dict)
    """Log-probabilities by id, of the likeliest tokens and of this token."""
    floor: float = -math.inf
    """Upper bound on the log-probability of tokens that are not in ``top``."""


@dataclass(frozen=True, slots=True)
class HostedRequest:
    """A request to continue a text."""

    ids: Sequence[int]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)
    """Logit biases by token id."""


@dataclass(slots=True)
class CompletionServer:
    """One model behind one server.

    Args:
        client: the client of the server's API.
        token_text: converts between the model's tokens and text.
        call_id: token id of ``<CALL>``; None for a model without it.
        end_id: token id of the end of text.
        begin_id: token id before every text; None for none.
        vocab_size: number of tokens.
        top: number of the likeliest tokens to request; vLLM allows 20 by default.
        other_ends: further token ids that end a text.
        reference_id: token id of ``<CALL_REFERENCE>`` (``lacy.model.gguf_gate``); None for none.
        gated: True if the model's ``<CALL>`` is a separate gate, which is no part of its softmax.
    """

    client: OpenAIClient
    token_text: TokenText
    call_id: int | None
    end_id: int
    begin_id: int | None
    vocab_size: int
    top: int = 20
    other_ends: frozenset[int] = frozenset()
    reference_id: int | None = None
    gated: bool = False
    dialect: Dialect = field(default="ids", init=False)

    @property
    def url(self) -> str:
        """The server's base address."""
        return self.client.url

    @property
    def unspoken(self) -> tuple[int, ...]:
        """The ids of the tokens that are never text: ``<CALL>`` and its reference."""
        return tuple(n for n in (self.call_id, self.reference_id) if n is not None)

    @property
    def ends(self) -> list[int]:
        """The ids of all end tokens."""
        return [self.end_id, *sorted(self.other_ends)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a new event loop and return its result."""
        with LoopThread(self.client.close) as loop_thread:  # also works inside a running event loop
            return loop_thread.submit(work).result()

    # --------------------------------------------------------------------------------- generation

    async def continue_text(self, request: HostedRequest) -> list[HostedToken]:
        """Return the model's next tokens: at least one and at most ``max_tokens``.

        The last token may be ``<CALL>`` or the end of text.

        Raises:
            LacyError: E93, the server gave no answer.
        """
        choice = await self._complete(self._body(request))
        tokens = self._tokens_of(choice)[: request.max_tokens]
        finish = finish_reason(choice.get("finish_reason"))
        if finish == "stop" and not self._has_end(tokens):
            call = self._stop_call(choice)
            tokens.append(HostedToken(self.end_id if call is None else call))
        if not tokens and self.dialect == "llama" and request.max_tokens < LONGEST:
            whole = replace(request, max_tokens=LONGEST)  # a character of several tokens
            return (await self.continue_text(whole))[: request.max_tokens]
        if not tokens:
            raise self.no_answer(_nothing_generated(finish))
        return tokens[: request.max_tokens]

    async def stream_text(
        self, request: HostedRequest, on_token: Callable[[HostedToken], object]
    ) -> None:
        """Do as ``continue_text``, but pass on tokens as they arrive.

        If the stream breaks after some tokens, return normally: these tokens are valid, and the
        caller will request further ones.

        Raises:
            LacyError: E93, the server gave no answer.
        """
        tokens: list[HostedToken] = []
        finish: str | None = None

        def add(token: HostedToken) -> None:
            if len(tokens) < request.max_tokens:
                tokens.append(token)
                on_token(token)

        async def read(arriving: AsyncGenerator[Chunk, None]) -> None:
            nonlocal finish
            choice: dict[str, Any] = {}
            async for chunk in arriving:
                choice = chunk.choice or choice
                finish = chunk.finish or finish
                for token in self._tokens_of(chunk.choice):
                    add(token)
            if finish == "stop" and not self._has_end(tokens):
                call = self._stop_call(choice)
                add(HostedToken(self.end_id if call is None else call))

        async def read_or_keep(arriving: AsyncGenerator[Chunk, None]) -> None:
            try:
                await read(arriving)
            except RemoteError:
                if not tokens:
                    raise

        body = {**self._shaped(self._body(request)), "stream": True}
        try:
            await self.client.stream("completions", body, read_or_keep)
        except RemoteError as error:
            if not tokens:
                raise self.no_answer(error) from None
        if not tokens:
            raise self.no_answer(_nothing_generated(finish))

    # ------------------------------------------------------------------------------------ scoring

    async def score_texts(
        self, jobs: Sequence[tuple[Sequence[int], Sequence[int], bool]]
    ) -> list[list[HostedToken]]:
        """Call ``score_text`` concurrently for several tuples of arguments.

        llama.cpp gets a request per token, and few of them run at the same time. Others would wait
        in its queue until they time out, so they are sent later.
        """
        slots = asyncio.Semaphore(LLAMA_TEXTS if self.dialect == "llama" else max(1, len(jobs)))

        async def score(ids: Sequence[int], tokens: Sequence[int], wide: bool) -> list[HostedToken]:
            async with slots:
                return await self.score_text(ids, tokens, wide)

        return await asyncio.gather(*(score(*job) for job in jobs))

    async def score_text(
        self, ids: Sequence[int], tokens: Sequence[int], wide: bool
    ) -> list[HostedToken]:
        """Return the likelihoods of ``tokens`` after a text, and those of the token after them.

        Args:
            ids: the token ids of the text.
            tokens: the tokens to score.
            wide: report as many likelihoods as possible for the token after them.

        Raises:
            LacyError: E93, the server gave no answer.
        """
        if self.dialect == "llama":
            return await self._score_forced(ids, tokens, wide)
        body = self._scoring_body([*ids, *tokens])
        choice = await self._complete({**body, "prompt_logprobs": self.top})
        reported = (choice.get("prompt_logprobs") or [])[-len(tokens) :]
        scored = [
            _token(n, {int(k): float(v["logprob"]) for k, v in (place or {}).items()})
            for n, place in zip(tokens, reported, strict=True)
        ]
        return [*scored, *self._tokens_of(choice)[:1]]

    async def _score_forced(
        self, ids: Sequence[int], tokens: Sequence[int], wide: bool
    ) -> list[HostedToken]:
        """Score each token by a request in which a bias forces it."""
        bodies = [
            {**self._scoring_body([*ids, *tokens[:n]]), **_bias({token: FORCED})}
            for n, token in enumerate(tokens)
        ]
        after = self._scoring_body([*ids, *tokens])
        bodies.append({**after, "logprobs": self.vocab_size} if wide else after)
        choices = await asyncio.gather(*map(self._complete, bodies))
        # llama.cpp reports nothing for a token that is only a part of a character.
        return [(self._tokens_of(choice) or [HostedToken(-1)])[0] for choice in choices]

    # ----------------------------------------------------------------------- requests and answers

    def _body(self, request: HostedRequest) -> dict[str, Any]:
        """Return the body of a request to continue a text."""
        body: dict[str, Any] = {
            "prompt": list(request.ids), "max_tokens": request.max_tokens,
            "temperature": request.temperature, "top_p": request.top_p, "seed": request.seed,
            **_PLAIN_SAMPLING, "logprobs": self.top, **_bias(request.bias),
        }  # fmt: skip
        calls = [] if self.call_id is None else [self.call_id]
        if self.dialect == "ids" and (calls or self.other_ends):
            body["stop_token_ids"] = [*calls, *sorted(self.other_ends)]
        if self.dialect == "llama" and request.temperature == 0:
            body["top_k"] = 1  # so that the server does not sort the whole vocabulary
        return body

    def _scoring_body(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return the body of a request for the likelihoods after a text."""
        bias = _bias(dict.fromkeys(self.ends, FORBIDDEN))  # no likelihoods are reported at an end
        return {"prompt": list(ids), "max_tokens": 1, "logprobs": self.top, **bias}

    def _shaped(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**body, **_ID_DIALECT} if self.dialect == "ids" else dict(body)

    async def _complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return (await self.client.complete(**self._shaped(body))).choice
        except RemoteError as error:
            raise self.no_answer(error) from None

    def no_answer(self, error: RemoteError) -> LacyError:
        """Return the error for a server that gave no answer."""
        return LacyError("E93", url=self.url, why=str(error))

    def _has_end(self, tokens: Sequence[HostedToken]) -> bool:
        """True if the last token is ``<CALL>`` or an end of text."""
        return bool(tokens) and tokens[-1].token in {self.call_id, *self.ends}

    def _stop_call(self, choice: Mapping[str, Any]) -> int | None:
        """Return the id of ``<CALL>`` if the server stopped at it without reporting the token."""
        return self.call_id if choice.get("stop_reason") == self.call_id else None

    def _tokens_of(self, choice: Mapping[str, Any]) -> list[HostedToken]:
        """Return the tokens of an answer."""
        reported = choice.get("logprobs") or {}
        if self.dialect == "llama":
            places = reported.get("content") or []
            own = [
                _token(place["id"], _by_id(place["top_logprobs"]), place["logprob"])
                for place in places
            ]
            text = str(choice.get("text") or "")
            parts = unreported_parts([token.token for token in own], text, self.token_text)
            own = [
                token
                for before, last in zip(parts, own, strict=True)
                for token in (*map(HostedToken, before), last)
            ]
            # In a file that lacy did not write, <CALL> may not be an end token.
            calls = [n for n, token in enumerate(own) if token.token == self.call_id]
            return own[: calls[0] + 1] if calls else own
        names, tops = reported.get("tokens") or [], reported.get("top_logprobs") or []
        logps = reported.get("token_logprobs") or []
        tokens_reported = list(zip(names, tops, logps, strict=True))
        return [
            _token(_id(name), {_id(k): v for k, v in (top or {}).items()}, logp)
            for name, top, logp in tokens_reported
        ]


def _token(token: int, top: Mapping[int, float], logp: float | None = None) -> HostedToken:
    """Return a token whose ``floor`` is the lowest log-probability in ``top``."""
    logps = {**top, token: logp} if logp is not None and token >= 0 else dict(top)
    floor = min((v for n, v in top.items() if n != token), default=-math.inf)
    return HostedToken(token, logps, floor)


def _by_id(top: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return {int(entry["id"]): float(entry["logprob"]) for entry in top}


def _id(name: str) -> int:
    return int(str(name).removeprefix("token_id:"))


def _bias(bias: Mapping[int, float]) -> dict[str, Any]:
    return {"logit_bias": {str(n): value for n, value in bias.items()}} if bias else {}


def _nothing_generated(finish: str | None) -> RemoteError:
    """Return the error for an answer without tokens, with an unusual finish reason."""
    if finish in (None, "stop", "length"):
        return RemoteError("it generated nothing")
    return RemoteError(f"it generated nothing; its answer was aborted ({redact(finish)})")
