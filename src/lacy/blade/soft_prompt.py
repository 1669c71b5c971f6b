"""Soft prompts: vectors that stand before the embeddings of a prompt.

BLADE (arXiv 2403.18365, stage 3) searches few numbers instead of whole vectors: ``p = A z`` with a
fixed random matrix A, as InstructZero does (arXiv 2306.03082).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model import Loaded, model_fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VECTORS = "soft_prompt.safetensors"
"""File of a soft prompt in a folder."""


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """Vectors before a prompt, and the model that they were made for.

    Attributes:
        vectors_TD: the vectors (float32).
        fingerprint: ``model_fingerprint`` of the model, without the ``<CALL>`` row.
        point: the point z that they were made of.
    """

    vectors_TD: Tensor
    fingerprint: str
    point: tuple[float, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the vectors as ``soft_prompt.safetensors`` into a folder."""
        from safetensors.torch import save_file

        meta = {"fingerprint": self.fingerprint, "point": json.dumps(self.point)}
        save_file({"vectors": self.vectors_TD.contiguous()}, folder / VECTORS, metadata=meta)

    @classmethod
    def load(cls, folder: Path) -> SoftPrompt:
        """Read what ``save`` wrote.

        Raises:
            LacyError: E394, the file is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(folder / VECTORS, "pt") as file:
                meta, vectors_TD = file.metadata() or {}, file.get_tensor("vectors")
            point = tuple(float(value) for value in json.loads(meta["point"]))
            return cls(vectors_TD.float(), meta["fingerprint"], point)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            why = f"{VECTORS} cannot be read ({type(error).__name__})"
            raise LacyError("E394", path=folder, why=why) from error

    def require_fits(self, loaded: Loaded, fingerprint: str) -> None:
        """Raise E395 if the vectors were made for another model.

        Args:
            loaded: the model.
            fingerprint: ``model_fingerprint`` of it.
        """
        own, width = self.vectors_TD.shape[1], embedding_of(loaded.model).shape[1]
        if own != width:
            why = f"its vectors have {own} numbers, those of the model {width}"
        elif self.fingerprint != fingerprint:
            why = "the model's weights are not those that it was optimised with"
        else:
            return
        raise LacyError("E395", model=loaded.name or "this model", why=why)


class Projection:
    """Makes soft prompts of points: ``p = scale * A z``.

    A is uniform in (-1, 1) and depends on the seed only. The scale makes a vector of a uniformly
    random z as long as an embedding is on average, so that the prompt is neither lost nor
    overwhelming.

    Args:
        loaded: the model.
        tokens: number of vectors.
        dimensions: length of z.
        seed: seed of A.
        fingerprint: ``model_fingerprint`` of the model; None computes it.
    """

    def __init__(
        self,
        loaded: Loaded,
        tokens: int = 5,
        dimensions: int = 10,
        seed: int = 0,
        *,
        fingerprint: str | None = None,
    ) -> None:
        table_VD = embedding_of(loaded.model)
        width = table_VD.shape[1]
        generator = torch.Generator().manual_seed(seed)
        shape = (tokens, width, dimensions)
        self._matrix_TDd = 2.0 * torch.rand(shape, generator=generator) - 1.0
        norm = float(table_VD[:-1].float().norm(dim=1).mean())
        # A product of two numbers that are uniform in (-1, 1) has variance 1/9.
        self._scale = norm / (width * dimensions / 9.0) ** 0.5
        self._fingerprint = fingerprint or model_fingerprint(loaded.model)

    def __call__(self, point: Sequence[float]) -> SoftPrompt:
        """Return the soft prompt of a point z, whose numbers are between -1 and 1."""
        z_d = torch.tensor(list(point), dtype=torch.float32)
        vectors_TD = self._scale * (self._matrix_TDd @ z_d)
        return SoftPrompt(vectors_TD, self._fingerprint, tuple(float(value) for value in point))


def embedding_of(model: PreTrainedModel) -> Tensor:
    """Return the table of input embeddings, table_VD."""
    table: Any = model.get_input_embeddings()
    found: Tensor = table.weight.detach()
    return found
