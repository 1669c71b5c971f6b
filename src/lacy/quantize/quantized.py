"""A quantized model: its weights in memory, their blocks, and its file."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lacy.errors import LacyError
from lacy.model import BLOCK, BLOCK_TYPES, BlockKind, BlockMatrix, Loaded, write_gguf
from lacy.quantize.parts import matrices_of, tables_of

How = Literal["kept", "nearest", "search", "gptq"]
"""How a matrix was rounded; ``kept``: it lay on a grid before and did not change."""

_HEADER = 16 << 20
"""Bytes that a file needs at most beside its weights: tokenizer and fields."""


@dataclass(frozen=True)
class MatrixReport:
    """What was done with one matrix."""

    name: str
    """Its name in ``model.state_dict()``."""
    kind: BlockKind
    how: How
    bytes: int
    error: float | None = None
    """Mean squared change of the layer's output, relative to its mean square; None if unknown."""
    was: BlockKind | None = None
    """The block type on whose grid the matrix lay before; None if on none."""


@dataclass(frozen=True)
class QuantizeReport:
    """What was done with a model."""

    matrices: tuple[MatrixReport, ...]
    tokens: int
    """Tokens of the calibration texts."""
    bits_per_weight: float
    """Average over all quantized weights, with scales and offsets."""

    @property
    def bytes(self) -> int:
        """Size of the quantized matrices."""
        return sum(matrix.bytes for matrix in self.matrices)

    @property
    def lossless(self) -> bool:
        """True if no matrix changed, because all lay on the grid of their types before."""
        return all(matrix.how == "kept" for matrix in self.matrices)

    @property
    def main_kind(self) -> BlockKind:
        """The block type of the most bytes outside embedding and head, or of all."""
        sizes: Counter[BlockKind] = Counter()
        for matrix in self.matrices:
            sizes[matrix.kind] += matrix.bytes
        return sizes.most_common(1)[0][0]


@dataclass
class Quantized:
    """A model whose matrices lie on the grids of block types.

    ``loaded`` contains the dequantised weights: it is the model that the file will hold. Its
    ``<CALL>`` row may be replaced (``lacy.tune``); it is rounded when the file is written. All
    other weights must stay.
    """

    loaded: Loaded
    blocks: dict[str, BlockMatrix]
    """The matrices by their names in ``model.state_dict()``."""
    report: QuantizeReport

    def write(self, out: str | Path, texts: Sequence[str] = ()) -> Path:
        """Write the model as a GGUF file atomically; no weight is rounded a second time.

        Args:
            out: the file to write or replace.
            texts: for a model with a separate gate, texts like those that it will write.

        Raises:
            LacyError: E283, weights other than the ``<CALL>`` row have changed; E284, too little
                disk space; and the errors of ``write_gguf``.
        """
        out = Path(out)
        self._require_unchanged()
        _require_space(out, self.report.bytes + _other_bytes(self) + _HEADER)
        return write_gguf(self.loaded, out, self.report.main_kind, texts, blocks=self.blocks)

    def _require_unchanged(self) -> None:
        tables, inner = tables_of(self.loaded.model), matrices_of(self.loaded.model)
        for name, blocks in self.blocks.items():
            if name in tables:
                same = torch.equal(tables[name][:-1].cpu().float(), blocks.dequantized()[:-1].cpu())
            else:
                weight_OI = inner[name].weight_OI
                same = torch.equal(weight_OI.cpu().float(), blocks.dequantized().cpu())
            if not same:
                raise LacyError("E283", name=name)


def mean_bits(blocks: Sequence[BlockMatrix]) -> float:
    """Return the average bits per weight of matrices."""
    weights = sum(matrix.scale_OG.numel() * BLOCK for matrix in blocks)
    return 8 * sum(matrix.bytes for matrix in blocks) / weights


def bytes_of(rows: int, columns: int, kind: BlockKind) -> int:
    """Return the size of a matrix in a block type."""
    return rows * (columns // BLOCK) * BLOCK_TYPES[kind].size


def _other_bytes(quantized: Quantized) -> int:
    """Return the size of the weights that are not in blocks."""
    named = quantized.loaded.model.named_parameters()
    return 4 * sum(p.numel() for name, p in named if name not in quantized.blocks)


def _require_space(out: Path, needed: int) -> None:
    folder = next((p for p in (out.parent, *out.absolute().parents) if p.is_dir()), Path())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LacyError("E284", path=out, needed=f"{needed / 1e6:.0f}", free=f"{free / 1e6:.0f}")
