"""Models on disk: a plain ``transformers`` folder with ``lacy.json`` beside the weights.

``AutoModelForCausalLM.from_pretrained(folder)`` opens it without us. ``lacy.json`` says what plain
tools need not know: the id of ``<CALL>``, which tokenizer the weights were trained with, how they
were trained. What changes the way logits are read stands in ``config.json`` (``lacy_gate``).
Saving replaces the folder as a whole; loading refuses anything that is not whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy import __version__
from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.run import replace_folder
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

META = "lacy.json"
FORMAT = 1
"""Version of ``lacy.json``; raised when a field changes its meaning."""


@dataclass(slots=True)
class Loaded:
    """A model with its tokenizer and what ``lacy.json`` says about them."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def call_id(self) -> int:
        """The id of ``<CALL>``, always the last."""
        return len(self.tokenizer) - 1

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        return int(self.model.config.max_position_embeddings)


def save(
    path: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    meta: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
) -> Path:
    """Write model, tokenizer, ``lacy.json`` and card; the old folder stays until the new is whole.

    Args:
        path: the folder to write or replace.
        model: with ``<CALL>`` as its last row.
        tokenizer: of exactly ``model.config.vocab_size`` tokens.
        meta: what else to keep, e.g. ``{"training": {...}, "preset": "1m"}``.
        card: the README's Markdown; ``None`` writes a short one.

    Raises:
        LacyError: E57 if tokenizer and model do not end with ``<CALL>``, E16 if ``path`` holds
            other things.
    """
    with replace_folder(path) as folder:
        write_model(folder, model, tokenizer, meta, card=card)
    return Path(path)


def write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    meta: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
) -> None:
    """What ``save`` does, into a folder that the caller makes appear as a whole (a checkpoint)."""
    from lacy.corpus import tokenizer_fingerprint
    from lacy.model.building import require_call_last

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
        "context": int(model.config.max_position_embeddings),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        **(meta or {}),
    }
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / META).write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card or _short_card(full), encoding="utf-8")


def load(path: str | Path, *, context: int | None = None) -> Loaded:
    """Open a model trained by us: its folder, its run's folder, or one of its checkpoints.

    Args:
        path: the folder.
        context: the longest text the caller will need, in tokens.

    Raises:
        LacyError: E13 no such folder, E55 no model in it, E56 damaged or half written, E57 without
            ``<CALL>``, E59 the tokenizer was changed since, or ``context`` exceeds the model's.
    """
    from lacy.model.building import freeze_biases

    place = resolve(path)
    if not isinstance(place, Path):
        raise LacyError("E13", path=path, do="give the folder of a model or of a training run")
    _check_whole(place)
    meta = _read_meta(place)
    tokenizer = _read_tokenizer(place)
    config = _read_json(place / "config.json")
    size = config.get("vocab_size")
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is None or call_id != len(tokenizer) - 1 or (not meta and size != call_id + 1):
        raise LacyError("E57", path=path)
    _check_tokenizer(place, tokenizer, meta, size)
    model = read_model(place)
    freeze_biases(model)
    loaded = Loaded(model, tokenizer, meta, place)
    if context is not None:
        require_context(model, context, path)
    return loaded


def require_context(model: PreTrainedModel, context: int, path: str | Path) -> None:
    """Raise E59 if texts of ``context`` tokens are longer than the model was made for."""
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and context > longest:
        raise LacyError(
            "E59",
            path=path,
            why=f"a context of {context} tokens was asked for, it takes at most {longest}",
            do=f"use --context {longest} or less, or train a model with a longer context",
        )


def resolve(path: str | Path) -> Path | str:
    """The folder that holds the weights: ``path``, its ``model``, or its newest checkpoint.

    A text that names no folder here is returned as it is: a name on the Hub.

    Raises:
        LacyError: E55 for a folder without a model, E13 for a path that cannot be a Hub name.
    """
    folder = Path(path)
    if not folder.exists():
        text = str(path)
        if isinstance(path, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise LacyError("E13", path=path, do="check the spelling")
        return text
    checkpoints = sorted((folder / "checkpoints").glob("step-*"), reverse=True)
    for place in (folder, folder / "model", *checkpoints):
        if (place / "config.json").is_file():
            return place
    why = "it is a file" if folder.is_file() else "no config.json in it"
    do = "give the folder of a model or of a training run"
    raise LacyError("E55", path=path, why=why, do=do)


def read_model(place: Path | str, *, revision: str | None = None) -> PreTrainedModel:
    """The weights of a folder or Hub name in fp32, every one of them read from the file.

    ``transformers`` fills in what a file lacks with random numbers and a warning; here that is E56.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if isinstance(place, Path):
        _check_whole(place)
    try:
        with _quiet():
            opened: Any = AutoModelForCausalLM.from_pretrained(
                place,
                revision=revision or "main",
                dtype=torch.float32,
                attn_implementation="sdpa",
                use_safetensors=True,
                output_loading_info=True,
            )
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise LacyError("E56", path=place, why=_first_line(error)) from error
    except (OSError, ValueError) as error:
        do = "check the name; a model on the Hub must be a causal one with safetensors"
        raise LacyError("E55", path=place, why=_first_line(error), do=do) from error
    model, info = opened
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if lacking:
        raise LacyError("E56", path=place, why=f"{len(lacking)} weights missing, e.g. {lacking[0]}")
    result: PreTrainedModel = model
    return result


def _check_whole(place: Path) -> None:
    """Raise E55/E56 unless config and every weight file are there and of their full length."""
    from safetensors import SafetensorError, safe_open

    _read_json(place / "config.json")
    index = place / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(_read_json(index).get("weight_map", {}).values())
    elif not (place / "model.safetensors").exists() and list(place.glob("*.bin")):
        do = "convert it to safetensors; pickled weights can run code and are not opened"
        raise LacyError("E55", path=place, why="it holds only pickled weights", do=do)
    for name in sorted(names):
        try:
            with safe_open(place / name, framework="pt"):
                pass
        except FileNotFoundError:
            raise LacyError("E56", path=place, why=f"{name} is missing") from None
        except (SafetensorError, OSError) as error:
            raise LacyError("E56", path=place, why=f"{name}: {_first_line(error)}") from error


def _check_tokenizer(
    place: Path, tokenizer: PreTrainedTokenizerFast, meta: Mapping[str, Any], size: int | None
) -> None:
    """Raise E59 unless the tokenizer beside the weights is the one they were trained with."""
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
    return _read_json(place / META) if (place / META).exists() else {}


def _read_tokenizer(place: Path) -> PreTrainedTokenizerFast:
    """The tokenizer as it lies there, nothing added."""
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer: Any = AutoTokenizer.from_pretrained(place, use_fast=True)
    except Exception as error:  # tokenizers raises bare Exception for a broken file
        raise LacyError("E56", path=place, why=f"tokenizer: {_first_line(error)}") from error
    opened: PreTrainedTokenizerFast = tokenizer
    return opened


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LacyError(
            "E56", path=file.parent, why=f"{file.name}: {_first_line(error)}"
        ) from error
    if not isinstance(content, dict):
        raise LacyError("E56", path=file.parent, why=f"{file.name} is not an object")
    return content


def _short_card(meta: Mapping[str, Any]) -> str:
    """A README for the Hub where the run wrote none."""
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- lacy\n---\n\n"
        "# A small language model that knows when to call\n\n"
        f"{meta['parameters']:,} parameters, context {meta['context']}, {meta['vocabulary']:,} "
        f"tokens. The last token, `{meta['call_token']}` (id {meta['call_id']}), says that a "
        "source should speak; plain decoding should forbid it. Load it with "
        "`transformers.AutoModelForCausalLM`, or with `lacy.load_model` to have calls answered.\n"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or notes from ``transformers``; what matters we raise ourselves."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
