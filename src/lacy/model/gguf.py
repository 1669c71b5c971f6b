"""Write a model as one GGUF file for llama.cpp and tools based on it.

Only models that llama.cpp computes identically are written: Llama's architecture with byte-level
BPE. Rows of query and key weights are permuted, because llama.cpp's rotary embedding pairs adjacent
dimensions, while ``transformers`` pairs the two halves. Token ids do not change. ``<CALL>`` is a
*user-defined* token, because servers show its text and can stop at it; they hide control tokens.

Anything that llama.cpp has no field for, or would interpret differently, is refused: a server that
does not stop at the end of an answer is worse than no server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lacy._require import require_one_of, require_package
from lacy.corpus import begin_end, turn_end
from lacy.disk import replace_file
from lacy.errors import LacyError
from lacy.model.ends import end_ids
from lacy.model.forward import gate_of
from lacy.model.io import Loaded

Precision = Literal["f32", "f16", "q8_0"]
"""Precision of the weights: 4 bytes, 2 bytes, or about 1 byte each (blocks of 32 with a scale)."""

_ROPE = ("rope_type", "rope_theta")
"""Settings of rotary position embeddings that are exported."""

_BLOCK = 32
"""Weights per scale in ``q8_0``; rows stay ``f16`` if their length is not a multiple of this."""

_DIGITS = {"type": "Digits", "individual_digits": True}
_PROBE = "In 1879 she'll  owe $1,234.50 — naïve?\n\n\t東京 x_y <CALL>"
"""Probe text; the tokenizer must not normalize it before splitting."""

_UNUSED = "<|unused_"


def write_gguf(loaded: Loaded, out: str | Path, precision: Precision = "f16") -> Path:
    """Write a model and its tokenizer as GGUF atomically.

    Args:
        loaded: a model from ``lacy.model.load_model``.
        out: the file to write or replace.
        precision: precision of the matrices; norms are always ``f32``.

    Raises:
        LacyError: E11, the package ``gguf`` is not installed; E12, unknown precision; E90,
            llama.cpp would interpret the model or tokenizer differently.
    """
    require_one_of("precision", precision, get_args(Precision))
    require_package("gguf", "gguf", "GGUF")
    import gguf

    where = loaded.path or "memory"
    _require_llama(loaded.model, where)
    out = Path(out)
    with replace_file(out) as half:
        writer = gguf.GGUFWriter(half, "llama")
        _add_shape(writer, gguf, loaded, precision)
        _add_tokens(writer, gguf, loaded.model, loaded.tokenizer, where)
        for name, weight in _tensors(loaded.model, gguf):
            kind = _kind(gguf, weight, precision)
            _require_room(gguf, name, weight, kind, where)
            writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def _require_llama(model: Any, where: str | Path) -> None:
    """Raise E90 unless llama.cpp's ``llama`` architecture computes the same as this model."""
    config = model.config
    if gate_of(model) == "sigmoid":
        why = (
            "its <CALL> is a separate gate (call_negative: sigmoid), which servers cannot "
            "tell from other tokens; train with call_negative: softmax"
        )
        raise _unwritable(where, why)
    if config.model_type != "llama":
        raise _unwritable(where, f"it is of kind {config.model_type}, not llama")
    rope = getattr(config, "rope_parameters", None) or {}
    wanted = {
        "biases": not (config.attention_bias or config.mlp_bias),
        f"activation {config.hidden_act}": config.hidden_act == "silu",
        f"positions {rope.get('rope_type')}": rope.get("rope_type", "default") == "default",
    }
    wanted |= {f"position setting {name}": name in _ROPE for name in rope}
    for what, plain in wanted.items():
        if not plain:
            raise _unwritable(where, f"it has {what}, which is not written")


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
    """Interleave the two halves of each head's rows."""
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
    """Raise E90 if a weight exceeds the range of half precision (65,504)."""
    largest = np.finfo(np.float16).max
    if kind == gguf.GGMLQuantizationType.F16 and weight.size and np.abs(weight).max() > largest:
        raise _unwritable(where, f"{name} has numbers beyond {largest:g}; use --precision f32")


def pre_tokenizer(tokenizer: Any, where: str | Path = "memory") -> str:
    """Return llama.cpp's name for a tokenizer's pre-tokenization.

    Raises:
        LacyError: E90, llama.cpp would split texts differently.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE":
        why = f"its tokenizer is {model['type']}; only byte-level BPE has the same ids there"
        raise _unwritable(where, why)
    normalizer = tokenizer.backend_tokenizer.normalizer
    changed = normalizer is not None and normalizer.normalize_str(_PROBE) != _PROBE
    parts = (state["pre_tokenizer"] or {}).get("pretokenizers", [state["pre_tokenizer"]])
    *before, last = [part or {} for part in parts]
    bytewise = last.get("type") == "ByteLevel" and not last.get("add_prefix_space")
    # Without merges, all tokens are single bytes, so pre-tokenization does not matter.
    cut = last.get("use_regex", True) or not model["merges"]
    if changed or not bytewise or not cut or before not in ([], [_DIGITS]):
        raise _unwritable(where, "its tokenizer cuts texts in a way that llama.cpp has no name for")
    own_rules = ("ignore_merges", "continuing_subword_prefix", "end_of_word_suffix", "dropout")
    if rules := [rule for rule in own_rules if model.get(rule) and model["merges"]]:
        raise _unwritable(where, f"its tokenizer merges bytes differently ({', '.join(rules)})")
    for token in tokenizer.added_tokens_decoder.values():
        strict = token.single_word or token.lstrip or token.rstrip
        if not token.special and strict:
            raise _unwritable(where, f"its token {token.content!r} takes the spaces around it")
    return "smollm" if before else "gpt-2"


def _add_tokens(writer: Any, gguf: Any, model: Any, tokenizer: Any, where: str | Path) -> None:
    """Write vocabulary, merges, special tokens and chat template; ids do not change.

    Raises:
        LacyError: E90, llama.cpp would interpret something differently or has no field for it.
    """
    pre = pre_tokenizer(tokenizer, where)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    writer.add_token_types(_token_types(gguf, tokenizer))
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(begin_end(tokenizer)[0])
    for add, number in zip(
        (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id),
        _end_tokens(model, tokenizer, where),
        strict=False,
    ):
        add(number)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(True)  # every training text began with this token
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(_template(tokenizer, where))


def _unwritable(where: str | Path, why: str) -> LacyError:
    """Return the error E90 for GGUF."""
    return LacyError("E90", path=where, to="gguf", why=why)


def _token_types(gguf: Any, tokenizer: Any) -> list[int]:
    """Return the type of every token.

    ``<CALL>`` is user-defined: llama.cpp's servers show such tokens and can stop at them, while
    control tokens have an empty text.
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


def _end_tokens(model: Any, tokenizer: Any, where: str | Path) -> list[int]:
    """Return up to three end tokens: end of text, end of turn and one more."""
    ends = end_ids(tokenizer, model)
    first = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else begin_end(tokenizer)[1]
    turn = turn_end(tokenizer)
    others = sorted(ends - {first}, key=lambda n: (n != turn, n))
    if len(others) > 2:
        names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens([first, *others])))
        why = f"{len(ends)} tokens end its texts ({names}); a GGUF file names three at most"
        raise _unwritable(where, why)
    return [first, *others]


def _template(tokenizer: Any, where: str | Path) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        raise _unwritable(where, "it has several chat templates, and none of them is the default")
    return template
