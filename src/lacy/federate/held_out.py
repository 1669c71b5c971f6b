"""The loss of a state on texts of the server, measured after each round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from lacy.annotate import encode_many
from lacy.corpus import PackedData
from lacy.federate.payload import Payload
from lacy.federate.protocol import State
from lacy.model import hidden_states
from lacy.objective import token_losses
from lacy.train import MicroBatch, frozen_head
from lacy.types import Document


@dataclass
class HeldOut:
    """Measures states on packed texts.

    Args:
        payload: the model.
        data: the texts; None measures nothing.
        rows: rows at a time.
    """

    payload: Payload
    data: PackedData | None
    rows: int = 8

    @classmethod
    def of(
        cls, payload: Payload, documents: Iterable[Document], context: int, folder: Path
    ) -> HeldOut:
        """Pack documents; without any, nothing is measured.

        Raises:
            LacyError: E29, the documents have no text.
        """
        texts = list(documents)
        if not texts:
            return cls(payload, None)
        tokenizer = payload.loaded.tokenizer
        packed = PackedData.write(encode_many(texts, tokenizer), tokenizer, context, folder)
        return cls(payload, packed)

    @torch.no_grad()
    def __call__(self, state: State) -> dict[str, float]:
        """Return ``held_out_loss``, in nats per token, or nothing without texts."""
        if self.data is None:
            return {}
        model = self.payload.loaded.model
        self.payload.load(state)
        model.eval()
        total = count = 0.0
        for first in range(0, len(self.data), self.rows):
            rows = range(first, min(first + self.rows, len(self.data)))
            micro = MicroBatch.of(self.data.batch(list(rows)), model.device)
            hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
            loss_BT = token_losses(hidden_BTD, frozen_head(model), micro.targets_BT)
            total += float(loss_BT[micro.valid_BT].double().sum())
            count += float(micro.valid_BT.sum())
        return {"held_out_loss": total / max(1.0, count)}
