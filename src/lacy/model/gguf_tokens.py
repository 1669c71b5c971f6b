"""Write a tokenizer into a GGUF file, so that llama.cpp splits texts into the same tokens.

``<CALL>`` is a *normal* token there. llama.cpp turns the names of control and user-defined tokens
into these tokens wherever they occur in a text, so anybody could type a call. A normal token
results only from merges, and no merge produces ``<CALL>``. Where ``<CALL>`` competes with the other
tokens, it is also an end token (end of message), so that generation stops at the token itself, but
not at its name in a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacy.corpus import begin_end, turn_end
from lacy.errors import LacyError
from lacy.model.ends import end_ids
from lacy.model.forward import competes
from lacy.model.io import Loaded
from lacy.types import CALL_TOKEN

PROBE = "In 1879 she'll  owe $1,234.50 — naïve?\n\n\t東京 x_y <CALL>"
"""Probe text; the tokenizer must not normalize it before splitting."""

_UNUSED = "<|unused_"

_NO_MERGE = "Ā Ā"
"""A merge for tokenizers without any, because llama.cpp requires one. Where it applies, to two zero
bytes, llama.cpp finds no such token and takes the bytes again."""

_DIGITS = {"type": "Digits", "individual_digits": True}

_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_SPLITS = {_WORD + r"\p{N}" + _REST: "qwen2", _WORD + r"\p{N}{1,3}" + _REST: "llama-bpe"}
"""llama.cpp's names of regular expressions that split texts."""

_WHOLE_WORDS = "llama-bpe"
"""The pre-tokenization with which llama.cpp takes whole words before it merges."""

_END_FIELDS = ("eos", "eot", "fim_pad", "fim_rep", "fim_sep")
"""Fields of a GGUF file whose tokens end generation; the last three were made for code models."""

_CALL_FIELD = "eom"
"""The field for ``<CALL>`` if it ends generation: the end of a message that calls a tool."""


def pre_tokenizer(tokenizer: Any, where: str | Path = "memory") -> str:
    """Return llama.cpp's name for a tokenizer's pre-tokenization.

    Raises:
        LacyError: E90, llama.cpp would split texts differently.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        kind = f"{model['type']} of characters" if model.get("byte_fallback") else model["type"]
        why = f"its tokenizer is {kind}; only byte-level BPE has the same ids in llama.cpp"
        raise _unwritable(where, why)
    normalizer = tokenizer.backend_tokenizer.normalizer
    changed = normalizer is not None and normalizer.normalize_str(PROBE) != PROBE
    name = _split_name(state["pre_tokenizer"], bool(model["merges"]))
    if changed or name is None:
        raise _unwritable(where, "its tokenizer splits texts in a way that llama.cpp cannot")
    own_rules = ["continuing_subword_prefix", "end_of_word_suffix", "dropout"]
    own_rules += ["ignore_merges"] * (name != _WHOLE_WORDS)
    if rules := [rule for rule in own_rules if model.get(rule) and model["merges"]]:
        raise _unwritable(where, f"its tokenizer merges bytes differently ({', '.join(rules)})")
    for token in tokenizer.added_tokens_decoder.values():
        strict = token.single_word or token.lstrip or token.rstrip
        if not token.special and strict:
            raise _unwritable(where, f"its token {token.content!r} absorbs the spaces around it")
    return name


def _split_name(state: dict[str, Any] | None, has_merges: bool) -> str | None:
    """Return llama.cpp's name of a pre-tokenizer; None if it has none."""
    parts = [part or {} for part in (state or {}).get("pretokenizers", [state])]
    *before, last = parts
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if not has_merges:  # all tokens are single bytes, so splitting does not matter
        return "smollm" if before else "gpt-2"
    if last.get("use_regex", True):
        return {"[]": "gpt-2", str([_DIGITS]): "smollm"}.get(str(before))
    if len(before) != 1 or before[0].get("type") != "Split" or before[0].get("invert"):
        return None
    if before[0].get("behavior") != "Isolated":
        return None
    return _SPLITS.get(before[0].get("pattern", {}).get("Regex", ""))


def add_tokens(
    writer: Any, gguf: Any, loaded: Loaded, where: str | Path, further: Sequence[str]
) -> None:
    """Write vocabulary, merges, special tokens and chat template; ids do not change.

    Args:
        writer: gguf's writer.
        gguf: the package.
        loaded: the model.
        where: its name for messages.
        further: names of tokens after the tokenizer's own. If there are any, the model has a
            separate gate; then llama.cpp never generates ``<CALL>`` and these tokens. Neither does
            it generate a ``<CALL>`` that was only added.

    Raises:
        LacyError: E90, llama.cpp would interpret something differently or has no field for it.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    pre = pre_tokenizer(tokenizer, where)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    size = len(tokenizer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*tokenizer.convert_ids_to_tokens(range(size)), *further])
    unused = [gguf.TokenType.UNUSED] * len(further)
    writer.add_token_types(_token_types(gguf, tokenizer, call_id) + unused)
    pairs = [m if isinstance(m, str) else " ".join(m) for m in merges]
    writer.add_token_merges(pairs or [_NO_MERGE])
    writer.add_bos_token_id(begin_end(tokenizer)[0])
    ends = dict(zip(_END_FIELDS, _end_tokens(model, tokenizer, where), strict=False))
    if call_id is not None and not further and competes(model):
        ends[_CALL_FIELD] = call_id
    elif call_id is not None:
        hidden = [call_id, *range(size, size + len(further))]
        writer.add_array("tokenizer.ggml.suppress_tokens", hidden)
    for name, number in ends.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(True)  # every training text began with this token
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(_template(tokenizer, where))


def _token_types(gguf: Any, tokenizer: Any, call_id: int | None) -> list[int]:
    """Return the type of every token."""
    kinds = gguf.TokenType
    found = [kinds.NORMAL] * len(tokenizer)
    for number, token in tokenizer.added_tokens_decoder.items():
        found[number] = kinds.CONTROL if token.special else kinds.USER_DEFINED
        if token.special and token.content.startswith(_UNUSED):
            found[number] = kinds.UNUSED
    for number in tokenizer.all_special_ids:
        found[number] = kinds.CONTROL
    if call_id is not None:
        found[call_id] = kinds.NORMAL
    return found


def _end_tokens(model: Any, tokenizer: Any, where: str | Path) -> list[int]:
    """Return the end tokens other than ``<CALL>``: end of text, end of turn and more."""
    ends = end_ids(tokenizer, model)
    first = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else begin_end(tokenizer)[1]
    turn = turn_end(tokenizer)
    others = sorted(ends - {first}, key=lambda n: (n != turn, n))
    if len(ends) > len(_END_FIELDS):
        names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens([first, *others])))
        why = f"{len(ends)} tokens end its texts ({names}); GGUF has {len(_END_FIELDS)} fields"
        raise _unwritable(where, why)
    return [first, *others]


def _template(tokenizer: Any, where: str | Path) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise _unwritable(where, "it has several chat templates, and none of them is the default")
    return template


def _unwritable(where: str | Path, why: str) -> LacyError:
    """Return the error E90 for GGUF."""
    return LacyError("E90", path=where, to="gguf", why=why)
