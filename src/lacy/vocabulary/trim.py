"""Remove tokens from a model and its tokenizer for good.

The result is a plain ``transformers`` model with fewer rows and a smaller tokenizer, for runtimes
that know no tailored head. Every text can still be written: bytes stay, and of tokens that BPE
makes, all parts. A text whose tokens are all kept is split as before; another one into more tokens.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lacy.corpus import TokenText, load_tokenizer_files
from lacy.errors import LacyError
from lacy.model import FINGERPRINT, Loaded, end_ids, model_fingerprint
from lacy.vocabulary.tailoring import is_tailored
from lacy.vocabulary.task import Vocabulary
from lacy.vocabulary.tokens import merge_closure, protected_ids, split_merges

STALE = ("format", "lacy", "call_id", "vocabulary", "tokenizer", "parameters")
"""Entries of ``lacy.json`` that saving writes anew."""

_LISTS = ("suppress_tokens", "begin_suppress_tokens")
"""Settings of ``generate`` that are lists of token ids."""


def trim_vocabulary(loaded: Loaded, vocabulary: Vocabulary) -> Loaded:
    """Remove all tokens outside a vocabulary from a model and its tokenizer.

    Kept rows, and so the hidden states of texts that keep their tokens, do not change; the logit
    of ``<CALL>`` is the same. Ids change: kept tokens are numbered in their old order, and
    ``<CALL>`` stays the last one.

    Args:
        loaded: the model; it is changed in place and must not be used any more.
        vocabulary: the tokens to keep. Parts of which BPE makes them are kept, too.

    Returns:
        The smaller model, which is in memory only (``lacy.model.save_model`` writes it).
        ``meta["trimmed"]`` has the number of tokens before.

    Raises:
        LacyError: E271, the vocabulary belongs to another tokenizer; E274, tokens cannot be
            removed from a tokenizer of this kind; E275, the model's head is tailored.
    """
    vocabulary.require(loaded.tokenizer)
    model: Any = loaded.model
    if is_tailored(loaded):
        raise LacyError("E275", name=loaded.name or type(model).__name__)
    tokenizer = loaded.tokenizer
    wanted = {*vocabulary.ids, *_always_kept(loaded)}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = kept_ids(tokenizer, state["model"], wanted)
    new = {old: number for number, old in enumerate(kept)}
    smaller = _smaller_tokenizer(tokenizer, _smaller_state(state, tokenizer, new))
    _trim_rows(model, kept)
    for settings in (model.config, getattr(model, "generation_config", None)):
        _renumber(settings, new)
    model.config.vocab_size = len(kept)
    embedding = model.get_input_embeddings()
    if getattr(embedding, "padding_idx", None) is not None:
        embedding.padding_idx = new.get(embedding.padding_idx)
    meta = {key: value for key, value in loaded.meta.items() if key not in STALE}
    if FINGERPRINT in meta:
        meta[FINGERPRINT] = model_fingerprint(model)
    meta["trimmed"] = {"tokens": vocabulary.size, "made": dict(vocabulary.made)}
    return Loaded(model, smaller, meta, None, loaded.name, loaded.notes)


def check_trim(loaded: Loaded) -> None:
    """Check that tokens can be removed from a model, without changing anything.

    Raises:
        LacyError: E274, they cannot be removed from a tokenizer of this kind.
    """
    state = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    kept_ids(loaded.tokenizer, state["model"], _always_kept(loaded))


def _always_kept(loaded: Loaded) -> set[int]:
    """Return the ids of tokens that every vocabulary keeps: special ones, bytes, end tokens."""
    return {*protected_ids(loaded.tokenizer), *end_ids(loaded.tokenizer, loaded.model)}


def kept_ids(tokenizer: Any, model: Mapping[str, Any], wanted: set[int]) -> list[int]:
    """Return the ids of some tokens and of the parts of which they are made, in order.

    Args:
        tokenizer: the tokenizer.
        model: its kind, vocabulary and merges, as in ``tokenizer.json``.
        wanted: ids of tokens.

    Raises:
        LacyError: E274, some texts could no longer be written, or would be split by other rules.
    """
    kind = model["type"]
    if kind not in ("BPE", "Unigram"):
        raise LacyError("E274", why=f"it is a {kind}; only BPE and Unigram can be trimmed")
    rules = [r for r in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(r)]
    if rules:
        raise LacyError("E274", why=f"it marks parts of words ({', '.join(rules)})")
    text = TokenText(tokenizer)
    used = {byte for n in range(len(tokenizer)) for byte in text.bytes_of(n)}
    # Some tokenizers have no token for bytes that no text of theirs contained (SmolLM2: 21 bytes).
    single = {text.bytes_of(n) for n in wanted}
    if missing := [byte for byte in sorted(used) if bytes([byte]) not in single]:
        why = f"it has no token for the single byte {missing[0]:#04x}, which other tokens contain"
        raise LacyError("E274", why=why)
    if kind == "Unigram":
        return sorted(wanted)
    names = tokenizer.convert_ids_to_tokens(sorted(wanted))
    vocabulary = tokenizer.get_vocab()
    closed = merge_closure(names, split_merges(model.get("merges") or ()), vocabulary)
    return sorted(vocabulary[name] for name in closed)


def _smaller_state(state: dict[str, Any], tokenizer: Any, new: Mapping[int, int]) -> dict[str, Any]:
    """Return the contents of ``tokenizer.json`` with fewer tokens, under new ids."""
    model = state["model"]
    if model["type"] == "BPE":
        model["vocab"] = {name: new[n] for name, n in model["vocab"].items() if n in new}
        kept = set(tokenizer.convert_ids_to_tokens(list(new)))
        pairs = zip(model["merges"], split_merges(model["merges"]), strict=True)
        model["merges"] = [
            merge for merge, (left, right) in pairs if {left, right, left + right} <= kept
        ]
    else:
        model["vocab"] = [entry for n, entry in enumerate(model["vocab"]) if n in new]
        if model.get("unk_id") is not None:
            model["unk_id"] = new.get(model["unk_id"])
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    if state.get("padding"):
        state["padding"]["pad_id"] = new[state["padding"]["pad_id"]]
    _renumber_processor(state.get("post_processor"), new)
    return state


def _renumber_processor(processor: Any, new: Mapping[int, int]) -> None:
    """Change the ids in a post-processor, which puts special tokens around texts."""
    for part in (processor or {}).get("processors", [processor]):
        for special in ((part or {}).get("special_tokens") or {}).values():
            special["ids"] = [new[n] for n in special["ids"]]
        for name in ("sep", "cls"):
            if part and name in part:
                token, number = part[name]
                part[name] = [token, new[number]]


def _smaller_tokenizer(tokenizer: Any, state: Mapping[str, Any]) -> Any:
    """Return a tokenizer with the settings of another one."""
    with tempfile.TemporaryDirectory() as place:
        tokenizer.save_pretrained(place)
        Path(place, "tokenizer.json").write_text(
            json.dumps(state, ensure_ascii=False), encoding="utf-8"
        )
        smaller = load_tokenizer_files(place)
    smaller.name_or_path = tokenizer.name_or_path
    return smaller


@torch.no_grad()
def _trim_rows(model: Any, kept: Sequence[int]) -> None:
    """Keep some rows of embedding and head, in this order."""
    index = torch.tensor(kept, device=model.device)
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    rows = [model.get_input_embeddings().weight[index], head.weight[index]]
    bias_K = None if bias is None else bias[index]
    model.resize_token_embeddings(len(kept), mean_resizing=False)
    head = model.get_output_embeddings()
    model.get_input_embeddings().weight.copy_(rows[0])
    head.weight.copy_(rows[1])
    if bias_K is not None:
        head.bias.copy_(bias_K)


def _renumber(settings: Any, new: Mapping[int, int]) -> None:
    """Change the token ids in a model's config or in its settings for ``generate``."""
    for name, value in list(vars(settings).items()) if settings is not None else ():
        if name == "bad_words_ids" and value:  # sequences; one that cannot be written is void
            kept = [[new[n] for n in ids] for ids in value if all(n in new for n in ids)]
            setattr(settings, name, kept or None)
        if not name.endswith("_token_id") and name not in _LISTS:
            continue
        if isinstance(value, list | tuple):
            setattr(settings, name, [new[n] for n in value if n in new])
        elif isinstance(value, int):
            setattr(settings, name, new.get(value))
