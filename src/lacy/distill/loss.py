"""The loss of distillation, as a further loss of ``lacy.train.fit``."""

from __future__ import annotations

import torch
from torch import Tensor

from lacy.distill.divergence import divergence
from lacy.distill.settings import DistillSettings
from lacy.distill.teachers import Teacher
from lacy.train import MicroBatch
from lacy.types import MarkFlag


class DistillLoss:
    r"""The divergence between the teacher's and the student's predictions.

    With w = ``settings.weight``, the loss of a step is

        (1 - w) text + call + w T^2 D(teacher, student)

    where ``text`` and ``call`` are the parts of the objective (``lacy.objective``), so the student
    learns to call as it would without a teacher. D is a mean over all targets. It is 0 (or has the
    weight ``fact_weight``) where the student may call, according to ``settings.imitate``; and where
    the objective ignores targets. ``<CALL>`` is left out of both distributions.

    Args:
        teacher: predicts at the temperature of the settings.
        settings: divergence, weight, and where the teacher is imitated; None for ``imitate`` means
            everywhere.
    """

    def __init__(self, teacher: Teacher, settings: DistillSettings | None = None) -> None:
        self.teacher = teacher
        self.settings = settings or DistillSettings()
        self.settings.check()

    @property
    def text_scale(self) -> float:
        """Factor of the objective's text loss: what the teacher's weight leaves."""
        return 1.0 - self.settings.weight

    def __call__(
        self,
        micro: MicroBatch,
        hidden_BTD: Tensor,
        head_VD: Tensor,
        call_BT: Tensor,
        ignore_BT: Tensor,
    ) -> Tensor:
        """Return the weighted divergence of a micro-batch: a sum divided by its targets."""
        settings = self.settings
        weight_BT = self.weights(micro, call_BT, ignore_BT)
        total = divergence(
            hidden_BTD.flatten(0, 1),
            head_VD,
            self.teacher.predict(micro, hidden_BTD.dtype),
            weight_BT.flatten(),
            kind=settings.divergence,
            temperature=self.teacher.temperature,
        )
        return settings.weight * total / micro.valid_BT.sum().clamp(min=1)

    def weights(self, micro: MicroBatch, call_BT: Tensor, ignore_BT: Tensor) -> Tensor:
        """Return the weight of each target in the divergence, between 0 and 1 (float32)."""
        settings = self.settings
        where_call_BT = torch.zeros_like(call_BT)
        if settings.imitate == "undelegated":
            where_call_BT = call_BT
        elif settings.imitate == "unmarked":
            where_call_BT = (micro.marks_BT & int(MarkFlag.FACT)) != 0
        weight_BT = torch.where(where_call_BT, settings.fact_weight, 1.0)
        return weight_BT * (micro.valid_BT & ~ignore_BT)
