"""Quantize the matrices of an ONNX graph to int8, for ``MatMulNBits`` of ONNX Runtime.

Each 32 weights of an output share a scale: ``w = scale * q``, ``scale = max |w| / 127``; the inputs
of a product are rounded in the same way while it is computed. One scale for all inputs of a layer
(``quantize_dynamic`` of ONNX Runtime) costs a small model far more (``benchmarks/runtimes.py``).

Embedding and head are quantized, too. If they are one matrix, they stay one: the head reads the
bytes as they are, and the embedding takes the rows of its tokens out of them. The row of ``<CALL>``
is stored a second time, in float32, so that its logit differs only by the states of the layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Weights per scale."""

ZERO = 128
"""Byte that stands for 0: ``MatMulNBits`` stores unsigned bytes."""

DOMAIN = "com.microsoft"

INT8_COMPUTE = 4
"""``accuracy_level`` at which ``MatMulNBits`` computes with rounded inputs; with exact ones
(level 1), ONNX Runtime takes ten times as long per token."""


def quantize_blocks(
    matrix_OI: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a matrix in blocks of inputs.

    Args:
        matrix_OI: the weights, by output and input.

    Returns:
        The bytes ``[O, blocks, 32]``, where the last block is filled with zeros, and the scales
        ``[O, blocks]``.
    """
    outputs, inputs = matrix_OI.shape
    padded_OI = np.pad(matrix_OI, ((0, 0), (0, -inputs % BLOCK)))
    blocks_OBW = padded_OI.reshape(outputs, -1, BLOCK)
    scale_OB = (np.abs(blocks_OBW).max(-1) / 127).astype(np.float32)
    divisor_OB1 = np.where(scale_OB == 0, 1, scale_OB)[..., None]
    steps_OBW = np.rint(blocks_OBW / divisor_OB1).clip(-127, 127) + ZERO
    return steps_OBW.astype(np.uint8), scale_OB


def quantize_graph(model: Any, vocabulary: int) -> None:
    """Replace embedding, head and the matrices of the layers by int8, in place.

    Args:
        model: an ``onnx_ir.Model`` in float32.
        vocabulary: number of tokens; the last one is ``<CALL>``.
    """
    edit = _Edit(model)
    for node in list(model.graph):
        matrix = edit.matrix_of(node)
        if matrix is None:
            continue
        name, matrix_OI = matrix
        if node.op_type == "Gather":
            edit.replace(node, edit.looked_up(node, name, matrix_OI))
        elif len(matrix_OI) == vocabulary:
            edit.replace(node, edit.with_call_row(node, name, matrix_OI))
        else:
            edit.replace(node, edit.product(node, name, matrix_OI))
    edit.remove_unused()
    model.opset_imports[DOMAIN] = 1


class _Edit:
    """Builds nodes in front of those that they replace."""

    def __init__(self, model: Any) -> None:
        import onnx_ir

        self.ir, self.graph = onnx_ir, model.graph
        self.stored = {
            name: value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None and len(value.const_value.shape) == 2
        }
        self.quantized: dict[str, tuple[Any, Any]] = {}

    def matrix_of(self, node: Any) -> tuple[str, NDArray[np.float32]] | None:
        """Return name and values ``[O, I]`` of a node's stored matrix; None for other nodes.

        A matrix that two nodes share has one name.
        """
        if node.op_type == "Gather" and node.inputs[0].name in self.stored:
            name = node.inputs[0].name
            return name, self.stored[name].const_value.numpy()
        if node.op_type != "MatMul":
            return None
        weight = node.inputs[1]
        if weight.name in self.stored:
            return f"{weight.name}.T", self.stored[weight.name].const_value.numpy().T
        maker = weight.producer()
        if maker is not None and maker.op_type == "Transpose":
            name = maker.inputs[0].name
            if name in self.stored:
                return name, self.stored[name].const_value.numpy()
        return None

    def product(self, node: Any, name: str, matrix_OI: NDArray[np.float32]) -> Any:
        """Return the product of a node's input with a matrix."""
        outputs, inputs = matrix_OI.shape
        sizes = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK}
        attributes = {**sizes, "accuracy_level": INT8_COMPUTE}
        parts = self.parts(name, matrix_OI)
        return self.add(node, "MatMulNBits", [node.inputs[0], *parts], attributes, DOMAIN)

    def with_call_row(self, node: Any, name: str, matrix_OI: NDArray[np.float32]) -> Any:
        """Return the product with a head, with the last column computed from a row in float32."""
        all_BTV = self.product(node, name, matrix_OI)
        row_D1 = self.constant(f"{name}.call", np.ascontiguousarray(matrix_OI[-1:].T))
        call_BT1 = self.add(node, "MatMul", [node.inputs[0], row_D1])
        bounds = [self.constant(f"{name}.{n}", np.array([n], np.int64)) for n in (0, -1)]
        text_BTV = self.add(node, "Slice", [all_BTV, *bounds, bounds[1]])
        return self.add(node, "Concat", [text_BTV, call_BT1], {"axis": -1})

    def looked_up(self, node: Any, name: str, matrix_OI: NDArray[np.float32]) -> Any:
        """Return the rows of an embedding that a node looks up, in float32."""
        bytes_VBW, scale_VB = self.parts(name, matrix_OI)
        ids = node.inputs[1]
        byte = self.add(node, "Gather", [bytes_VBW, ids], {"axis": 0})
        number = self.add(node, "Cast", [byte], {"to": self.ir.DataType.FLOAT.value})
        zero = self.constant(f"{name}.zero", np.array(ZERO, np.float32))
        last = self.constant(f"{name}.last", np.array([-1], np.int64))
        scale = self.add(node, "Gather", [scale_VB, ids], {"axis": 0})
        scale = self.add(node, "Unsqueeze", [scale, last])
        number = self.add(node, "Mul", [self.add(node, "Sub", [number, zero]), scale])
        shape = self.constant(f"{name}.shape", np.array([0, 0, -1], np.int64))
        flat = self.add(node, "Reshape", [number, shape])
        width = matrix_OI.shape[1]
        if width % BLOCK == 0:
            return flat
        bounds = [self.constant(f"{name}.w{n}", np.array([n], np.int64)) for n in (0, width)]
        return self.add(node, "Slice", [flat, *bounds, last])

    def parts(self, name: str, matrix_OI: NDArray[np.float32]) -> tuple[Any, Any]:
        """Return the stored bytes and scales of a matrix, which nodes may share."""
        if name not in self.quantized:
            steps, scales = quantize_blocks(matrix_OI)
            self.quantized[name] = (
                self.constant(f"{name}.int8", steps), self.constant(f"{name}.scale", scales)
            )  # fmt: skip
        return self.quantized[name]

    def constant(self, name: str, array: NDArray[Any]) -> Any:
        """Return a stored tensor."""
        if name not in self.graph.initializers:
            tensor = self.ir.tensor(array, name=name)
            self.graph.register_initializer(self.ir.Value(name=name, const_value=tensor))
        return self.graph.initializers[name]

    def add(
        self, before: Any, kind: str, inputs: list[Any], attributes: Any = None, domain: str = ""
    ) -> Any:
        """Insert a node before another and return its output."""
        node = self.ir.node(kind, inputs, attributes or {}, domain=domain)
        self.graph.insert_before(before, node)
        return node.outputs[0]

    def replace(self, node: Any, value: Any) -> None:
        """Let the users of a node's output use another value, which takes its name."""
        old = node.outputs[0]
        name, value.type, value.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        value.name = name

    def remove_unused(self) -> None:
        """Remove matrices in float32, and nodes that transposed them, where nothing uses them."""
        for node in list(self.graph):
            if node.op_type == "Transpose" and not node.outputs[0].uses():
                self.graph.remove(node, safe=True)
        for name in self.stored:
            if not self.graph.initializers[name].uses():
                del self.graph.initializers[name]
