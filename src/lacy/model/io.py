"""Save and load models as a plain ``transformers`` folder with ``lacy.json`` beside the weights.

``AutoModelForCausalLM.from_pretrained(folder)`` opens it without lacy. ``lacy.json`` contains what
other tools do not need: the id of ``<CALL>``, and the tokenizer and settings of the training.
Settings that change the meaning of logits are in ``config.json`` (``lacy_gate``). Saving replaces
the folder atomically; loading refuses incomplete folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lacy import __version__
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.adapters import base_of, merge_adapter
from lacy.model.building import add_call
from lacy.model.files import ADAPTER, META, check_complete, damaged_model, read_model_json
from lacy.model.fingerprint import FINGERPRINT, model_fingerprint
from lacy.model.forward import (
    forbid_call,
    freeze_biases,
    require_call_last,
    require_decoder,
    set_gate,
    taught_to_call,
)
from lacy.model.naming import resolve
from lacy.model.quantized import quantization_of
from lacy.model.weights import download, quiet, read_model, require_causal_lm
from lacy.run import replace_folder
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

FORMAT = 1
"""Version of ``lacy.json``; it increases when the meaning of a field changes."""


@dataclass(slots=True)
class Loaded:
    """A model with its tokenizer and the contents of ``lacy.json``."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    name: str = ""
    """The model's name as the user gave it, for messages."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about choices that loading made."""

    @property
    def calls(self) -> bool:
        """True if the model was taught to call; False if ``<CALL>`` was only added to it."""
        return taught_to_call(self.model)

    @property
    def call_id(self) -> int:
        """The id of ``<CALL>``; always the last id."""
        return len(self.tokenizer) - 1

    @property
    def context(self) -> int:
        """Context length in tokens; very large if the model has no limit."""
        from lacy.model.decode import context_of

        return context_of(self.model)


def save_model(
    path: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    meta: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    weights: Mapping[str, Any] | None = None,
) -> Path:
    """Write model, tokenizer, ``lacy.json`` and model card, replacing the folder atomically.

    Args:
        path: the folder to write or replace.
        model: a model with ``<CALL>`` as its last row.
        tokenizer: its tokenizer, of exactly ``model.config.vocab_size`` tokens.
        meta: additional entries of ``lacy.json``, e.g. ``{"training": {...}, "preset": "1m"}``.
        card: Markdown of the README; None writes a short one.
        weights: the whole weights by name, if the model has only parts of them.

    Raises:
        LacyError: E57, ``<CALL>`` is not the last token of tokenizer and model; E16, ``path``
            contains other files.
    """
    with replace_folder(path) as folder:
        write_model(folder, model, tokenizer, meta, card=card, weights=weights)
    return Path(path)


def write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    meta: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    weights: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of ``save_model`` into a folder that the caller replaces atomically."""
    # transformers cannot change quantized weights back into the layout of an older version of it.
    forbid_call(model)
    as_loaded = {"save_original_format": False} if quantization_of(model) else {}
    with quiet():
        model.save_pretrained(folder, state_dict=weights, **as_loaded)
    write_beside(folder, model, tokenizer, meta, card=card)


def write_beside(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    meta: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
) -> None:
    """Write the files of ``write_model`` except the weights and their config.

    Raises:
        LacyError: E57, ``<CALL>`` is not the last token of tokenizer and model.
    """
    from lacy.corpus import save_tokenizer, tokenizer_fingerprint

    call_id = require_call_last(tokenizer, str(folder))
    if model.config.vocab_size != call_id + 1:
        raise LacyError("E57", path=folder)
    full: dict[str, Any] = {
        "format": FORMAT,
        "lacy": __version__,
        "call_token": CALL_TOKEN,
        "call_id": call_id,
        "vocabulary": call_id + 1,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "context": getattr(model.config, "max_position_embeddings", None),
        "parameters": _parameters(model),
        **(meta or {}),
    }
    with quiet():
        save_tokenizer(tokenizer, folder)
    (folder / META).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card or _short_card(full), encoding="utf-8")


def load_model(
    path: str | Path,
    *,
    context: int | None = None,
    begin: str | None = None,
    verify: bool = True,
) -> Loaded:
    """Load a model by any name: one taught by lacy, or a raw model from elsewhere.

    A model without ``<CALL>`` gets this token in memory, as its last row: token ids and the
    distribution of texts stay the same, and ``Loaded.calls`` is False.

    Args:
        path: a folder of a model or a run, a checkpoint, a GGUF file, a short name (``smollm2``),
            or a name on the Hub; see ``resolve``. A ``peft`` adapter is merged into its base.
        context: number of tokens of the longest text that the caller needs.
        begin: the token that begins every text, if not the one that lacy chooses (or chose when
            the model was trained).
        verify: refuse a tuned ``<CALL>`` row if other weights have changed since it was fitted;
            False for a caller that fits the row again.

    Raises:
        LacyError: E13, no such folder; E55, it contains no model; E56, damaged or incomplete; E57,
            ``<CALL>`` is not its last token; E58, an encoder or an unknown architecture; E59, the
            tokenizer has changed, or ``context`` exceeds the model's; E98, the tokenizer has no
            token ``begin``; E154, no tokenizer; E155, the weights have changed since ``<CALL>`` was
            tuned; E156, an adapter without its base; and the errors of ``resolve`` and
            ``read_model``.
    """
    from lacy.corpus import choose_begin_end

    found = resolve(path)
    place = found if isinstance(found, Path) else download(found, None)
    weights = base_of(place) if (place / ADAPTER).is_file() else place
    check_complete(weights)
    require_causal_lm(weights)
    meta = _read_meta(place)
    files = place if weights == place or _has_tokenizer(place) else weights
    tokenizer = _read_tokenizer(files)
    size = read_model_json(weights / "config.json").get("vocab_size")
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is None and not meta:
        loaded = _load_raw(place, weights, tokenizer, path, begin)
    elif weights != place:
        loaded = _load_adapter(place, weights, tokenizer, meta)
    else:
        if call_id is None or call_id != len(tokenizer) - 1 or (not meta and size != call_id + 1):
            raise LacyError("E57", path=path)
        _check_tokenizer(place, tokenizer, meta, size)
        loaded = Loaded(read_model(place), tokenizer, meta, place)
        freeze_biases(loaded.model)
        known = meta.get(FINGERPRINT)
        if verify and known is not None and known != model_fingerprint(loaded.model):
            raise LacyError("E155", path=path)
    if begin is not None:
        choose_begin_end(loaded.tokenizer, str(path), begin)
    loaded.name = str(path)
    if context is not None:
        require_context(loaded.model, context, path)
    return loaded


def load_beside(place: Path, name: str | Path, *, begin: str | None = None) -> Loaded:
    """Load what ``write_beside`` wrote, for weights that another runtime reads.

    Args:
        place: the folder.
        name: its name for messages.
        begin: the token that begins every text, if not the one that lacy chose.

    Returns:
        A ``Loaded`` without a model.

    Raises:
        LacyError: E56, damaged; E57, ``<CALL>`` is not the last token; E59, the tokenizer has
            changed; E98, it has no token ``begin``; E154, there is no tokenizer.
    """
    from lacy.corpus import choose_begin_end

    meta, tokenizer = _read_meta(place), _read_tokenizer(place)
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is None or call_id != len(tokenizer) - 1:
        raise LacyError("E57", path=name)
    size = read_model_json(place / "config.json").get("vocab_size")
    _check_tokenizer(place, tokenizer, meta, size)
    if begin is not None:
        choose_begin_end(tokenizer, str(name), begin)
    return Loaded(cast(Any, None), tokenizer, meta, place, name=str(name))


def _load_adapter(
    place: Path, base: Path, tokenizer: PreTrainedTokenizerFast, meta: dict[str, Any]
) -> Loaded:
    """Load an adapter that was trained on a model with ``<CALL>``, merged into its base."""
    model = merge_adapter(load_model(base, verify=False).model, place, base)
    _check_tokenizer(place, tokenizer, meta, model.config.vocab_size)
    if meta.get("gate") is not None:
        set_gate(model, meta["gate"])
    return Loaded(model, tokenizer, meta, place)


def _load_raw(
    place: Path,
    weights: Path,
    tokenizer: PreTrainedTokenizerFast,
    name: str | Path,
    begin: str | None,
) -> Loaded:
    """Load a model without ``<CALL>``, and add this token to model and tokenizer.

    Args:
        place: the model's folder, or that of an adapter.
        weights: the folder with the complete weights; the adapter's base.
        tokenizer: as stored; changed in place.
        name: the model's name for messages.
        begin: the begin token, if the user chose one.
    """
    from lacy.corpus import prepare_tokenizer

    notes: list[str] = []
    tokenizer = prepare_tokenizer(tokenizer, str(name), begin=begin, notify=notes.append)
    model = read_model(weights)
    if weights != place:
        model = merge_adapter(model, place, weights)
    require_decoder(model)
    add_call(model, tokenizer)
    return Loaded(model, tokenizer, {}, place, notes=tuple(f"{name}: {note}" for note in notes))


def require_context(model: PreTrainedModel, context: int, path: str | Path, do: str = "") -> None:
    """Raise E59 if texts of ``context`` tokens exceed the model's context length.

    Args:
        model: the model; the config of some families has no limit.
        context: number of tokens of the longest text.
        path: the model's path for the message.
        do: advice for the user; ``{longest}`` is replaced by the model's limit.
    """
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and context > longest:
        raise LacyError(
            "E59",
            path=path,
            why=f"a context of {context} tokens is needed, but it accepts at most {longest}",
            do=do.format(longest=longest),
        )


def _check_tokenizer(
    place: Path, tokenizer: PreTrainedTokenizerFast, meta: Mapping[str, Any], size: int | None
) -> None:
    """Raise E59 unless the weights were trained with this tokenizer."""
    from lacy.corpus import tokenizer_fingerprint

    known = meta.get("tokenizer")
    if size == len(tokenizer) and known in (None, tokenizer_fingerprint(tokenizer)):
        return
    why = "its tokenizer is not the one it was trained with"
    if size != len(tokenizer):
        why += f" ({len(tokenizer)} tokens, {size} rows)"
    do = "put back the tokenizer.json that was saved with it"
    raise LacyError("E59", path=place, why=why, do=do)


def _read_meta(place: Path) -> dict[str, Any]:
    return read_model_json(place / META) if (place / META).exists() else {}


def _read_tokenizer(place: Path) -> PreTrainedTokenizerFast:
    """Load the stored tokenizer unchanged."""
    from lacy.corpus import load_tokenizer_files

    if not _has_tokenizer(place):
        raise LacyError("E154", path=place)
    try:
        with quiet():
            return load_tokenizer_files(place)
    except LacyError:
        raise
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        raise damaged_model(place, f"tokenizer: {first_line(error)}") from error


def _has_tokenizer(place: Path) -> bool:
    """True if a folder contains files of a tokenizer."""
    return any(place.glob("tokenizer*")) or (place / "vocab.json").is_file()


def _parameters(model: PreTrainedModel) -> int:
    """Return the number of weights, without biases that are frozen at zero."""
    quantized = quantization_of(model) is not None  # its integers have no gradient
    return sum(p.numel() for p in model.parameters() if p.requires_grad or quantized)


def _short_card(meta: Mapping[str, Any]) -> str:
    """Return a README for the Hub; used if the caller gives no card."""
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- lacy\n---\n\n"
        "# A small language model that knows when to call\n\n"
        f"{meta['parameters']:,} parameters, context {meta['context'] or 'without limit'}, "
        f"{meta['vocabulary']:,} "
        f"tokens. The last token, `{meta['call_token']}` (id {meta['call_id']}), asks a source to "
        "continue the text; plain decoding should forbid it. Load it with "
        "`transformers.AutoModelForCausalLM`, or with `lacy.load_model` to have calls answered.\n"
    )
