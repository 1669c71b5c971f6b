"""What an engine of others tells of a model: its next tokens, and how likely words are.

Two dialects of OpenAI's completions are spoken. *Ids* (vLLM): prompts are token ids, tokens come
back as ids, the end of text among them. *Text* (llama.cpp's Python server): prompts are text, which
the server cuts into tokens itself; tokens come back as text, so the parts of a character that takes
several tokens, and the end of text, have no likelihood. Both are told to stop at ``<CALL>``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from lacy.cascade.hosted_steps import Ask, Step, step_of
from lacy.corpus import TokenText
from lacy.errors import LacyError
from lacy.remote import Chunk, LoopThread, OpenAIClient, RemoteError, Retries, finish_reason, redact
from lacy.types import CALL_TOKEN

T = TypeVar("T")

Dialect = Literal["ids", "text"]

FORBIDDEN = -100.0
"""The bias by which servers never say a token; the least that OpenAI's API knows."""

PROBE = "In 1879 she'll  owe $1,234.50 — naïve?\n\n\t東京 x_y"
"""Text that both sides must cut into as many tokens."""

PLAIN = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0}
"""Nothing but the model's own probabilities; servers have defaults of their own, and other names
for the same (llama.cpp does not penalise repetition by ``repetition_penalty``, nor vLLM otherwise).
"""

IDS = {"return_tokens_as_token_ids": True, "skip_special_tokens": False}
"""Tokens are told as ids (in the dialect of this name)."""

MAX_ANSWER_BYTES = 1 << 27


@dataclass(slots=True)
class Server:
    """One model at one server. Not safe for several threads.

    Args:
        client: of the server; its model is found by ``greet``.
        token_text: the model's tokens.
        call_id: token id of ``<CALL>``; None for a model without it.
        end_id: of the end of text.
        begin_id: of the token before every text, None for none.
        size: of the vocabulary.
        top: how many of the likeliest tokens are asked for (vLLM gives 20 unless told otherwise).
    """

    client: OpenAIClient
    token_text: TokenText
    call_id: int | None
    end_id: int
    begin_id: int | None
    size: int
    top: int = 20
    other_ends: frozenset[int] = frozenset()
    """Ids that end a text as ``end_id`` does."""
    dialect: Dialect = "ids"
    _ids: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The server's base address."""
        return self.client.url

    @property
    def ends(self) -> list[int]:
        """The ids of all end tokens."""
        return [self.end_id, *sorted(self.other_ends)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of requests, made in an event loop of their own."""

        async def run_and_close() -> T:
            try:
                return await work
            finally:
                await self.client.close()

        with LoopThread() as thread:  # works inside a running event loop too
            return thread.submit(run_and_close()).result()

    # ------------------------------------------------------------------------ first questions

    async def greet(self) -> int | None:
        """Find out the model's name there, the dialect and whether tokens agree.

        Returns:
            The longest text in tokens, where the server says.

        Raises:
            LacyError: E91 for a server that cannot host this model, E93 for one that is not there.
        """
        retries, self.client.retries = self.client.retries, Retries(0)  # a server may fail on ids
        try:
            return await self._greet()
        finally:
            self.client.retries = retries

    async def _greet(self) -> int | None:
        try:
            models = await self.client.models()
        except RemoteError as error:
            raise self.lost(error) from None
        self.client.model, longest = self._called(models)
        own = self._encoded(PROBE)
        body = {"max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True}
        try:
            answer = await self.client.complete(own, **body)
            told = answer.choice.get("logprobs") or {}
            spoken = (told.get("tokens") or [""])[0]
            self.dialect = "ids" if str(spoken).startswith("token_id:") else "text"
        except RemoteError as error:
            if not error.status:
                raise self.lost(error) from None
            self.dialect = "text"
        if self.dialect == "text":
            self.client.concurrency = 1  # such a server computes one text after the other anyway
            await self._greet_by_text(own)
        return longest

    async def _greet_by_text(self, own: list[int]) -> None:
        """Learn which text is which token; see that logprobs come and tokens agree."""
        for token in range(self.size):
            try:
                piece = self.token_text.bytes_of(token).decode("utf-8")
            except UnicodeDecodeError:
                continue
            if piece:
                self._ids[piece] = token
        if self.call_id is not None:
            self._ids[CALL_TOKEN] = self.call_id
        body = {"max_tokens": 1, "logprobs": 1}
        try:
            answer = await self.client.complete(PROBE, **body)
        except RemoteError as error:
            do = "begin it with log-probabilities (llama.cpp: --logits_all true)"
            raise LacyError("E91", url=self.url, why=str(error), do=do) from None
        read = (answer.usage or {}).get("prompt_tokens")
        if read != len(own):
            why = f"it cuts a text into {read} tokens that this tokenizer cuts into {len(own)}"
            do = "give the tokenizer of the model that is served there: --tokenizer FOLDER"
            raise LacyError("E91", url=self.url, why=why, do=do)
        if not answer.choice.get("logprobs"):
            do = "use vLLM or llama.cpp's Python server"
            raise LacyError("E91", url=self.url, why="it gives no log-probabilities", do=do)

    def _called(self, models: list[dict[str, Any]]) -> tuple[str, int | None]:
        """The served model that is meant, and its longest text."""
        names = [str(model.get("id", "")) for model in models]
        short = [name.rstrip("/").rpartition("/")[2].removesuffix(".gguf") for name in names]
        wanted = self.client.model.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
        if self.client.model in names:
            place = names.index(self.client.model)
        elif wanted in short:
            place = short.index(wanted)
        elif len(names) == 1 and not self.client.model:
            place = 0
        else:
            why = f"it holds no model {self.client.model!r}"
            do = f"name one of: {', '.join(names) or '(none)'}"
            raise LacyError("E91", url=self.url, why=why, do=do)
        longest = models[place].get("max_model_len")
        return names[place], longest if isinstance(longest, int) else None

    # ------------------------------------------------------------------------------ going on

    def body_of(self, ask: Ask, temperature: float, top_p: float) -> dict[str, Any]:
        """What is sent to have a text continued."""
        body: dict[str, Any] = {
            "prompt": self._prompt(ask.ids, ask.text), "max_tokens": ask.most,
            "temperature": temperature, "top_p": top_p, "seed": ask.seed, **PLAIN,
            "logprobs": self.top, **self._bias(ask.bias),
        }  # fmt: skip
        calls = [] if self.call_id is None else [self.call_id]
        if self.dialect == "ids" and (calls or self.other_ends):
            body["stop_token_ids"] = [*calls, *sorted(self.other_ends)]
        elif calls:
            body["stop"] = [CALL_TOKEN]
        return body

    async def continue_text(self, ask: Ask, temperature: float, top_p: float) -> list[Step]:
        """Return the model's next tokens: at least one, at most ``ask.most``.

        The last may be ``<CALL>`` or the end of text.

        Raises:
            LacyError: E93, the server gave no answer.
        """
        answer = await self._told(self.body_of(ask, temperature, top_p))
        steps = self.steps_of(answer.choice, ask.text)[: ask.most]
        said = steps[-1].token if steps else -1
        finish = finish_reason(answer.choice.get("finish_reason"))
        if finish == "stop" and said not in {self.call_id, *self.ends}:
            if answer.choice.get("stop_reason") == self.call_id and self.call_id is not None:
                steps.append(Step(self.call_id))
            elif CALL_TOKEN not in "".join(step.piece or "" for step in steps):
                steps.append(await self._ended(ask, steps) if ask.ends else Step(self.end_id))
        if not steps:
            raise self.lost(silent(finish))
        return steps[: ask.most]

    async def _ended(self, ask: Ask, steps: Sequence[Step]) -> Step:
        """An end of text with the likelihoods there: what the shown tokens leave over is its own.

        The end was the likeliest token, and of the others only those are hidden that are parts of
        characters, or beyond the number asked for.
        """
        said = "".join(step.piece or "" for step in steps)
        tokens = [step.token for step in steps]
        bias = self._bias(dict.fromkeys(self.ends, FORBIDDEN))
        prompt = self._prompt([*ask.ids, *tokens], ask.text + said)
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": self.top, **bias}
        choice = (await self._told(body)).choice
        shown = self.steps_of(choice, ask.text + said)
        if not shown:
            return Step(self.end_id)
        top = {n: logp for n, logp in shown[0].top.items() if n not in self.ends}
        left = 1.0 - math.fsum(map(math.exp, top.values()))
        end = math.log(left) if left > 0 else max(top.values(), default=0.0)
        return Step(self.end_id, None, {**top, self.end_id: end}, shown[0].floor)

    # -------------------------------------------------------------------------------- scoring

    async def score_texts(
        self, jobs: Sequence[tuple[Sequence[int], str, Sequence[int], bool]]
    ) -> list[list[Step]]:
        """Return what ``score_text`` returns for each of several arguments."""
        return await asyncio.gather(*(self.score_text(*job) for job in jobs))

    async def score_text(
        self, ids: Sequence[int], text: str, tokens: Sequence[int], wide: bool
    ) -> list[Step]:
        """Return the steps of ``tokens`` after a text, and of the place after them.

        Args:
            ids: the tokens of the text.
            text: the text.
            tokens: the tokens that follow it.
            wide: report as many likelihoods as possible at the place after them.

        Raises:
            LacyError: E93, the server gave no answer.
        """
        more = self.token_text.decode(tokens)
        bias = self._bias(dict.fromkeys(self.ends, FORBIDDEN))
        body = {
            "prompt": self._prompt([*ids, *tokens], text + more), "max_tokens": 1,
            "temperature": 0, "logprobs": self.top, **bias,
        }  # fmt: skip
        if self.dialect == "ids":
            choice = (await self._told({**body, "prompt_logprobs": self.top})).choice
            read = (choice.get("prompt_logprobs") or [])[-len(tokens) :]
            steps = [
                step_of(n, {int(k): float(v["logprob"]) for k, v in (place or {}).items()})
                for n, place in zip(tokens, read, strict=True)
            ]
            return [*steps, *self.steps_of(choice, text + more)[:1]]
        choice = (await self._told({**body, "echo": True})).choice
        read = self.steps_of(choice, "")
        place, length = 0, 0
        while place < len(read) and length + len(read[place].piece or "") <= len(text):
            length += len(read[place].piece or "")
            place += 1
        last = place + len(tokens)
        steps = read[place:last]
        end = read[last : last + 1]
        if wide:  # one place with all tokens is quick where all places would be slow
            choice = (await self._told({**body, "logprobs": self.size})).choice
            end = self.steps_of(choice, text + more)[:1]
        return [*steps, *end]

    # ------------------------------------------------------------------------------- requests

    def lost(self, error: RemoteError) -> LacyError:
        """The error for a server that gave no answer."""
        return LacyError("E93", url=self.url, why=str(error))

    def _prompt(self, ids: Sequence[int], text: str) -> list[int] | str:
        return list(ids) if self.dialect == "ids" else text

    def _bias(self, bias: Mapping[int, float]) -> dict[str, Any]:
        return {"logit_bias": {str(n): by for n, by in bias.items()}} if bias else {}

    def _encoded(self, text: str) -> list[int]:
        ids = self.token_text.encode(text)
        return ids if self.begin_id is None else [self.begin_id, *ids]

    def steps_of(self, choice: Mapping[str, Any], text: str) -> list[Step]:
        """The steps of an answer, of which ``text`` came before (not told where it is echoed)."""
        told = choice.get("logprobs") or {}
        tokens, tops = told.get("tokens") or [], told.get("top_logprobs") or []
        logps = told.get("token_logprobs") or []
        if self.dialect == "ids":
            named = [int(str(token).removeprefix("token_id:")) for token in tokens]
            return [
                step_of(n, {int(k.removeprefix("token_id:")): v for k, v in (top or {}).items()}, p)
                for n, top, p in zip(named, tops, logps, strict=True)
            ]
        starts = [start - len(text) for start in told.get("text_offset") or []]
        whole_text = str(choice.get("text", ""))
        steps = []
        for n, (token, top, logp) in enumerate(zip(tokens, tops, logps, strict=True)):
            end = starts[n + 1] if n + 1 < len(starts) else len(whole_text)
            cut = end > len(whole_text) or n + 1 == len(starts)
            piece = token if cut else whole_text[starts[n] : end]
            known = {self._ids[k]: v for k, v in (top or {}).items() if k in self._ids}
            step = step_of(self._ids.get(token, -1), known, logp)
            steps.append(replace(step, piece="" if token == CALL_TOKEN else piece))
        return steps

    async def _told(self, body: Mapping[str, Any]) -> Chunk:
        fields = {**body, **IDS} if self.dialect == "ids" else body
        try:
            return await self.client.complete(**fields)
        except RemoteError as error:
            raise self.lost(error) from None


def silent(finish: str | None) -> RemoteError:
    """Why a model generated nothing, including the finish reason if there is one.

    Text generated before a filter or an error is kept: it consists of the model's own tokens, and
    the caller continues from there.
    """
    if finish in (None, "stop", "length"):
        return RemoteError("it said nothing")
    return RemoteError(f"it said nothing; its answer was broken off ({redact(finish)})")
