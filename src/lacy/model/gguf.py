"""Write a model as one GGUF file, for llama.cpp and tools built on it.

Only models that llama.cpp computes in the same way are written: Llama's architecture with
byte-level BPE. Rows of query and key weights are permuted, because llama.cpp's rotary embedding
pairs neighbouring dimensions and that of ``transformers`` pairs halves. Token ids do not change.
``<CALL>`` is a *user-defined* token, whose text a server shows and can stop at (it would hide a
control token).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lacy.disk import replace_file
from lacy.errors import LacyError
from lacy.model.forward import gate_of
from lacy.model.gguf_tokens import add_tokens, unwritable
from lacy.model.io import Loaded

Precision = Literal["f32", "f16", "q8_0"]
"""Precision of the weights: 4 bytes, 2 bytes, or about 1 byte each (blocks of 32 with a scale)."""

_ROPE = ("rope_type", "rope_theta")
"""Settings of rotary position embeddings that are exported."""

_BLOCK = 32
"""Weights per scale in ``q8_0``; rows whose length is no multiple of it stay ``f16``."""


def write_gguf(loaded: Loaded, out: str | Path, precision: Precision = "f16") -> Path:
    """Write a model and its tokenizer as GGUF; the file is complete or absent.

    Args:
        loaded: as from ``lacy.model.load_model``.
        out: the file to write or replace.
        precision: precision of the matrices; norms are always ``f32``.

    Raises:
        LacyError: E11 without the package ``gguf``, E12 for an unknown precision, E90 for a model
            or tokenizer that llama.cpp would interpret differently.
    """
    if precision not in get_args(Precision):
        do = f"choose one of: {', '.join(get_args(Precision))}"
        raise LacyError("E12", key="precision", value=precision, why="there is no such kind", do=do)
    gguf = _package()
    where = loaded.path or "memory"
    _require_llama(loaded.model, where)
    out = Path(out)
    with replace_file(out) as half:
        writer = gguf.GGUFWriter(half, "llama")
        _add_shape(writer, gguf, loaded, precision)
        add_tokens(writer, gguf, loaded.model, loaded.tokenizer, where)
        for name, weight in _tensors(loaded.model, gguf):
            kind = _kind(gguf, weight, precision)
            _require_room(gguf, name, weight, kind, where)
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def _package() -> ModuleType:
    try:
        import gguf
        import gguf.quants
    except ModuleNotFoundError as error:
        raise LacyError("E11", extra_for="GGUF", package="gguf", extra="gguf") from error
    module: ModuleType = gguf
    return module


def _require_llama(model: Any, where: str | Path) -> None:
    """Raise E90 unless llama.cpp's ``llama`` computes the same as this model."""
    config = model.config
    if gate_of(model) == "sigmoid":
        why = (
            "its <CALL> is a separate gate (call_negative: sigmoid), which servers cannot "
            "tell from other tokens; train with call_negative: softmax"
        )
        raise unwritable(where, why)
    if config.model_type != "llama":
        raise unwritable(where, f"it is of kind {config.model_type}, not llama")
    rope = getattr(config, "rope_parameters", None) or {}
    wanted = {
        "biases": not (config.attention_bias or config.mlp_bias),
        f"activation {config.hidden_act}": config.hidden_act == "silu",
        f"positions {rope.get('rope_type')}": rope.get("rope_type", "default") == "default",
    }
    wanted |= {f"position setting {name}": name in _ROPE for name in rope}
    for what, plain in wanted.items():
        if not plain:
            raise unwritable(where, f"it has {what}, which is not written")


def _add_shape(writer: Any, gguf: Any, loaded: Loaded, precision: Precision) -> None:
    config: Any = loaded.model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(loaded.path.name if loaded.path else "lacy")
    writer.add_description("A small language model that calls a source by the token <CALL>")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    kinds = gguf.LlamaFileType
    file_types = {"f32": kinds.ALL_F32, "f16": kinds.MOSTLY_F16, "q8_0": kinds.MOSTLY_Q8_0}
    writer.add_file_type(file_types[precision])
    if precision == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _tensors(model: Any, gguf: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield names and weights as llama.cpp expects them, in float32."""
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data: NDArray[np.float32] = weight.detach().float().cpu().numpy()
        if name.endswith("q_proj.weight"):
            data = _permuted(data, config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            data = _permuted(data, config.num_key_value_heads)
        yield names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(data)


def _permuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Interleave the two halves of the rows of each head."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def _kind(gguf: Any, weight: NDArray[np.float32], precision: Precision) -> Any:
    kinds = gguf.GGMLQuantizationType
    if weight.ndim == 1 or precision == "f32":
        return kinds.F32
    whole = precision == "q8_0" and weight.shape[-1] % _BLOCK == 0
    return kinds.Q8_0 if whole else kinds.F16


def _require_room(
    gguf: Any, name: str, weight: NDArray[np.float32], kind: Any, where: str | Path
) -> None:
    """Raise E90 if a weight is too large for half precision (more than 65,504)."""
    largest = np.finfo(np.float16).max
    if kind == gguf.GGMLQuantizationType.F16 and weight.size and np.abs(weight).max() > largest:
        raise unwritable(where, f"{name} has numbers beyond {largest:g}; use --precision f32")
