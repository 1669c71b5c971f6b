"""The black box: a large model behind an OpenAI-compatible server, at a bounded cost.

Every answer is kept in a file, so that the same question is never paid twice, also after a stop.
What was spent is kept beside it. A request begins only if the caps allow its highest possible cost.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lacy._require import require_at_least
from lacy.errors import LacyError
from lacy.remote import OpenAIClient, RemoteError, Retries, ask_many, without_reasoning
from lacy.remote import word_probabilities as option_shares
from lacy.results import AnswerStore, answer_key
from lacy.sources import TokenPrice

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the key, if the server needs one."""

Style = Literal["chat", "text"]
"""How a model is asked: as a chat, or as a text to continue (a base model)."""

SPENT = "spent"
"""Key of what was spent, in the file of answers."""

TOP = 20
"""Number of alternatives of the first token that are asked for, to find the letters among them."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests that were answered, their tokens, and their cost in US dollars."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.requests + other.requests, self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens, self.cost + other.cost,
        )  # fmt: skip

    def __sub__(self, other: Spent) -> Spent:
        return Spent(
            self.requests - other.requests, self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens, self.cost - other.cost,
        )  # fmt: skip


NOTHING = Spent()


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent in all, over all runs that share a file of answers."""

    cost: float = math.inf
    """US dollars."""
    requests: float = math.inf
    """Answered requests."""


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A request to the black box.

    Attributes:
        text: what it reads.
        max_tokens: maximum number of tokens of the reply.
        letters: letters of the options, if it is to choose one; else empty.
        one_line: a base model, which has no turns, ends its reply with the line.
    """

    text: str
    max_tokens: int = 24
    letters: str = ""
    one_line: bool = True


@dataclass(frozen=True, slots=True)
class BoxReply:
    """A reply of the black box, or why there is none.

    Attributes:
        text: the reply; for a choice, the letter whose probability is highest if the server
            reports log-probabilities.
        spent: what it cost when it was asked; a reply from the file has the same.
        stored: it came from the file.
        error: why there is no reply; "" if there is one.
    """

    text: str
    spent: Spent = NOTHING
    stored: bool = False
    error: str = ""


class BlackBox:
    """Asks a model behind an OpenAI-compatible server, and keeps its answers. A context manager.

    Args:
        url: base of the API, such as ``http://localhost:8000/v1``.
        model: the model's name on the server.
        name: identifies the model in results and in the file of answers; by default its address and
            name. Give one if the same model is served under changing addresses.
        answers: file of answers; None keeps them in memory.
        style: ``chat``, or ``text`` for a base model.
        price: price of the tokens.
        cap: what may be spent.
        timeout: seconds for one request, including retries.
        retries: when a failed request is sent again.
        concurrency: number of requests at a time.
        key_variable: environment variable with the API key.

    Raises:
        LacyError: E11, httpx is not installed; E72, the address cannot be used; E12, a cap or price
            is invalid; E150, another process uses the file of answers.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str | None = None,
        answers: str | Path | None = None,
        style: Style = "chat",
        price: TokenPrice | None = None,
        cap: Cap | None = None,
        timeout: float = 120.0,
        retries: Retries | None = None,
        concurrency: int = 4,
        key_variable: str | None = KEY_VARIABLE,
    ) -> None:
        self.style, self.price, self.cap = style, price or TokenPrice(), cap or Cap()
        require_at_least("max_cost", self.cap.cost, 0.0)
        require_at_least("max_requests", self.cap.requests, 0.0)
        if self.cap.cost < math.inf and not any(self.price):
            do = "give the price of a million input and output tokens: --price 0.15 0.6"
            raise LacyError("E12", key="max_cost", value=self.cap.cost, why="without a price, "
                            "nothing is known to cost anything", do=do)  # fmt: skip
        self._client = OpenAIClient(
            url, model, key_variable=key_variable, timeout=timeout, concurrency=concurrency,
            retries=retries or Retries(),
        )  # fmt: skip
        self.name = name or f"{self._client.url}#{model}"
        self._store = AnswerStore(answers)
        self.spent = Spent(**self._store.get(SPENT, {}))
        self._lock = threading.Lock()
        self._reserved = NOTHING

    def __enter__(self) -> BlackBox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file of answers."""
        self._store.close()

    def ask(self, prompts: Sequence[BoxPrompt]) -> list[BoxReply]:
        """Return a reply to each prompt, in their order; only unknown ones are sent.

        A request that fails is tried again by the rules of ``retries``; then its reply has an
        ``error``, and it is asked again the next time.

        Raises:
            LacyError: E392, a cap is reached. All replies that arrived are in the file.
        """
        keys = [self._key(one) for one in prompts]
        sent: dict[str, BoxPrompt] = {}
        for key, prompt in zip(keys, prompts, strict=True):
            if key not in self._store:
                sent.setdefault(key, prompt)
        errors = dict(self._send(sent))
        found = []
        for key in keys:
            kept = self._store.get(key)
            if kept is not None:
                text, spent = kept["text"], Spent(**kept["spent"])
                found.append(BoxReply(text, spent, stored=key not in sent))
            else:
                found.append(BoxReply("", error=errors[key]))
        return found

    def _send(self, sent: dict[str, BoxPrompt]) -> Iterator[tuple[str, str]]:
        """Send prompts and keep the replies; yield the key and the error of each that failed."""
        groups: dict[str, dict[str, BoxPrompt]] = {}
        for key, prompt in sent.items():
            groups.setdefault(repr(self._fields(prompt)), {})[key] = prompt
        for group in groups.values():
            [first, *_] = group.values()
            yield from self._send_alike(group, self._fields(first))

    def _send_alike(
        self, group: dict[str, BoxPrompt], fields: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """Send prompts with the same fields."""
        keys, refused = list(group), list[str]()

        def allowed() -> Iterator[Any]:
            for key in keys:
                if not self._reserve(group[key]):
                    refused.append(key)
                    return
                yield self._message(group[key])

        for place, answer in ask_many(self._client, allowed(), **fields):
            prompt = group[keys[place]]
            if isinstance(answer, RemoteError):
                self._settle(prompt, NOTHING)
                yield keys[place], str(answer)
                continue
            spent = self._cost(prompt, answer.text, answer.usage)
            self._settle(prompt, spent)
            text = _chosen(prompt.letters, answer.choice) or without_reasoning(answer.text).strip()
            kept = {"text": text, "spent": asdict(spent)}
            self._store.put({keys[place]: kept, SPENT: asdict(self.spent)})
        if refused:
            raise LacyError(
                "E392", requests=f"{self.spent.requests:,}", cost=f"{self.spent.cost:.4f}",
                cap=f"{self.cap.requests:g} requests, ${self.cap.cost:g}",
            )  # fmt: skip

    def _reserve(self, prompt: BoxPrompt) -> bool:
        """Reserve the highest possible cost of a request; False if a cap does not allow it."""
        most = self._highest(prompt)
        with self._lock:
            after = self.spent + self._reserved + most
            if after.cost > self.cap.cost or after.requests > self.cap.requests:
                return False
            self._reserved = self._reserved + most
            return True

    def _settle(self, prompt: BoxPrompt, spent: Spent) -> None:
        """Replace the reserved cost of a request by what it cost."""
        with self._lock:
            self._reserved = self._reserved - self._highest(prompt)
            self.spent = self.spent + spent

    def _highest(self, prompt: BoxPrompt) -> Spent:
        """Return the highest possible cost: a token has at least one byte."""
        read, written = len(prompt.text.encode(errors="replace")) + TEMPLATE, prompt.max_tokens
        return Spent(1, read, written, self.price.cost(read, written))

    def _cost(self, prompt: BoxPrompt, text: str, usage: dict[str, Any] | None) -> Spent:
        """Return what a request cost; without counts of tokens, four characters are one."""
        usage = usage or {}
        read = usage.get("prompt_tokens")
        written = usage.get("completion_tokens")
        read = read if isinstance(read, int) else len(prompt.text) // 4 + 1
        written = written if isinstance(written, int) else len(text) // 4 + 1
        return Spent(1, read, written, self.price.cost(read, written))

    def _message(self, prompt: BoxPrompt) -> Any:
        if self.style == "text":
            return prompt.text
        return [{"role": "user", "content": prompt.text}]

    def _fields(self, prompt: BoxPrompt) -> dict[str, Any]:
        """Return the fields of a request beside its text."""
        fields: dict[str, Any] = {"max_tokens": prompt.max_tokens, "seed": 0}
        if self.style == "text" and prompt.one_line:
            fields["stop"] = ["\n"]
        if prompt.letters:
            as_text = {"logprobs": TOP}
            fields |= as_text if self.style == "text" else {"logprobs": True, "top_logprobs": TOP}
        return fields

    def _key(self, prompt: BoxPrompt) -> str:
        return answer_key("blade", 1, self.name, self.style, asdict(prompt))


TEMPLATE = 64
"""Tokens of a chat template that are counted when the highest cost of a request is estimated."""


def open_black_box(address: str, **settings: Any) -> BlackBox:
    """Open a black box by ``http://host:port/v1#model``.

    Args:
        address: address and model.
        settings: of ``BlackBox``.

    Raises:
        LacyError: E396, there is no address or no model; and the errors of ``BlackBox``.
    """
    url, _, model = address.partition("#")
    if not model or not url.startswith(("http://", "https://")):
        raise LacyError("E396", name=repr(address))
    return BlackBox(url, model, **settings)


def _chosen(letters: str, choice: dict[str, Any]) -> str:
    """Return the likeliest letter, or "" if the server reports no log-probabilities of them."""
    shares = option_shares(choice, list(letters.lower())) if letters else None
    if shares is None:
        return ""
    return letters[max(range(len(letters)), key=shares.__getitem__)]
