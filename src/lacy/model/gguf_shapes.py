"""The architectures that llama.cpp and ``transformers`` compute identically.

Each entry says how one ``model_type`` is written: its name in llama.cpp, its fields, and the
changes to its weights. ``tests/model/test_gguf_shapes.py`` compares the log-probabilities of each
with those of llama.cpp. Settings that change the computation but have no field are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.errors import LacyError
from lacy.model.gguf_blocks import BlockMatrix

Array = NDArray[np.float32]

_ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3",
    "gemma3_text": "gemma3", "phi3": "phi3", "gpt2": "gpt2",
}  # fmt: skip
"""llama.cpp's name of each ``model_type``."""

_GEMMA_PERIOD = 6
"""In Gemma 3, each sixth layer has full attention; llama.cpp assumes it."""

_LOCAL_THETA = 10_000.0
"""Base of the rotary embeddings in Gemma 3's other layers; llama.cpp assumes it."""


@dataclass(frozen=True)
class Shape:
    """How one model is written as GGUF."""

    arch: str
    """llama.cpp's name of the architecture."""
    config: Any
    names: Any
    """gguf's map from names of weights in ``transformers`` to names in GGUF."""

    def add_fields(self, writer: Any) -> None:
        """Write the numbers that describe the model."""
        config = self.config
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_head_count(config.num_attention_heads)
        if self.arch == "gpt2":
            writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
            writer.add_layer_norm_eps(config.layer_norm_epsilon)
            return
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        head = _head_size(config)
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_rope_dimension_count(head)
        writer.add_rope_freq_base(_rope(config)["rope_theta"])
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        if self.arch == "gemma3":
            writer.add_sliding_window(config.sliding_window)
        if self.arch == "phi3":
            writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)

    def convert(self, key: str, weight: Array) -> tuple[str, Array]:
        """Return the name and the values of a weight in GGUF."""
        name: str = self.names.get_name(key, try_suffixes=(".weight", ".bias"))
        if self.arch == "llama":
            # Its rotary embedding pairs adjacent dimensions; transformers pairs the two halves.
            if "q_proj" in key:
                weight = _interleaved(weight, self.config.num_attention_heads)
            elif "k_proj" in key:
                weight = _interleaved(weight, self.config.num_key_value_heads)
        elif self.arch == "gemma3" and key.endswith("norm.weight"):
            weight = weight + 1.0  # transformers multiplies by 1 + weight
        elif self.arch == "gpt2" and weight.ndim == 2 and ".h." in key:
            weight = weight.T  # Conv1D
        return name, weight

    def convert_blocks(self, key: str, blocks: BlockMatrix) -> tuple[str, BlockMatrix]:
        """Return the name of a matrix in GGUF, and its blocks with rows in llama.cpp's order.

        Only rows change places, so that blocks, which are parts of rows, stay as they are.
        """
        rows = np.arange(len(blocks.codes_OI), dtype=np.float32)[:, None]
        square = rows if self.arch != "gpt2" else rows.T  # which ``convert`` transposes
        name, order = self.convert(key, square)
        return name, blocks.in_order(torch.from_numpy(order.ravel().astype(np.int64)))


def shape_of(model: Any, where: str | Path) -> Shape:
    """Return how a model is written.

    Raises:
        LacyError: E90, llama.cpp would compute something else, or does not know the architecture.
    """
    import gguf

    config = model.config
    arch = _ARCHITECTURES.get(config.model_type)
    if arch is None:
        known = ", ".join(_ARCHITECTURES)
        raise _unwritable(where, f"its model_type is {config.model_type}; supported are {known}")
    checks = {"gpt2": _gpt2, "gemma3": _gemma3}.get(arch, _rotary)
    for what, plain in checks(config).items():
        if not plain:
            raise _unwritable(where, f"it has {what}, which lacy cannot write")
    kind = gguf.MODEL_ARCH[arch.upper()]
    return Shape(arch, config, gguf.get_tensor_name_map(kind, config.num_hidden_layers))


def _rotary(config: Any) -> dict[str, bool]:
    """Return the requirements of Llama and similar models, by a description of each violation."""
    qwen = config.model_type in ("qwen2", "qwen3")
    windows = getattr(config, "layer_types", None) or []
    full = all(kind == "full_attention" for kind in windows)
    if config.model_type in ("mistral", "phi3"):
        window = config.sliding_window
        full = window is None or window >= config.max_position_embeddings
    biases = [getattr(config, f"{part}_bias", False) for part in ("attention", "mlp")]
    return {
        "biases": not any(biases),
        f"activation {config.hidden_act}": config.hidden_act == "silu",
        "a sliding window": full and not (qwen and getattr(config, "use_sliding_window", False)),
        **_plain_rope(_rope(config)),
    }


def _gemma3(config: Any) -> dict[str, bool]:
    ropes = config.rope_parameters
    local, scale = ropes["sliding_attention"], config.query_pre_attn_scalar
    kinds = [kind == "full_attention" for kind in config.layer_types]
    wanted = [n % _GEMMA_PERIOD == _GEMMA_PERIOD - 1 for n in range(len(kinds))]
    activation = config.hidden_activation
    return {
        "biases": not config.attention_bias,
        f"activation {activation}": activation == "gelu_pytorch_tanh",
        f"attention layers other than each {_GEMMA_PERIOD}th": kinds == wanted,
        f"attention scale {scale}": scale == config.head_dim,
        "attention in both directions": not getattr(config, "use_bidirectional_attention", False),
        "capped logits": not (config.final_logit_softcapping or config.attn_logit_softcapping),
        f"local rope_theta {local['rope_theta']}": local["rope_theta"] == _LOCAL_THETA,
        **_plain_rope(ropes["full_attention"]),
        **_plain_rope(local),
    }


def _gpt2(config: Any) -> dict[str, bool]:
    act = config.activation_function
    return {
        f"activation {act}": act in ("gelu_new", "gelu_pytorch_tanh"),
        "unscaled attention": config.scale_attn_weights,
        "attention scaled by layer": not config.scale_attn_by_inverse_layer_idx,
        "cross-attention": not config.add_cross_attention,
    }


def _plain_rope(rope: Mapping[str, Any]) -> dict[str, bool]:
    plain = {f"positions {rope.get('rope_type')}": rope.get("rope_type", "default") == "default"}
    whole = rope.get("partial_rotary_factor", 1.0) == 1.0
    known = ("rope_type", "rope_theta", "partial_rotary_factor")
    return (
        plain
        | {"rotary embeddings of only a part of each head": whole}
        | {f"position setting {name}": name in known for name in rope}
    )


def _rope(config: Any) -> dict[str, Any]:
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    return rope.get("full_attention", rope)


def _head_size(config: Any) -> int:
    head: int | None = getattr(config, "head_dim", None)
    return head or config.hidden_size // config.num_attention_heads


def _interleaved(weight: Array, heads: int) -> Array:
    """Interleave the two halves of each head's rows."""
    rows = len(weight) // heads // 2
    halves = weight.reshape(heads, 2, rows, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _unwritable(where: str | Path, why: str) -> LacyError:
    """Return the error E90 for GGUF."""
    return LacyError("E90", path=where, to="gguf", why=why)
