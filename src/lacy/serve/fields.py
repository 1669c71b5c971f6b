"""Request fields that lacy does not implement, and the values at which they have no effect.

Clients of OpenAI, vLLM, llama.cpp and other servers send many such fields, mostly with default
values. A field that only describes the request is ignored. A field that could change the answer is
accepted if its value has no effect, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import create_model

NO_EFFECT: dict[str, tuple[Any, ...]] = {
    name: (None, *values)
    for values, names in (
        ((), "audio prediction web_search_options prompt_logprobs allowed_token_ids chat_template "
             "truncate_prompt_tokens guided_json guided_regex guided_choice guided_grammar "
             "structured_outputs json_schema"),
        ((0,), "frequency_penalty presence_penalty min_p top_a mirostat"),
        ((-1, 0), "top_k"),
        ((1,), "best_of repetition_penalty length_penalty repeat_penalty typical_p tfs_z"),
        ((False,), "use_beam_search early_stopping include_stop_str_in_output return_token_ids "
                   "return_tokens_as_token_ids continue_final_message"),
        ((True,), "skip_special_tokens spaces_between_special_tokens add_special_tokens "
                  "add_generation_prompt"),
        (("",), "suffix grammar"),
        (([],), "tools functions stop_token_ids bad_words logits_processors documents"),
        (({},), "logit_bias chat_template_kwargs"),
        (("none", "auto"), "tool_choice function_call"),
        (({"type": "text"},), "response_format"),
        ((["text"],), "modalities"),
    )
    for name in names.split()
}  # fmt: skip
"""Unsupported fields of the APIs of OpenAI and other servers, with their values without effect."""

IGNORED = (
    "cache_prompt", "cache_salt", "chat_id", "data_sources", "kv_transfer_params", "metadata",
    "priority", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "request_id", "safety_identifier", "service_tier", "session_id", "store", "user", "verbosity",
    "reasoning_effort", "include_reasoning",
)  # fmt: skip
"""Fields that are ignored, because they only describe the request or concern reasoning models."""

_STRUCTURE = 'see docs/how-to/clients.md, "Tools and structured output"'
_STATE = "the server stores nothing between requests: send the whole conversation as input"
_STATEFUL = ("previous_response_id", "conversation", "background")
HELP = dict.fromkeys(_STATEFUL, _STATE) | dict.fromkeys(
    ("tools", "functions", "tool_choice", "function_call", "response_format", "guided_json",
     "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar",
     "json_schema", "text.format"),
    _STRUCTURE,
)  # fmt: skip
"""What a client can do instead of using an unsupported field."""

CHAT_ONLY = frozenset(
    ("tools", "functions", "tool_choice", "function_call", "response_format", "modalities",
     "audio", "prediction", "web_search_options", "chat_template", "chat_template_kwargs",
     "add_generation_prompt", "continue_final_message", "documents", "parallel_tool_calls"),
)  # fmt: skip
"""Unsupported fields that only chats have."""
COMPLETION_ONLY = frozenset(("best_of", "suffix"))
"""Unsupported fields that only completions have."""


def declare(
    name: str, base: type[Any], *, chat: bool | None, more: Iterable[str] = ()
) -> type[Any]:
    """Return a pydantic model that extends ``base`` by unsupported fields of any type.

    Args:
        name: the name of the new model.
        base: the model to extend.
        chat: True for fields that only chats have, False for those that only completions have, None
            for fields that both have.
        more: names of further fields.
    """
    all_fields = {*NO_EFFECT, *IGNORED, "parallel_tool_calls"}
    fields_of = {
        None: all_fields - CHAT_ONLY - COMPLETION_ONLY,
        True: CHAT_ONLY,
        False: COMPLETION_ONLY,
    }
    definitions: dict[str, Any] = {
        field: (Any, None) for field in sorted({*fields_of[chat], *more})
    }
    return create_model(name, __base__=base, **definitions)


def unsupported_field(
    given: dict[str, Any], no_effect: dict[str, tuple[Any, ...]] = NO_EFFECT
) -> str | None:
    """Return the name of the first unsupported field whose value would have an effect.

    Args:
        given: the fields that a request sets.
        no_effect: unsupported fields, with their values that have no effect.
    """
    unused = set()  # tools have no effect if none of them may be called
    for switch, what in (("tool_choice", "tools"), ("function_call", "functions")):
        if given.get(switch) == "none":
            unused.add(what)
    for name, value in given.items():
        if name not in no_effect or name in unused or value in no_effect[name]:
            continue
        # No effect, as all generated texts are returned.
        if name == "best_of" and value == given.get("n"):
            continue
        return name
    return None
