"""Write a tokenizer to a GGUF file: tokens and their types, end tokens, the chat template.

Anything that llama.cpp has no field for, or would interpret differently, is refused: a server that
does not stop at the end of an answer is worse than none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lacy.corpus import begin_end, turn_end
from lacy.errors import LacyError
from lacy.model.ends import end_ids

_DIGITS = {"type": "Digits", "individual_digits": True}
_PROBE = "In 1879 she'll  owe $1,234.50 — naïve?\n\n\t東京 x_y <CALL>"
"""Text that the tokenizer must not normalise before splitting it."""

_UNUSED = "<|unused_"


def pre_tokenizer(tokenizer: Any, where: str | Path = "memory") -> str:
    """Return llama.cpp's name for a tokenizer's pre-tokenization.

    Raises:
        LacyError: E90, llama.cpp would split texts differently.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE":
        why = f"its tokenizer is {model['type']}; only byte-level BPE has the same ids there"
        raise unwritable(where, why)
    normalizer = tokenizer.backend_tokenizer.normalizer
    changed = normalizer is not None and normalizer.normalize_str(_PROBE) != _PROBE
    parts = (state["pre_tokenizer"] or {}).get("pretokenizers", [state["pre_tokenizer"]])
    *before, last = [part or {} for part in parts]
    bytewise = last.get("type") == "ByteLevel" and not last.get("add_prefix_space")
    # A tokenizer without merges gives single bytes, whatever its pre-tokenization.
    cut = last.get("use_regex", True) or not model["merges"]
    if changed or not bytewise or not cut or before not in ([], [_DIGITS]):
        raise unwritable(where, "its tokenizer cuts texts in a way that llama.cpp has no name for")
    own_rules = ("ignore_merges", "continuing_subword_prefix", "end_of_word_suffix", "dropout")
    if rules := [rule for rule in own_rules if model.get(rule) and model["merges"]]:
        raise unwritable(where, f"its tokenizer merges bytes differently ({', '.join(rules)})")
    for token in tokenizer.added_tokens_decoder.values():
        strict = token.single_word or token.lstrip or token.rstrip
        if not token.special and strict:
            raise unwritable(where, f"its token {token.content!r} takes the spaces around it")
    return "smollm" if before else "gpt-2"


def add_tokens(writer: Any, gguf: Any, model: Any, tokenizer: Any, where: str | Path) -> None:
    """Write vocabulary, merges, special tokens and chat template; ids do not change.

    Raises:
        LacyError: E90, llama.cpp would interpret something differently or has no field for it.
    """
    pre = pre_tokenizer(tokenizer, where)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types(_kinds(gguf, tokenizer))
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(begin_end(tokenizer)[0])
    for add, number in zip(
        (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id),
        _ends(model, tokenizer, where),
        strict=False,
    ):
        add(number)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(True)  # every training text began with it
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(_template(tokenizer, where))


def unwritable(where: str | Path, why: str) -> LacyError:
    """Return E90 for GGUF."""
    return LacyError("E90", path=where, to="gguf", why=why)


def _kinds(gguf: Any, tokenizer: Any) -> list[int]:
    """Return the type of every token.

    ``<CALL>`` is user-defined: llama.cpp's servers show such a token and can stop at it, while the
    text of a control token is empty.
    """
    kinds, call_id = gguf.TokenType, len(tokenizer) - 1
    found = [kinds.NORMAL] * len(tokenizer)
    for number, token in tokenizer.added_tokens_decoder.items():
        found[number] = kinds.CONTROL if token.special else kinds.USER_DEFINED
        if token.special and token.content.startswith(_UNUSED):
            found[number] = kinds.UNUSED
    for number in tokenizer.all_special_ids:
        found[number] = kinds.CONTROL
    found[call_id] = kinds.USER_DEFINED
    return found


def _ends(model: Any, tokenizer: Any, where: str | Path) -> list[int]:
    """Return up to three end tokens: end of text, end of turn and one more."""
    ends = end_ids(tokenizer, model)
    first = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else begin_end(tokenizer)[1]
    turn = turn_end(tokenizer)
    others = sorted(ends - {first}, key=lambda n: (n != turn, n))
    if len(others) > 2:
        names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens([first, *others])))
        why = f"{len(ends)} tokens end its texts ({names}); a GGUF file names three at most"
        raise unwritable(where, why)
    return [first, *others]


def _template(tokenizer: Any, where: str | Path) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise unwritable(where, "it has several chat templates, and none of them is the default")
    return template
