"""A client that trains with ``lacy.train.fit`` on packed texts.

FedProx (Li et al., arXiv 1812.06127) adds ``proximal / 2 * |w - w_received|^2`` to the loss, which
keeps clients with different texts from drifting apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacy.corpus import BatchOrder, PackedData
from lacy.federate.payload import Payload
from lacy.federate.privacy import derived_seed
from lacy.federate.protocol import State
from lacy.model import bf16_is_fast
from lacy.objective import Objective
from lacy.train import FitState, MicroBatch, choose_lr, fit
from lacy.types import Update


class FitClient:
    """Trains a payload on the packed texts of one client.

    Every round begins with new optimizers, and its random numbers depend only on the seed, the
    round and the client's name, so a repeated round gives the same update.

    Args:
        name: the client's name.
        payload: the model; all clients of a process share one.
        data: the client's packed texts.
        objective: the loss; by default plain cross-entropy.
    """

    def __init__(
        self, name: str, payload: Payload, data: PackedData, objective: Objective | None = None
    ) -> None:
        self.name, self._payload, self._data = name, payload, data
        self._objective = objective or Objective(method="none", call_negative="none")

    def train(self, state: State, round: int) -> Update:
        """Train from ``state``, and return the change."""
        payload, settings = self._payload, self._payload.settings
        model = payload.loaded.model
        payload.load(state)
        seed = derived_seed(settings.seed, round, self.name)
        rows = min(settings.batch_rows, len(self._data))
        steps = settings.local_steps or -(-len(self._data) // rows)
        order = BatchOrder(len(self._data), rows, seed)
        device = model.device
        batches = (
            MicroBatch.of(self._data.batch(order.rows(step)), device) for step in range(steps)
        )
        lr = settings.lr
        if lr is None:
            lr, _ = choose_lr(settings.depth, sum(map(torch.numel, model.parameters())),
                              pretrained=True)  # fmt: skip
        fitting = FitState.start(model, lr=lr, bf16=bf16_is_fast(device)[0])
        extra = None
        if settings.proximal:
            extra = Proximal(list(payload.parameters.values()), settings.proximal)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # for dropout
            done = list(fit(fitting, batches, self._objective, seed=seed, extra=extra))
        samples = steps * rows
        means = torch.stack([step.sums for step in done]).sum(0)
        metrics = {"loss": float(means[0] / means[4].clamp_min(1))}
        return Update(payload.delta(state), samples, round, payload.fingerprint, {}, metrics)


@dataclass
class Proximal:
    """FedProx's term as a loss beside the objective.

    Args:
        parameters: the trained parameters, at the values that the client received.
        weight: its weight.
    """

    parameters: Sequence[nn.Parameter]
    weight: float
    text_scale: float = 1.0

    def __post_init__(self) -> None:
        self._received = [parameter.detach().clone() for parameter in self.parameters]

    def __call__(
        self,
        micro: MicroBatch,
        hidden_BTD: Tensor,
        head_VD: Tensor,
        call_BT: Tensor,
        ignore_BT: Tensor,
    ) -> Tensor:
        """Return the term."""
        parts = [
            (parameter - received).square().sum()
            for parameter, received in zip(self.parameters, self._received, strict=True)
        ]
        return self.weight / 2 * torch.stack(parts).sum()
