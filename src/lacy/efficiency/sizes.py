"""Sizes of a model: parameters, bytes of files, bits per weight, memory of weights and cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lacy.errors import LacyError
from lacy.model import resolve

WEIGHT_FILES = (".safetensors", ".gguf", ".bin", ".onnx", ".data")


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Numbers of weights of a model."""

    distinct: int
    """Weights that exist: a head that is tied to the embedding counts once."""
    untied: int
    """As if the head were a matrix of its own, as in tables that count layers."""
    non_embedding: int
    """Weights outside all embeddings (of tokens and positions) and the head."""

    @property
    def tied(self) -> bool:
        """True if embedding and head are one matrix."""
        return self.untied > self.distinct


@dataclass(frozen=True, slots=True)
class FileSizes:
    """Bytes of a model's files."""

    weights: int
    """Bytes of the files with weights."""
    all: int
    """Bytes of all files, with tokenizer and settings."""


@dataclass(frozen=True, slots=True)
class MemorySizes:
    """Bytes that a model occupies in memory while it generates."""

    weights: int
    """Bytes of the weights and buffers."""
    cache_per_token: float
    """Bytes of keys and values (or other states) per token of a text."""


def parameter_counts(model: Any, *, added_rows: int = 0) -> ParameterCounts:
    """Count the weights of a ``transformers`` model.

    Args:
        model: the model.
        added_rows: rows of embedding and head that exist in memory only, such as the ``<CALL>`` of
            a raw model; they are not counted.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    vocabulary = {id(embedding.weight): embedding.weight}
    head_size = 0
    if head is not None:
        vocabulary[id(head.weight)] = head.weight
        head_size = head.weight.numel()
        head_size -= added_rows * head.weight.shape[1]
    matrices = sum(weight.numel() for weight in vocabulary.values())
    # Parameters that are one object are listed once.
    rest = sum(weight.numel() for weight in model.parameters()) - matrices
    distinct = rest + sum(w.numel() - added_rows * w.shape[1] for w in vocabulary.values())
    others = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding) and id(module.weight) not in vocabulary
    }
    untied = distinct + (head_size if len(vocabulary) == 1 else 0)
    return ParameterCounts(distinct, untied, rest - sum(others.values()))


def file_sizes(name: str | Path) -> FileSizes:
    """Return the bytes of a model's files.

    Args:
        name: a model on this machine as in ``lacy.model.resolve``, or a single file.

    Raises:
        LacyError: E13 or E55, there is no such model or file; E248, it is not on this machine.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return FileSizes(path.stat().st_size, path.stat().st_size)
    place = resolve(name)
    if not isinstance(place, Path):
        raise LacyError("E248", model=name)
    files = [file for file in place.iterdir() if file.is_file() and not file.name.startswith(".")]
    return FileSizes(_bytes(f for f in files if f.suffix in WEIGHT_FILES), _bytes(files))


def bits_per_weight(weight_bytes: int, parameters: int) -> float:
    """Return the bits of a file for each weight that exists."""
    return 8 * weight_bytes / parameters


def compression_ratio(reference_bytes: float, weight_bytes: float) -> float:
    """Return how many times smaller a model is than its reference."""
    return reference_bytes / weight_bytes


@torch.inference_mode()
def memory_sizes(model: Any, tokens: int = 16) -> MemorySizes:
    """Measure the bytes of weights and cache.

    Args:
        model: a causal model of ``transformers``.
        tokens: number of tokens that are read to measure the cache.
    """
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    ids_1T = torch.zeros((1, tokens), dtype=torch.int64, device=model.device)
    cache = model(input_ids=ids_1T, use_cache=True).past_key_values
    return MemorySizes(weights, _cache_bytes(cache) / tokens)


def _cache_bytes(cache: Any) -> int:
    """Return the bytes of all tensors in a cache of ``transformers``."""
    seen: dict[int, int] = {}

    def add(value: Any, depth: int = 0) -> None:
        if isinstance(value, torch.Tensor):
            seen[id(value)] = value.numel() * value.element_size()
        elif isinstance(value, list | tuple):
            for part in value:
                add(part, depth + 1)
        elif isinstance(value, dict):
            add(list(value.values()), depth + 1)
        elif depth < 4 and hasattr(value, "__dict__"):
            add(list(vars(value).values()), depth + 1)

    add(cache)
    return sum(seen.values())


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
