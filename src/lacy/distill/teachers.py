"""Teachers: a model that runs beside the student, or its stored predictions (``stored``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lacy.corpus import tokenizer_fingerprint
from lacy.distill.divergence import Predictions, RowPredictions
from lacy.errors import LacyError
from lacy.model import Loaded, head_weight, hidden_states
from lacy.train import MicroBatch


class Teacher(Protocol):
    """What predicts the rows of a micro-batch, without ``<CALL>``."""

    @property
    def temperature(self) -> float:
        """Temperature of the predictions."""
        ...

    def predict(self, micro: MicroBatch, dtype: torch.dtype) -> Predictions:
        """Return the predictions for a micro-batch, computed in a dtype if they are not stored."""
        ...


@dataclass(frozen=True, slots=True)
class LivePredictions:
    """Predictions that are computed from hidden states when they are needed."""

    hidden_ND: Tensor
    text_VD: Tensor
    """The rows of the head without ``<CALL>``."""
    temperature: float

    def chunk(self, rows_n: Tensor) -> RowPredictions:
        """Return the log-probabilities of all text tokens."""
        exact = torch.promote_types(self.hidden_ND.dtype, torch.float32)
        logits_nV = (self.hidden_ND[rows_n] @ self.text_VD.T).to(exact)
        return RowPredictions(torch.log_softmax(logits_nV / self.temperature, 1))


class LiveTeacher:
    """A model that predicts each micro-batch while the student is trained.

    Args:
        model: a model whose last row is ``<CALL>`` (which it need not have been taught); it is
            frozen.
        temperature: temperature of its predictions.

    Raises:
        LacyError: E58, its logits are more than its hidden states times its head.
    """

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        head_weight(model)
        self.model = model.eval().requires_grad_(False)
        self.temperature = temperature

    @torch.no_grad()
    def predict(self, micro: MicroBatch, dtype: torch.dtype) -> Predictions:
        """Run the model on a micro-batch."""
        device = micro.ids_BT.device
        self.model.to(device)
        half = dtype is torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            hidden_BTD = hidden_states(self.model, micro.ids_BT, positions_BT=micro.positions_BT)
        text_VD = head_weight(self.model)[:-1].to(dtype)
        return LivePredictions(hidden_BTD.to(dtype).flatten(0, 1), text_VD, self.temperature)


def require_same_tokens(student: Loaded, teacher: Loaded) -> None:
    """Check that two models have the same vocabulary.

    Raises:
        LacyError: E300, they have not.
    """
    own, other = (tokenizer_fingerprint(loaded.tokenizer) for loaded in (student, teacher))
    if own != other:
        raise LacyError(
            "E300", student=student.name or student.path or "the student",
            teacher=teacher.name or teacher.path or "the teacher",
            size=len(student.tokenizer), other=len(teacher.tokenizer),
        )  # fmt: skip
