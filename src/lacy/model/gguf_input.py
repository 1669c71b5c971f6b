"""Read GGUF models: dequantise a file once and cache it as a plain ``transformers`` folder.

``transformers`` reads GGUF, but slowly, and its model cannot be saved, because its config says that
it is quantised. So the weights are converted once, into a folder named after the file's content.
The folder is built beside its final place and renamed, so an interrupted conversion leaves nothing
behind.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import logging
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lacy._text import first_line
from lacy.disk import cache_folder, lock, replace_folder, write_atomic
from lacy.errors import LacyError
from lacy.model.files import META
from lacy.model.gguf_reader import read_header, shared_header
from lacy.model.weights import quiet, require_finite
from lacy.types import CALL_TOKEN

CONVERSION = 3
"""Version of the conversion; part of the folder's name, so that a new version converts again."""

_SCALE_IS_SET = {"gemma2": 46, "gemma3_text": 62}
"""Models whose attention scale is a setting, and the number of layers of those whose scale depends
on the width instead of the size of a head (27B)."""

_LOG = logging.getLogger(__name__)


def is_gguf(file: Path) -> bool:
    """True if a file is a GGUF file, by its ending or its first bytes."""
    if not file.is_file():
        return False
    with contextlib.suppress(OSError), file.open("rb") as opened:
        return file.suffix == ".gguf" or opened.read(4) == b"GGUF"
    return file.suffix == ".gguf"


def gguf_folder(file: Path) -> Path:
    """Return a ``transformers`` folder with the dequantised weights of a GGUF file.

    The folder lies in ``cache_folder()`` and is written if it does not exist. The weights are fp32
    and exactly those of the file; tokenizer and chat template are the file's own.

    Raises:
        LacyError: E134, the file is incomplete or its architecture, quantisation or tokenizer
            cannot be read; E19, the disk is full.
    """
    place = cache_folder() / "gguf" / f"{_content_key(file)}-{CONVERSION}"
    if (place / "config.json").is_file():
        return place
    with lock(place.parent, name=f".{place.name}.lock", wait=math.inf):
        if (place / "config.json").is_file():  # another process was faster
            return place
        reader = _open(file)
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        _LOG.warning(
            "Converting %s (%.0f MB, once) into %s: %s million parameters, %.0f MB",
            file.name, file.stat().st_size / 1e6, place, f"{parameters / 1e6:,.0f}",
            4 * parameters / 1e6,
        )  # fmt: skip
        with replace_folder(place) as folder:
            _convert(file, reader, folder)
    return place


def _content_key(file: Path) -> str:
    """Return 16 hex digits of the file's content."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    except OSError as error:
        raise _unreadable(file, first_line(error)) from error


def _open(file: Path) -> Any:
    """Return the header and tensors of a complete GGUF file that can be read.

    Raises:
        LacyError: E134, it cannot be read.
    """
    try:
        import gguf
    except ImportError as error:
        why = "the package gguf is missing"
        raise _unreadable(file, why, 'pip install "lacy[gguf]"') from error
    try:
        reader = read_header(file)
    except Exception as error:  # damaged headers raise exceptions of any class
        why = f"it is damaged or not fully downloaded ({first_line(error)})"
        raise _unreadable(file, why, "download or copy the file again") from error
    for tensor in {tensor.tensor_type: tensor for tensor in reader.tensors}.values():
        try:
            gguf.quants.dequantize(tensor.data[:1], tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            why = f"the package gguf cannot decode the quantisation {kind} of {tensor.name}"
            raise _unreadable(file, why) from error
    if not any(tensor.n_elements for tensor in reader.tensors):
        raise _unreadable(file, "it contains no weights", "give the file of a language model")
    if "split.count" in reader.fields and int(reader.fields["split.count"].contents()) > 1:
        do = "join the parts first: llama-gguf-split --merge"
        raise _unreadable(file, "it is one of several parts", do)
    return reader


def _convert(file: Path, reader: Any, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a plain folder.

    On a terminal, the progress bar of ``transformers`` shows how many tensors are dequantised.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from lacy.model.gguf_gate import restore_call
    from lacy.model.origin import FIELD, read_training_field

    shown = sys.stderr if sys.stderr.isatty() else io.StringIO()
    with _named_plainly(file) as (beside, name):
        try:
            with quiet(), contextlib.redirect_stderr(shown), shared_header(reader):
                tokenizer: Any = _tokenizer_class(reader).from_pretrained(beside, gguf_file=name)
                config: Any = AutoConfig.from_pretrained(beside, gguf_file=name)
                for ours, size in _sizes_not_read(reader).items():
                    setattr(config, ours, size)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    beside, gguf_file=name, config=config
                )
        except Exception as error:  # unknown architectures and odd metadata: of any class
            raise _unreadable(file, f"transformers cannot read it ({first_line(error)})") from error
    require_finite(model, file)
    _complete_config(model.config, reader, file)
    restore_call(model, tokenizer)
    calls = CALL_TOKEN in tokenizer.get_vocab()
    meta = read_training_field(model, _setting(reader, FIELD)) if calls else {}
    plain = _without_quantisation(model)
    with quiet():
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if meta:
        write_atomic(folder / META, json.dumps(meta) + "\n")


def _tokenizer_class(reader: Any) -> Any:
    """Return the class that reads a file's tokenizer.

    The class of Gemma's models expects Gemma's own tokenizer, and adds tokens to any other.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    gemma = reader.fields["general.architecture"].contents().startswith("gemma")
    own = _setting(reader, "tokenizer.ggml.model") != "gpt2"
    return PreTrainedTokenizerFast if gemma and not own else AutoTokenizer


_SIZES = {
    "gpt2": {"n_positions": "context_length", "n_inner": "feed_forward_length"},
    "qwen2": {"head_dim": "attention.key_length"},
    "qwen3": {"head_dim": "attention.key_length"},
}
"""Sizes of tensors that ``transformers`` does not read from a header, by architecture; without
them, tensors fit only if they have the sizes of the published models."""


def _sizes_not_read(reader: Any) -> dict[str, Any]:
    """Return these sizes of a file."""
    arch = reader.fields["general.architecture"].contents()
    found = {
        ours: _setting(reader, f"{arch}.{name}") for ours, name in _SIZES.get(arch, {}).items()
    }
    return {name: value for name, value in found.items() if value}


def _complete_config(config: Any, reader: Any, file: Path) -> None:
    """Set what ``transformers`` does not read from a file: attention scale and scaled positions.

    Scaled positions other than ``linear`` have no equal in ``transformers``; the user is warned.
    """
    arch = reader.fields["general.architecture"].contents()
    if config.model_type in _SCALE_IS_SET:  # llama.cpp's rule, too
        by_width = config.num_hidden_layers == _SCALE_IS_SET[config.model_type]
        width = config.hidden_size // config.num_attention_heads
        config.query_pre_attn_scalar = width if by_width else config.head_dim
    read_by_transformers = arch.startswith(("gpt-oss", "gpt_oss", "qwen35", "lfm2"))
    ropes = getattr(config, "rope_parameters", None)
    if not ropes or read_by_transformers:
        return
    kind = _setting(reader, f"{arch}.rope.scaling.type") or "none"
    factor = float(_setting(reader, f"{arch}.rope.scaling.factor") or 1.0)
    factors = [tensor.data for tensor in reader.tensors if tensor.name == "rope_freqs.weight"]
    if kind == "linear" and factor != 1.0:
        rope = ropes.get("full_attention", ropes)
        rope.update(rope_type="linear", factor=factor)
    elif kind not in ("none", "linear") or any((data != 1.0).any() for data in factors):
        kind = kind if kind != "none" else "by frequency"
        _LOG.warning(
            "%s has scaled positions (%s), which are ignored here: its texts may be worse than "
            "those of its transformers folder, above all long ones", file.name, kind,
        )  # fmt: skip


def _setting(reader: Any, name: str) -> Any:
    """Return a value of the header; None if it is missing."""
    return reader.fields[name].contents() if name in reader.fields else None


def _without_quantisation(model: Any) -> Any:
    """Return a model with the same weights whose config does not mention quantisation."""
    import torch

    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    with torch.device("meta"):
        plain = type(model)._from_config(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


@contextlib.contextmanager
def _named_plainly(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the folder and name of the file in a folder with nothing else.

    ``transformers`` would also read the ``tokenizer.json`` of another model that lies beside it.
    """
    temporary = tempfile.mkdtemp(prefix="lacy-gguf-")
    try:
        os.symlink(file.resolve(), Path(temporary) / "model.gguf")
        yield temporary, "model.gguf"
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unreadable(file: Path, why: str, do: str = "") -> LacyError:
    """Return the error E134."""
    advice = "use another file of the model (F16, Q8_0, Q4_K_M), or its transformers folder"
    return LacyError("E134", path=file, why=why, do=do or advice)
