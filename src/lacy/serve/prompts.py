"""What a model continues: texts, tokens, and chats by the tokenizer's template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lacy.cascade.engine import Engine
from lacy.model.decode import context_of
from lacy.serve.bodies import Message
from lacy.serve.failures import ApiError
from lacy.serve.writing import Prompt


def prompts_of(given: str | Sequence[Any], engine: Engine) -> list[Prompt]:
    """The prompts of a completion: a text, its tokens, or several of either.

    Tokens are taken as they are: nothing is put before them.

    Raises:
        ApiError: 400 for a token that the model does not have, or that is no text but a call, and
            for more tokens than the context holds.
    """
    if isinstance(given, str):
        return [Prompt(given)]
    if isinstance(given[0], int):
        given = [given]
    return [Prompt(one) if isinstance(one, str) else _of_tokens(one, engine) for one in given]


def _of_tokens(ids: Sequence[int], engine: Engine) -> Prompt:
    size, room = len(engine.tokenizer), context_of(engine.model)
    if len(ids) > room:
        why = f"a prompt of {len(ids):,} tokens is beyond the context of {room:,}"
        raise ApiError(400, why, "context_length_exceeded", "prompt")
    for token in ids:
        if token >= size or token == engine.call_id:
            why = "calls a source" if token == engine.call_id else f"is none of {size:,}"
            raise ApiError(400, f"the token {token} {why}", "invalid_value", "prompt")
    return Prompt(engine.token_text.decode(ids), lambda: ids)


def prompt_of(messages: Sequence[Message], tokenizer: Any) -> Prompt:
    """The text that answers a chat when continued.

    A model without a chat template continues the last message of the user, as it was trained to.

    Raises:
        ApiError: 400 where there is nothing to answer, the template refuses, or a message holds
            text that the template would turn into a control token.
    """
    if not getattr(tokenizer, "chat_template", None):
        users = [message.text for message in messages if message.role == "user"]
        if not users:
            why = "this model has no chat template and needs a message of the user"
            raise ApiError(400, why, "no_user_message", "messages")
        return Prompt(users[-1])
    controls = [str(token) for token in tokenizer.all_special_tokens]
    for place, message in enumerate(messages):
        for control in controls:
            if control and control in message.text:
                why = f"messages may not hold the model's control token {control!r}"
                raise ApiError(400, why, "control_token", f"messages.{place}.content")
    plain = [{"role": message.role, "content": message.text} for message in messages]
    try:
        text = str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template may raise whatever it likes
        raise ApiError(
            400, f"the chat template refuses: {error}", "chat_template", "messages"
        ) from error
    # With special tokens read as such; TokenText's own encoding takes them for plain text.
    return Prompt(
        text,
        lambda: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False),
    )
