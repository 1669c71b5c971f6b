"""Choose and store the tokens that begin and end a text.

A tokenizer's ``bos_token`` is not always the token that began texts in pretraining: Qwen has none,
and SmolLM2-Instruct has ``<|im_start|>`` from its chat template, while pretraining separated
documents by ``<|endoftext|>``. So the two tokens around a text are chosen once, when a tokenizer
from elsewhere is first loaded, and stored in ``tokenizer_config.json`` under ``lacy_text``. Packed
data, training, calibration, generation and serving all use ``begin_end``. A saved tokenizer also
adds the begin token itself, so that other tools give the model the same input as training did.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

KEY = "lacy_text"
"""Key in a tokenizer's settings that stores the two tokens."""

SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""Names of tokens that separate documents in pretraining."""

BEGINNINGS = ("<|begin_of_text|>", "<s>", "<bos>")
"""Names of tokens that begin a document in pretraining."""

_TURN = "lacyturn"


def begin_end(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """Return the ids of the tokens that begin and end every text.

    These are the tokens chosen when the tokenizer was first loaded (``choose_begin_end``), or else
    its own begin and end token. If it has only one of the two, that token serves as both.
    """
    stored = _stored(tokenizer)
    if stored is not None:
        return stored
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    return (end if begin is None else begin), (begin if end is None else end)


def has_begin_end(tokenizer: Any) -> bool:
    """True if the tokenizer's settings name the tokens around a text."""
    return _stored(tokenizer) is not None


def choose_begin_end(tokenizer: Any, name: str, wanted: str | None = None) -> str:
    """Choose the tokens around a text and store them in the tokenizer's settings.

    Without ``wanted``, the begin token is the tokenizer's begin token, or else its end token. If
    that token belongs to the chat template and another token separates documents, the other token
    is used.

    Args:
        tokenizer: changed in place.
        name: the tokenizer's name for messages.
        wanted: the begin token requested by the user.

    Returns:
        A sentence that explains the choice, or "" if the tokenizer's own begin token is used.

    Raises:
        LacyError: E98, the tokenizer has no such token.
    """
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    if wanted is not None and tokenizer.get_vocab().get(wanted) is None:
        known = ", ".join(map(repr, _specials(tokenizer))) or "it has no special tokens"
        raise LacyError("E98", token=wanted, path=name, known=known)
    marks = chat_marks(tokenizer)
    separator = next((t for t in _specials(tokenizer, SEPARATORS) if t not in marks), None)
    beginning = next((t for t in _specials(tokenizer, BEGINNINGS) if t not in marks), None)
    begin, why = bos or eos, ""
    if wanted is not None:
        begin = wanted
        if wanted in marks:
            why = f"texts begin with {wanted!r}, which is also a mark of the chat template"
    elif begin in marks and (separator or beginning):
        begin = beginning or separator
        what = "begin" if bos else "end"
        why = (
            f"texts begin with {begin!r}: the tokenizer's {what} token {bos or eos!r} is a mark of "
            "its chat template"
        )
    elif not bos:
        why = f"texts begin with {begin!r}, the end token: the tokenizer has no begin token"
    elif bos in marks:
        why = (
            f"texts begin with {bos!r}, which is also a mark of the chat template: the tokenizer "
            "has no other token that begins or separates texts"
        )
    end = eos or begin
    if end in marks and end != begin:
        end = separator or end
    tokenizer.init_kwargs[KEY] = {"begin": str(begin), "end": str(end)}
    return why


def chat_marks(tokenizer: Any) -> set[str]:
    """Return the special tokens that the chat template writes in every turn.

    Excludes a begin token that appears only once, before the whole chat.
    """
    if not getattr(tokenizer, "chat_template", None):
        return set()
    text = _render_chat(tokenizer, turns=3)
    specials = {*_specials(tokenizer), tokenizer.bos_token, tokenizer.eos_token} - {None}
    if text is None:  # the template cannot render a simple chat, so search its source instead
        return {token for token in specials if token in str(tokenizer.chat_template)}
    return {token for token in specials if text.count(token) >= 3}


def turn_end(tokenizer: Any) -> int | None:
    """Return the id of the token that ends an answer in the chat template, or None."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    text = _render_chat(tokenizer, turns=1)
    if text is None or _TURN not in text:
        return None
    after = text.rsplit(_TURN, 1)[1].lstrip()
    tokens = [*_specials(tokenizer), tokenizer.eos_token or ""]
    found = max((t for t in tokens if t and after.startswith(t)), key=len, default=None)
    return None if found is None else int(tokenizer.convert_tokens_to_ids(found))


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: str | os.PathLike[str]) -> None:
    """Save the tokenizer so that other programs that load it add the begin token as well."""
    tokenizer.save_pretrained(str(folder))
    config_file, file = Path(folder) / "tokenizer_config.json", Path(folder) / "tokenizer.json"
    begin, end = (str(t) for t in tokenizer.convert_ids_to_tokens(list(begin_end(tokenizer))))
    config = json.loads(config_file.read_text(encoding="utf-8"))
    if "bos_token" not in str(tokenizer.chat_template or ""):  # else chats would change
        old, config["bos_token"] = config.get("bos_token"), begin
        extra = config.setdefault("extra_special_tokens", [])
        if old not in (None, begin) and isinstance(extra, list) and old not in extra:
            extra.append(old)  # the old begin token stays a special token
    # With add_bos_token, transformers builds the post-processor itself from bos_token; without it,
    # it uses the one in tokenizer.json.
    for key in ("add_bos_token", "add_eos_token", "auto_map"):  # auto_map refers to custom code
        config.pop(key, None)
    if config.get("bos_token") == begin:
        config["add_bos_token"] = True
    config[KEY] = {"begin": begin, "end": end}
    _write(config_file, config)
    state = json.loads(file.read_text(encoding="utf-8"))
    state["post_processor"] = _begin_token_processor(begin, begin_end(tokenizer)[0])
    _write(file, state)


def _begin_token_processor(token: str, number: int) -> dict[str, Any]:
    """Return a post-processor that puts one token before every text."""

    def special(sequence: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": sequence}}

    first: list[dict[str, Any]] = [special(0), {"Sequence": {"id": "A", "type_id": 0}}]
    second = [special(1), {"Sequence": {"id": "B", "type_id": 1}}]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, *second],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def _stored(tokenizer: Any) -> tuple[int, int] | None:
    """Return the ids stored by ``choose_begin_end``, or None if the tokens no longer exist."""
    found = getattr(tokenizer, "init_kwargs", {}).get(KEY)
    if not isinstance(found, dict):
        return None
    pair = [str(found.get("begin")), str(found.get("end"))]
    ids = tokenizer.convert_tokens_to_ids(pair)
    if None in ids or tokenizer.convert_ids_to_tokens(ids) != pair:
        return None
    return int(ids[0]), int(ids[1])


def _specials(tokenizer: Any, wanted: tuple[str, ...] | None = None) -> list[str]:
    """Return the tokenizer's special tokens, or those among ``wanted`` in that order."""
    known = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    known |= set(map(str, tokenizer.all_special_tokens))
    return sorted(known) if wanted is None else [token for token in wanted if token in known]


def _render_chat(tokenizer: Any, turns: int) -> str | None:
    """Render a chat with this many questions and answers; None if the template fails."""
    messages = []
    for _ in range(turns):
        messages.append({"role": "user", "content": "x"})
        messages.append({"role": "assistant", "content": _TURN})
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # third-party templates may raise anything
        return None


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
