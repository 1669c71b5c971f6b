"""Quantize the matrices of an ONNX graph to int8, for ``MatMulNBits`` of ONNX Runtime.

Each 32 weights of an output share a scale: ``w = scale * q``, ``scale = max |w| / 127``. The head
stays as it is, because it is the embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Weights per scale."""

ZERO = 128
"""Number that stands for 0: ``MatMulNBits`` stores unsigned bytes."""

DOMAIN = "com.microsoft"

INT8_COMPUTE = 4
"""``accuracy_level`` at which products are computed with inputs that are rounded in blocks, too."""


def quantize_graph(model: Any) -> int:
    """Replace the stored matrices of linear layers by int8, in place.

    Args:
        model: an ``onnx_ir.Model`` in float32.

    Returns:
        The number of matrices.
    """
    import onnx_ir

    graph, done = model.graph, 0
    for node in list(graph):
        weight = node.inputs[1] if node.op_type == "MatMul" else None
        if weight is None or weight.name not in graph.initializers:
            continue
        if weight.const_value is None or len(weight.const_value.shape) != 2:
            continue
        matrix_IO = weight.const_value.numpy()
        for name, array in zip(_PARTS, quantize_blocks(matrix_IO), strict=True):
            tensor = onnx_ir.tensor(array, name=f"{weight.name}_{name}")
            graph.register_initializer(onnx_ir.Value(name=tensor.name, const_value=tensor))
        replacement = onnx_ir.node(
            "MatMulNBits",
            [node.inputs[0], *(graph.initializers[f"{weight.name}_{n}"] for n in _PARTS)],
            {
                "K": matrix_IO.shape[0],
                "N": matrix_IO.shape[1],
                "bits": 8,
                "block_size": BLOCK,
                "accuracy_level": INT8_COMPUTE,
            },
            domain=DOMAIN,
            name=f"{node.name}_int8",
        )
        old, new = node.outputs[0], replacement.outputs[0]
        new.name, new.type, new.shape = f"{old.name}_int8", old.type, old.shape
        graph.insert_before(node, replacement)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        if not weight.uses():
            del graph.initializers[weight.name]
        done += 1
    model.opset_imports[DOMAIN] = 1
    return done


_PARTS = ("int8", "scale")


def quantize_blocks(
    matrix_IO: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a matrix in blocks of inputs.

    Args:
        matrix_IO: the weights, by input and output.

    Returns:
        The bytes ``[O, blocks, 32]``, where the last block is filled with zeros, and the scales
        ``[O, blocks]``.
    """
    inputs, outputs = matrix_IO.shape
    padding = -inputs % BLOCK
    padded_OI = np.pad(matrix_IO.T, ((0, 0), (0, padding)))
    blocks_OBW = padded_OI.reshape(outputs, -1, BLOCK)
    scale_OB = (np.abs(blocks_OBW).max(-1) / 127).astype(np.float32)
    safe_OB1 = np.where(scale_OB == 0, 1, scale_OB)[..., None]
    steps_OBW = np.rint(blocks_OBW / safe_OB1).clip(-127, 127) + ZERO
    return steps_OBW.astype(np.uint8), scale_OB
