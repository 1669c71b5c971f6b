"""Export a model to ONNX: one graph that reads any number of tokens after any number of others.

The graph is traced by the exporter of ``transformers`` with a cache of keys and values, so it reads
prompts and decodes token by token. Inputs and outputs get the names that Optimum gives them. If
embedding and head are one matrix, the file contains it once.

``int8`` stores all matrices in blocks of 32 weights with a scale each (``onnx_int8``).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from lacy._require import require_one_of, require_package
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    ONNX,
    Loaded,
    forbid_call,
    keeps_keys_and_values,
    model_fingerprint,
    new_decoder,
    require_unquantized,
    write_beside,
)
from lacy.run import replace_folder
from lacy.runtimes.folders import add_to_card, export_meta
from lacy.runtimes.int8 import refused_precision
from lacy.runtimes.onnx_int8 import quantize_graph
from lacy.runtimes.onnx_model import DATA, EXTRA, PARTS, PAST, PRESENT, OnnxModel
from lacy.runtimes.tensors import distinct_bytes, require_size

OnnxPrecision = Literal["f32", "int8"]
"""Precision of the matrices; norms, biases and the row of ``<CALL>`` are always float32."""

TOLERANCE = {"f32": 1e-4, "int8": 0.2}
"""Largest difference of the logits of a short text, relative to the largest logit. Models with
random weights, as in tests, lose more by int8 than trained ones."""

_SMALL = 1 << 16
"""Bytes of constants that are no weights, at most."""


def write_onnx(
    loaded: Loaded,
    out: str | Path,
    precision: OnnxPrecision = "f32",
    *,
    notify: Callable[[str], object] = lambda _: None,
) -> Path:
    """Write a model as a folder with an ONNX graph, replacing it atomically.

    The folder contains the graph (``model.onnx``), its weights (``model.onnx.data``), config,
    tokenizer, ``lacy.json`` and a card. ``open_onnx`` and all commands that generate read it.

    Args:
        loaded: the model, in float32; not changed.
        out: the folder to write or replace.
        precision: precision of the matrices.
        notify: called with a sentence before the slow part.

    Raises:
        LacyError: E11, a package of the extra ``onnx`` is not installed; E12, unknown precision;
            E90, the architecture cannot be exported; E155, the weights have changed since
            ``<CALL>`` was tuned; E311, the model is quantized; E312, a precision that lacy does not
            write; E313, the file does not contain each tensor once; E314, the graph computes other
            logits; E16, ``out`` contains other files.
    """
    refused_precision(precision, "onnx")
    require_one_of("precision", precision, get_args(OnnxPrecision))
    check_onnx(loaded)
    where = loaded.name or str(loaded.path or "memory")
    model: Any = loaded.model.float().eval()
    source = model_fingerprint(model)
    if loaded.meta.get(FINGERPRINT, source) != source:
        raise LacyError("E155", path=where)
    notify("Tracing the model; this takes a few seconds per layer ...")
    with replace_folder(out) as folder:
        graph = _traced(model, where)
        _share_head(graph.graph)
        wanted = distinct_bytes(model)
        _require_weights(Path(out), graph, wanted)
        if precision == "int8":
            quantize_graph(graph, int(model.config.vocab_size))
        _save(graph, folder / ONNX)
        model.config.save_pretrained(folder)
        meta = export_meta(loaded, "onnx", precision, source)
        write_beside(folder, model, loaded.tokenizer, meta)
        add_to_card(folder, loaded, _CARD[precision])
        if model.can_generate():
            forbid_call(model)
            model.generation_config.save_pretrained(folder)
        run = OnnxModel(folder / ONNX, model.config, precision=precision)
        _require_same_logits(run, model, where, TOLERANCE[precision])
    return Path(out)


def check_onnx(loaded: Loaded) -> None:
    """Check what can be known of an export to ONNX before the model is traced.

    Raises:
        LacyError: E11, a package of the extra ``onnx`` is not installed; E90, the architecture
            cannot be exported; E311, the model is quantized.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_package(package, EXTRA, "export to ONNX")
    where = loaded.name or str(loaded.path or "memory")
    require_unquantized(loaded.model, where, "exported to ONNX")
    if not keeps_keys_and_values(loaded.model):
        raise _unwritable(where, "what it keeps of a text is more than keys and values")


_CARD = {
    "f32": "`model.onnx` computes the model in float32 in ONNX Runtime, with keys and values as "
    "inputs and outputs.",
    "int8": "`model.onnx` computes the model in ONNX Runtime, with keys and values as inputs and "
    "outputs; its matrices are int8 (blocks of 32 with a scale), the row of `<CALL>` float32.",
}


def _traced(model: Any, where: str) -> Any:
    """Return the graph of a model as ``onnx_ir.Model``."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    varying = torch.export.Dim.AUTO
    inputs = _example(model)
    layers = len(inputs["past_key_values"].layers)
    shapes = {
        **{name: {0: varying, 1: varying} for name in inputs if name != PAST},
        PAST: [{0: varying, 2: varying}] * (2 * layers),
    }
    config = OnnxConfig(dynamic=True, dynamic_shapes=shapes)
    try:
        with _silenced(), torch.no_grad():
            program: Any = OnnxExporter().export(model, inputs, config=config).program
    except Exception as error:  # the tracer and the translator raise exceptions of any class
        kind = type(model).__name__
        raise _unwritable(where, f"{kind} cannot be traced ({first_line(error)})") from error
    _rename(program.graph, layers, where)
    return program


def _example(model: Any) -> dict[str, Any]:
    """Return inputs to trace with: two rows of four tokens, after three that are in the cache."""
    from transformers import DynamicCache

    ids_BT = torch.arange(1, 15).view(2, 7) % int(model.config.vocab_size)
    with torch.no_grad():
        # Of layers with a sliding window, too, all keys are kept: the mask hides those outside.
        whole = DynamicCache()
        past = model(input_ids=ids_BT[:, :3], past_key_values=whole, use_cache=True).past_key_values
    return {
        "input_ids": ids_BT[:, 3:],
        "attention_mask": torch.ones(2, 7, dtype=torch.int64),
        "position_ids": torch.arange(3, 7).repeat(2, 1),
        PAST: past,
    }


def _rename(graph: Any, layers: int, where: str) -> None:
    """Give keys and values the names that Optimum gives them."""
    names = {f"output.{PAST}.layers.{n}.{part}s": (PRESENT, n, part) for n in range(layers)
             for part in PARTS}  # fmt: skip
    names |= {f"input.{PAST}.layers.{n}.{part}s": (PAST, n, part) for n in range(layers)
              for part in PARTS}  # fmt: skip
    renamed = 0
    for value in (*graph.inputs, *graph.outputs):
        if value.name in names:
            what, layer, part = names[value.name]
            value.name = f"{what}.{layer}.{part}"
            renamed += 1
    if renamed != 4 * layers or "logits" not in {value.name for value in graph.outputs}:
        raise _unwritable(where, "the exporter lost its keys and values")


def _share_head(graph: Any) -> None:
    """Replace a stored transpose of another stored matrix by a node that transposes it.

    The exporter folds the transpose of a small head into a constant of its own; if the head is tied
    to the embedding, the file would contain the matrix twice.
    """
    import onnx_ir

    stored = {
        name: value.const_value.numpy()
        for name, value in graph.initializers.items()
        if value.const_value is not None and len(value.const_value.shape) == 2
    }
    for name, matrix in stored.items():
        for other, original in stored.items():
            same = other != name and original.shape == matrix.shape[::-1]
            if not (same and min(matrix.shape) > 1 and np.array_equal(original.T, matrix)):
                continue
            node = onnx_ir.node("Transpose", [graph.initializers[other]], {"perm": [1, 0]})
            value = graph.initializers[name]
            result = node.outputs[0]
            result.name, result.type, result.shape = f"{name}_shared", value.type, value.shape
            graph.insert_before(graph[0], node)
            value.replace_all_uses_with(result)
            del graph.initializers[name]
            stored[name] = matrix[:0]  # it is no original for others
            break


def _require_weights(out: Path, model: Any, wanted: int) -> None:
    """Raise E313 unless the graph stores as many bytes as the model has in distinct tensors."""
    weights = [
        v.const_value for v in model.graph.initializers.values() if v.const_value is not None
    ]
    found = sum(weight.nbytes for weight in weights)
    require_size(out, found, wanted, tolerance=_SMALL / wanted)


def _save(model: Any, file: Path) -> None:
    """Write the graph without the traces of this machine's source files that torch left in it."""
    import onnx_ir

    graph = model.graph
    for item in (model, graph, *graph, *graph.inputs, *(v for n in graph for v in n.outputs)):
        item.metadata_props.clear()
        item.doc_string = None
    onnx_ir.save(model, str(file), external_data=DATA)


def _require_same_logits(run: OnnxModel, model: Any, where: str, tolerance: float) -> None:
    """Raise E314 unless the graph decodes two texts of different lengths as the model does."""
    ids = [token % int(model.config.vocab_size) for token in range(7, 7 * 13, 7)]
    rows = [ids[:5], ids[3:]]
    decoder = new_decoder(run)
    decoder.read(rows)
    found_BV = decoder.step([ids[1], ids[2]])
    with torch.inference_mode():
        wanted_BV = torch.stack(
            [
                model(input_ids=torch.tensor([[*row, ids[n + 1]]]), use_cache=False).logits[0, -1]
                for n, row in enumerate(rows)
            ]
        ).float()
    error, scale = float((found_BV - wanted_BV).abs().max()), float(wanted_BV.abs().max())
    if not error <= tolerance * scale:
        raise LacyError("E314", target="onnx", path=where, error=error, scale=scale)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Silence the exporter, which prints its progress and warns about versions and other models."""
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels, verbosity = [one.level for one in loggers], transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _unwritable(where: str, why: str) -> LacyError:
    """Return the error E90 for ONNX."""
    return LacyError("E90", path=where, to="onnx", why=why)
