"""Write a model as one GGUF file for llama.cpp and tools based on it.

Only models that llama.cpp computes identically are written; ``gguf_shapes`` lists the
architectures and ``gguf_tokens`` the tokenizers. Token ids do not change. Anything that llama.cpp
has no field for, or would interpret differently, is refused: a server that does not stop at the end
of an answer is worse than no server.

A ``<CALL>`` that competes in the softmax ends the generation of any client, as an end token does.
A separate gate (``config.lacy_gate``) needs one more row, see ``gguf_gate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from lacy._require import require_one_of, require_package
from lacy.disk import replace_file
from lacy.errors import LacyError
from lacy.model.forward import gate_of, taught_to_call
from lacy.model.gguf_blocks import BLOCK, BLOCK_TYPES, BlockKind, BlockMatrix
from lacy.model.gguf_gate import REFERENCE_TOKEN, gate_rows
from lacy.model.gguf_shapes import Shape, shape_of
from lacy.model.gguf_tokens import add_tokens
from lacy.model.io import Loaded
from lacy.model.origin import FIELD, training_field
from lacy.model.quantized import require_unquantized
from lacy.types import CALL_TOKEN

GgufPrecision = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "iq4_nl", "q4_0"]
"""Precision of the weights: 4 bytes, 2 bytes, or about 1, 0.7 or 0.6 bytes each (``gguf_blocks``).
With 5 and 4 bits, embedding and head are ``q8_0``, because the head with its ``<CALL>`` row loses
most accuracy; rows that are no multiple of a block are ``f16``."""

_SPLIT = (slice(None, -1), slice(-1, None))
"""The rows of a table without ``<CALL>``, and its row."""

_TABLES = ("token_embd.weight", "output.weight")
"""GGUF names of embedding and head."""


def write_gguf(
    loaded: Loaded,
    out: str | Path,
    precision: GgufPrecision = "f16",
    texts: Sequence[str] = (),
    *,
    blocks: Mapping[str, BlockMatrix] | None = None,
) -> Path:
    """Write a model and its tokenizer as GGUF atomically.

    Args:
        loaded: a model from ``lacy.model.load_model``.
        out: the file to write or replace.
        precision: precision of the matrices; norms and biases are always ``f32``.
        texts: for a model with a separate gate, texts like those that it will write (see
            ``gguf_gate.gate_rows``); by default texts of a made-up world.
        blocks: matrices that are already in blocks, by their names in ``model.state_dict()``; they
            are written as they are, except the ``<CALL>`` row of embedding and head, which is
            rounded from the model's own. ``precision`` is that of the others.

    Raises:
        LacyError: E11, the package ``gguf`` is not installed; E12, unknown precision; E90,
            llama.cpp would interpret the model or tokenizer differently; E311, the model
            is quantized.
    """
    require_one_of("precision", precision, get_args(GgufPrecision))
    require_package("gguf", "gguf", "GGUF")
    import gguf

    where = loaded.path or "memory"
    require_unquantized(loaded.model, where, "written as GGUF")
    shape = shape_of(loaded.model, where)
    gated = gate_of(loaded.model) == "sigmoid"
    blocks = blocks or {}
    head = head_blocks(loaded.model, blocks)
    exact = _exact(gguf, precision, head.kind if head else None)
    rows = gate_rows(loaded, texts, exact) if gated else None
    out = Path(out)
    with replace_file(out) as half:
        writer = gguf.GGUFWriter(half, shape.arch)
        _add_header(writer, gguf, loaded, shape, precision, extra=int(gated))
        add_tokens(writer, gguf, loaded, where, [REFERENCE_TOKEN] if gated else [])
        for name, weight in _tensors(loaded.model, shape, rows, blocks):
            if isinstance(weight, BlockMatrix):
                kind = gguf.GGMLQuantizationType[weight.kind.upper()]
                writer.add_tensor(name, weight.raw_OB, raw_dtype=kind)
                continue
            kind = _kind(gguf, name, weight, precision)
            _require_room(gguf, name, weight, kind, where)
            writer.add_tensor(name, _encoded(gguf, weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def check_gguf(loaded: Loaded) -> None:
    """Check that a model can be written as GGUF, without writing anything.

    Raises:
        LacyError: E11, the package ``gguf`` is not installed; E90, llama.cpp would interpret the
            model or tokenizer differently.
    """
    require_package("gguf", "gguf", "GGUF")
    import gguf

    where = loaded.path or "memory"
    shape = shape_of(loaded.model, where)
    add_tokens(gguf.GGUFWriter("", shape.arch), gguf, loaded, where, [])


def _add_header(
    writer: Any, gguf: Any, loaded: Loaded, shape: Shape, precision: GgufPrecision, extra: int
) -> None:
    writer.add_name(loaded.path.name if loaded.path else "lacy")
    if CALL_TOKEN in loaded.tokenizer.get_vocab():
        if taught_to_call(loaded.model):
            about = "A small language model that calls a source by the token <CALL>"
            writer.add_description(about)
        if field := training_field(loaded.model, loaded.meta):
            writer.add_string(FIELD, field)
    shape.add_fields(writer)
    writer.add_vocab_size(loaded.model.config.vocab_size + extra)
    name = "ALL_F32" if precision == "f32" else f"MOSTLY_{precision.upper()}"
    writer.add_file_type(gguf.LlamaFileType[name])
    if precision in BLOCK_TYPES:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def head_blocks(model: Any, blocks: Mapping[str, BlockMatrix]) -> BlockMatrix | None:
    """Return the blocks of the head, which may be those of the embedding."""
    wanted = model.get_output_embeddings().weight
    tables = (key for key, weight in model.named_parameters() if weight is wanted)
    return next((blocks[key] for key in tables if key in blocks), None)


def _tensors(
    model: Any,
    shape: Shape,
    rows: NDArray[np.float32] | None,
    blocks: Mapping[str, BlockMatrix],
) -> Iterator[tuple[str, NDArray[np.float32] | BlockMatrix]]:
    """Yield names and weights as llama.cpp expects them, in float32 or blocks; tied matrices once.

    ``rows`` replaces the last row of the head, which is that of ``<CALL>``.
    """
    tied = model.config.tie_word_embeddings
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and tied:
            continue
        if key in blocks:
            name, matrix = shape.convert_blocks(key, blocks[key])
            if name in _TABLES:
                as_head = rows if name == "output.weight" or tied else None
                matrix = _with_call_row(matrix, weight.detach().float().cpu(), as_head, rows)
            yield name, matrix
            continue
        data: NDArray[np.float32] = weight.detach().float().cpu().numpy()
        name, data = shape.convert(key, data)
        if rows is not None and name in _TABLES:
            head = name == "output.weight" or tied
            data = np.concatenate([data[:-1], rows if head else data[[-1] * len(rows)]])
        yield name, np.ascontiguousarray(data)


def _with_call_row(
    matrix: BlockMatrix,
    weight_VD: torch.Tensor,
    head_rows: NDArray[np.float32] | None,
    rows: NDArray[np.float32] | None,
) -> BlockMatrix:
    """Return embedding or head with the model's ``<CALL>`` row, or the rows of its gate."""
    last = weight_VD[-1:]
    others, own = (matrix.in_order(torch.arange(len(weight_VD))[part]) for part in _SPLIT)
    if head_rows is not None:
        return others.followed_by(BlockMatrix.nearest(torch.from_numpy(head_rows), matrix.kind))
    if not torch.equal(own.dequantized().cpu(), last):
        own = BlockMatrix.nearest(last, matrix.kind)
    for _ in range(1 if rows is None else len(rows)):
        others = others.followed_by(own)
    return others


def _kind(gguf: Any, name: str, weight: NDArray[np.float32], precision: GgufPrecision) -> Any:
    kinds = gguf.GGMLQuantizationType
    if weight.ndim == 1 or precision == "f32" or name == "position_embd.weight":
        return kinds.F32
    if precision not in BLOCK_TYPES:
        return kinds[precision.upper()]
    if weight.shape[-1] % BLOCK:
        return kinds.F16
    return kinds.Q8_0 if name in _TABLES else kinds[precision.upper()]


def _encoded(gguf: Any, weight: NDArray[np.float32], kind: Any) -> NDArray[Any]:
    """Return the bytes of a matrix, rounded to the nearest values that the file can hold."""
    if kind == gguf.GGMLQuantizationType.IQ4_NL:
        return BlockMatrix.nearest(torch.from_numpy(weight), "iq4_nl").raw_OB
    encoded: NDArray[Any] = gguf.quants.quantize(np.ascontiguousarray(weight), kind)
    return encoded


def _exact(gguf: Any, precision: GgufPrecision, blocks: BlockKind | None) -> Any:
    """Return a function that rounds rows of the head to what the file will contain."""

    def rounded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        kind = _kind(gguf, _TABLES[1], rows, precision)
        kind = gguf.GGMLQuantizationType[blocks.upper()] if blocks else kind
        values: NDArray[np.float32] = gguf.quants.dequantize(_encoded(gguf, rows, kind), kind)
        return values

    return rounded


def _require_room(
    gguf: Any, name: str, weight: NDArray[np.float32], kind: Any, where: str | Path
) -> None:
    """Raise E90 if a weight exceeds the range of half precision (65,504)."""
    largest = np.finfo(np.float16).max
    if kind == gguf.GGMLQuantizationType.F16 and weight.size and np.abs(weight).max() > largest:
        why = f"{name} has numbers beyond {largest:g}; use --precision f32"
        raise LacyError("E90", path=where, to="gguf", why=why)
