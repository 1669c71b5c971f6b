"""Run an exported model in ONNX Runtime, behind the interface that the rest of lacy calls.

``OnnxModel`` is called like a causal model of ``transformers``, with lacy's cache of keys and
values, so ``lacy.model.Decoder`` and everything above it (engine, server, losses on texts) work
unchanged: rows of different lengths, candidates, parked texts. The graph returns all keys and
values, which become the cache as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy._require import require_package
from lacy._text import first_line
from lacy.model import ONNX, Loaded, damaged_model, load_beside, load_model

DATA = f"{ONNX}.data"
"""File with the weights of the graph."""

PAST, PRESENT = "past_key_values", "present"
"""Names of keys and values: ``past_key_values.0.key`` goes in, ``present.0.key`` comes out, as in
the exports that Optimum writes and transformers.js reads."""

PARTS = ("key", "value")

EXTRA = "onnx"


class OnnxModel:
    """A causal language model that ONNX Runtime computes on the CPU.

    Args:
        file: the graph, with its weights beside it.
        config: the model's config, with ``lacy_gate``.
        precision: precision of the weights, for messages.
        threads: number of threads; by default as many as torch uses.

    Raises:
        LacyError: E11, ONNX Runtime is not installed; E56, it cannot read the file.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    training = False

    def __init__(
        self, file: Path, config: Any, *, precision: str = "f32", threads: int | None = None
    ) -> None:
        runtime = require_package("onnxruntime", EXTRA, "models in ONNX")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the package's exceptions have no common class
            raise damaged_model(file.parent, f"{file.name}: {first_line(error)}") from error
        self.file, self.config, self.precision = file, config, precision
        inputs = {value.name: value for value in self.session.get_inputs()}
        pasts = [name for name in inputs if name.startswith(f"{PAST}.")]
        self.layers = len(pasts) // 2
        expected = {_name(PAST, layer, part) for layer in range(self.layers) for part in PARTS}
        if not pasts or set(pasts) != expected or "input_ids" not in inputs:
            why = f"{file.name} has no inputs for keys and values; lacy did not export it"
            raise damaged_model(file.parent, why)
        self._inputs = set(inputs)
        heads_and_sizes = {name: inputs[name].shape[1::2] for name in pasts}
        self._empty = {
            name: np.zeros((1, heads, 0, size), np.float32)
            for name, (heads, size) in heads_and_sizes.items()
        }
        self._outputs = [
            "logits",
            *(_name(PRESENT, layer, part) for layer in range(self.layers) for part in PARTS),
        ]

    def eval(self) -> OnnxModel:
        """Return the model; it has no other mode."""
        return self

    def train(self, mode: bool = True) -> OnnxModel:
        """Return the model; it has no other mode."""
        return self

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and values of the stored weights, for a fingerprint."""
        for name, weight in stored_weights(self.file):
            yield name, torch.from_numpy(weight)

    def parameters(self) -> Iterator[Tensor]:
        """Yield the stored weights."""
        for _, weight in self.named_parameters():
            yield weight

    @torch.inference_mode()
    def __call__(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> Any:
        """Compute the logits after some tokens, and extend the cache by them.

        Args:
            input_ids: tokens ``[B, T]``.
            attention_mask: 1 for tokens and 0 for padding, over cache and tokens ``[B, P + T]``.
            position_ids: positions of the tokens ``[B, T]``; by default they follow the cache.
            past_key_values: a cache of ``lacy.model``; changed in place.
            use_cache: not used: a cache is filled if there is one.
            logits_to_keep: number of last tokens whose logits are returned; 0 for all.

        Returns:
            An object with ``logits`` (float32) and ``past_key_values``.
        """
        rows, tokens = input_ids.shape
        past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        if attention_mask is None:
            attention_mask = torch.ones(rows, past + tokens, dtype=torch.int64)
        if position_ids is None:
            position_ids = torch.arange(past, past + tokens).repeat(rows, 1)
        feed = {
            "input_ids": _array(input_ids),
            "attention_mask": _array(attention_mask),
            "position_ids": _array(position_ids),
            **self._past(past_key_values, past, rows),
        }
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        logits, *states = self.session.run(self._outputs, feed)
        if past_key_values is not None:
            _keep(past_key_values, [torch.from_numpy(state) for state in states])
        logits_BTV = torch.from_numpy(logits)
        if logits_to_keep:
            logits_BTV = logits_BTV[:, -logits_to_keep:]
        return SimpleNamespace(logits=logits_BTV, past_key_values=past_key_values)

    def _past(self, cache: Any, length: int, rows: int) -> Mapping[str, NDArray[Any]]:
        """Return the keys and values of a cache by the names of the graph's inputs."""
        if not length:
            return {name: np.repeat(empty, rows, 0) for name, empty in self._empty.items()}
        return {
            _name(PAST, number, part): _array(states)
            for number, layer in enumerate(cache.layers)
            for part, states in zip(PARTS, (layer.keys, layer.values), strict=True)
        }


def is_onnx(name: str | Path) -> bool:
    """True if a folder contains an ONNX graph and no other weights."""
    place = Path(name)
    return (place / ONNX).is_file() and not any(place.glob("*.safetensors"))


def open_onnx(name: str | Path, *, begin: str | None = None, threads: int | None = None) -> Loaded:
    """Open a folder that ``write_onnx`` wrote.

    Args:
        name: the folder.
        begin: the token that begins every text, if not the one that lacy chose.
        threads: number of threads; by default as many as torch uses.

    Raises:
        LacyError: E11, ONNX Runtime is not installed; E56, damaged; E57 or E59, the tokenizer is
            not the model's; E154, there is no tokenizer.
    """
    from transformers import AutoConfig

    place = Path(name)
    if not (place / DATA).is_file():
        raise damaged_model(place, f"{DATA} is missing, which has the weights")
    loaded = load_beside(place, name, begin=begin)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    export = loaded.meta.get("export")
    precision = str(export.get("precision", "")) if isinstance(export, Mapping) else ""
    loaded.model = OnnxModel(place / ONNX, config, precision=precision, threads=threads)  # type: ignore[assignment]
    return loaded


def open_local(name: str | Path, *, begin: str | None = None) -> Loaded:
    """Open a model on this machine: an export for ONNX Runtime, or any model of ``load_model``.

    Raises:
        LacyError: the errors of ``open_onnx`` and ``lacy.model.load_model``.
    """
    return open_onnx(name, begin=begin) if is_onnx(name) else load_model(name, begin=begin)


def stored_weights(file: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield names and values of a graph's stored tensors with at least two dimensions.

    The values are mapped from the file, so those that are not read cost no memory.
    """
    require_package("onnxscript", EXTRA, "models in ONNX")
    import onnx_ir

    graph = onnx_ir.load(os.fspath(file)).graph
    for name, value in sorted(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and len(tensor.shape) > 1:
            yield name, np.array(tensor.numpy()[:])


def _keep(cache: Any, states: list[Tensor]) -> None:
    """Let the keys and values that the graph returned be the content of a cache."""
    from lacy.model import new_cache

    missing = len(states) // 2 - len(cache.layers)
    if missing > 0:
        cache.layers.extend(new_cache(missing).layers)
    for number, layer in enumerate(cache.layers):
        layer.keys, layer.values = states[2 * number], states[2 * number + 1]
        layer.dtype, layer.device = layer.keys.dtype, layer.keys.device
        layer.is_initialized = True


def _array(tensor: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = tensor.contiguous().numpy()
    return found


def _name(what: str, layer: int, part: str) -> str:
    return f"{what}.{layer}.{part}"
