"""The network of a safety classifier: an encoder with a logit for prompts and one for answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lacy.encoder import EncoderBody, EncoderShape, mean_states
from lacy.safety.texts import ROLES


class SafetyNetwork(EncoderBody):
    """Scores texts: ``log p(harmful) - log p(safe)`` as a prompt and as an answer.

    The score is linear in the text's vector (the mean of the last states, of length sqrt(D)), so a
    logistic regression on the vectors of a frozen encoder is such a network, too.

    Args:
        shape: size of the encoder.
        dropout: share of the states that training drops.
    """

    def __init__(self, shape: EncoderShape | None = None, dropout: float = 0.0) -> None:
        super().__init__(shape, dropout)
        self.score = nn.Linear(self.shape.width, len(ROLES))

    def forward(self, ids_NT: Tensor, kinds_NT: Tensor, role_N: Tensor) -> Tensor:
        """Return a logit per text ``[N]``.

        Args:
            ids_NT: token ids, 0 is padding.
            kinds_NT: 1 at the tokens of an answer.
            role_N: place of the text's role in ``ROLES``.
        """
        logits: Tensor = self.score(self.vectors(ids_NT, kinds_NT)).gather(1, role_N[:, None])[:, 0]
        return logits

    def vectors(self, ids_NT: Tensor, kinds_NT: Tensor) -> Tensor:
        """Return the vector of each text ``[N, D]``, of length sqrt(D)."""
        mean_ND = mean_states(self.states(ids_NT, kinds_NT), ids_NT)
        return functional.normalize(mean_ND, dim=1) * self.shape.width**0.5


def distillation_loss(
    logits_N: Tensor,
    labels_N: Tensor,
    teacher_N: Tensor | None,
    *,
    weight: float,
    temperature: float,
) -> Tensor:
    r"""Return ``a CE(y, s) + (1 - a) tau^2 KL(softmax(t/tau) || softmax(s/tau))``, a mean.

    Logits are those of harmful minus safe, so the softmax over both classes is a sigmoid (Hinton et
    al., arXiv 1503.02531 §2).

    Args:
        logits_N: the student's logits s.
        labels_N: 1 harmful, 0 safe, NaN unknown: such texts have no cross-entropy.
        teacher_N: the teacher's logits t; None to learn from labels only.
        weight: a, the weight of the labels.
        temperature: tau.
    """
    known_N = ~labels_N.isnan()
    if teacher_N is None:
        return functional.binary_cross_entropy_with_logits(logits_N[known_N], labels_N[known_N])
    hard_N = torch.zeros_like(logits_N)
    hard_N[known_N] = functional.binary_cross_entropy_with_logits(
        logits_N[known_N], labels_N[known_N], reduction="none"
    )
    ours_N, theirs_N = logits_N / temperature, teacher_N / temperature
    p_N = torch.sigmoid(theirs_N)
    soft_N = p_N * (functional.logsigmoid(theirs_N) - functional.logsigmoid(ours_N)) + (1 - p_N) * (
        functional.logsigmoid(-theirs_N) - functional.logsigmoid(-ours_N)
    )
    return (weight * hard_N + (1 - weight) * temperature**2 * soft_N).mean()
