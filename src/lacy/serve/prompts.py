"""Prompts: texts, tokens, and chats rendered with the tokenizer's template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lacy.cascade import ChatRefused, Engine, control_tokens, render_chat
from lacy.serve.errors import ApiError
from lacy.serve.messages import Message
from lacy.types import CALL_TOKEN


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue."""

    text: str
    """The text, without control tokens."""
    tokens: Callable[[], Sequence[int]] = lambda: ()
    """Returns the tokens, if they differ from the encoded text."""
    implied: int = 0
    """Number of tokens that the server added."""
    written: str | None = None
    """The prompt as the client wrote it, with control tokens by name."""


def completion_prompts(given: str | Sequence[Any], engine: Engine) -> list[Prompt]:
    """Return the prompts of a completion: a text, its tokens, or several of either.

    Tokens are used unchanged: no begin token is added.

    Raises:
        ApiError: 400 for an unknown token or ``<CALL>``, and for more tokens than fit into the
            context.
    """
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    return [
        _from_text(one, engine) if isinstance(one, str) else _from_tokens(one, engine)
        for one in given
    ]


def _from_text(text: str, engine: Engine) -> Prompt:
    """Return a prompt in which the names of special tokens, except ``<CALL>``, are these tokens.

    A hosted model gets the text unchanged.
    """
    controls = control_tokens(engine.tokenizer)
    names = [name for name in controls.special if name in text and name != CALL_TOKEN]
    if not names or engine.hosted is not None:
        return Prompt(text)
    begin = [] if engine.begin_id is None else [engine.begin_id]
    if begin and engine.begin_id == controls.first(text):
        begin = []

    def tokens() -> list[int]:
        return begin + controls.encode(text, plain=CALL_TOKEN)

    clean = re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))), "", text)
    return Prompt(clean, tokens, len(begin), text)


def _from_tokens(ids: Sequence[int], engine: Engine) -> Prompt:
    size, room = len(engine.tokenizer), engine.context
    if len(ids) > room:
        why = f"the prompt has {len(ids):,} tokens, more than the context of {room:,}"
        raise ApiError(400, why, "context_length_exceeded", "prompt")
    for token in ids:
        if token >= size or token == engine.call_id:
            why = "calls a source" if token == engine.call_id else f"is none of {size:,}"
            raise ApiError(400, f"the token {token} {why}", "invalid_value", "prompt")
    return Prompt(engine.token_text.decode(ids), lambda: ids)


def chat_prompt(messages: Sequence[Message], tokenizer: Any, param: str = "messages") -> Prompt:
    """Return the text whose continuation is the answer to a chat.

    A model without a chat template continues the user's last message, as it was trained to.

    Raises:
        ApiError: 400, there is no message to answer, or the template rejects the messages or drops
            one of them.
    """
    if not getattr(tokenizer, "chat_template", None):
        users = [message.text for message in messages if message.role == "user"]
        if not users:
            why = "this model has no chat template and needs a message of the user"
            raise ApiError(400, why, "no_user_message", param)
        return Prompt(users[-1])
    try:
        chat = render_chat([message.as_dict() for message in messages], tokenizer)
    except ChatRefused as error:
        raise _as_api_error(error, param) from error

    def tokens() -> list[int]:
        try:
            return chat.tokens()
        except ChatRefused as error:
            raise _as_api_error(error, param) from error

    return Prompt(chat.text, tokens)


def _as_api_error(error: ChatRefused, param: str) -> ApiError:
    if error.place is not None and param == "messages":
        param = f"messages.{error.place}.role"
    return ApiError(400, str(error), error.code, param)
