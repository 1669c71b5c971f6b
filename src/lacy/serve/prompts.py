"""Convert the prompts of requests: texts, token ids, and chats (with the tokenizer's template)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lacy.cascade import (
    ChatRefused,
    Engine,
    Question,
    control_tokens,
    question_in,
    render_chat,
)
from lacy.serve.errors import ApiError
from lacy.serve.messages import Message
from lacy.types import CALL_TOKEN


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue."""

    text: str
    """The text, without control tokens."""
    tokens: Callable[[], Sequence[int]] = lambda: ()
    """Returns the token ids; empty if encoding the text gives the right ones."""
    implied: int = 0
    """Number of tokens that the server added (a begin token)."""
    question: Question | None = None
    """The user's message that the text answers, in a chat."""
    written: str | None = None
    """The prompt as the client wrote it, with the names of control tokens."""


def completion_prompts(given: str | Sequence[Any], engine: Engine) -> list[Prompt]:
    """Return the prompts of a completion request, which gives texts or token ids, one or several.

    Token ids are used unchanged; no begin token is added.

    Raises:
        ApiError: 400 for an unknown token id, for ``<CALL>``, or for more tokens than fit into the
            context.
    """
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    return [
        _from_text(prompt, engine) if isinstance(prompt, str) else _from_tokens(prompt, engine)
        for prompt in given
    ]


def _from_text(text: str, engine: Engine) -> Prompt:
    """Return a prompt in which names of special tokens, except ``<CALL>``, become these tokens.

    For a hosted model, the text is not changed.
    """
    control = control_tokens(engine.tokenizer)
    names = [name for name in control.special if name in text and name != CALL_TOKEN]
    if not names or engine.hosted is not None:
        return Prompt(text)
    begin_ids = [] if engine.begin_id is None else [engine.begin_id]
    if begin_ids and engine.begin_id == control.leading_special(text):
        begin_ids = []

    def tokens() -> list[int]:
        return begin_ids + control.encode(text, plain=CALL_TOKEN)

    visible_text = re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))), "", text)
    return Prompt(visible_text, tokens, len(begin_ids), written=text)


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
    """Return the prompt whose continuation is the answer to a chat.

    A model without a chat template just continues the user's last message.

    Raises:
        ApiError: 400, there is no message to answer, or the template rejects the messages or drops
            one of them.
    """
    if not getattr(tokenizer, "chat_template", None):
        users = [message.text for message in messages if message.role == "user"]
        if not users:
            why = "this model has no chat template, so it needs a message with the role user"
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

    return Prompt(chat.text, tokens, question=question_in(chat.messages))


def _as_api_error(error: ChatRefused, param: str) -> ApiError:
    if error.place is not None and param == "messages":
        param = f"messages.{error.place}.role"
    return ApiError(400, str(error), error.code, param)
