"""Fields of requests that lacy does not act on, and the values of these that ask for nothing.

OpenAI's own clients send some, clients of vLLM, llama.cpp and others send more, mostly with their
defaults. A field that only describes the request is ignored; one that would change the answer is
accepted with a value that asks for nothing, and refused with any other.
"""

from __future__ import annotations

from typing import Any

from pydantic import create_model

NOTHING: dict[str, tuple[Any, ...]] = {
    # OpenAI's
    "best_of": (None, 1),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "suffix": (None, ""),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
    # other servers'
    "repetition_penalty": (None, 1),
    "length_penalty": (None, 1),
    "top_k": (None, -1, 0),
    "min_p": (None, 0),
    "top_a": (None, 0),
    "typical_p": (None, 1),
    "tfs_z": (None, 1),
    "repeat_penalty": (None, 1),
    "mirostat": (None, 0),
    "use_beam_search": (None, False),
    "early_stopping": (None, False),
    "stop_token_ids": (None, []),
    "bad_words": (None, []),
    "allowed_token_ids": (None,),
    "logits_processors": (None, []),
    "prompt_logprobs": (None,),
    "include_stop_str_in_output": (None, False),
    "skip_special_tokens": (None, True),
    "spaces_between_special_tokens": (None, True),
    "add_special_tokens": (None, True),
    "truncate_prompt_tokens": (None,),
    "return_token_ids": (None, False),
    "return_tokens_as_token_ids": (None, False),
    "guided_json": (None,),
    "guided_regex": (None,),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "structured_outputs": (None,),
    "grammar": (None, ""),
    "json_schema": (None,),
    "chat_template": (None,),
    "chat_template_kwargs": (None, {}),
    "add_generation_prompt": (None, True),
    "continue_final_message": (None, False),
    "documents": (None, []),
}
"""Fields that lacy cannot honour, with the values that ask for nothing."""

IGNORED = (
    "cache_prompt", "cache_salt", "chat_id", "data_sources", "kv_transfer_params", "metadata",
    "priority", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "request_id", "safety_identifier", "service_tier", "session_id", "store", "user", "verbosity",
    "reasoning_effort", "include_reasoning",
)  # fmt: skip
"""Fields that describe a request, or ask for what a small model does not do (reasoning)."""

STRUCTURE = 'see docs/how-to/clients.md, "Tools and structured output"'
STATE = "nothing is kept between requests: send the whole conversation as input"
HELP = dict.fromkeys(("previous_response_id", "conversation", "background"), STATE) | dict.fromkeys(
    ("tools", "functions", "tool_choice", "function_call", "response_format", "guided_json",
     "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar",
     "json_schema", "text.format"),
    STRUCTURE,
)  # fmt: skip
"""Where to read what to do instead."""

CHAT_ONLY = frozenset(
    ("tools", "functions", "tool_choice", "function_call", "response_format", "modalities",
     "audio", "prediction", "web_search_options", "chat_template", "chat_template_kwargs",
     "add_generation_prompt", "continue_final_message", "documents", "parallel_tool_calls"),
)  # fmt: skip
COMPLETION_ONLY = frozenset(("best_of", "suffix"))


def declare(name: str, base: type[Any], *, chat: bool | None) -> type[Any]:
    """A model of a request with these fields, each of any type.

    Args:
        name: its name.
        base: what it extends.
        chat: those of chats or of completions; None: those that both have.
    """
    every = {*NOTHING, *IGNORED, "parallel_tool_calls"}
    some = {None: every - CHAT_ONLY - COMPLETION_ONLY, True: CHAT_ONLY, False: COMPLETION_ONLY}
    told: dict[str, Any] = {field: (Any, None) for field in sorted(some[chat])}
    return create_model(name, __base__=base, **told)


def asking(given: dict[str, Any], nothings: dict[str, tuple[Any, ...]] = NOTHING) -> str | None:
    """The first field that asks for what lacy cannot do.

    Args:
        given: the fields that a request sets.
        nothings: fields that cannot be honoured, with the values that ask for nothing.
    """
    unused = set()  # tools that are not to be called ask for nothing
    for switch, what in (("tool_choice", "tools"), ("function_call", "functions")):
        if given.get(switch) == "none":
            unused.add(what)
    for name, value in given.items():
        nothing = nothings.get(name)
        if nothing is None or name in unused or value in nothing:
            continue
        if name == "best_of" and value == given.get("n"):  # all that are written are wanted
            continue
        return name
    return None
