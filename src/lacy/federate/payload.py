"""The trained part of a model: what travels between server and clients.

Which part that is says ``depth``, as in ``lacy train``. With ``lora``, adapters and the ``<CALL>``
row travel, and the rest of the model is the same everywhere; the fingerprint proves it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lacy.deltas import require_fits, shapes_of
from lacy.errors import LacyError
from lacy.federate.lora import A
from lacy.federate.protocol import State
from lacy.federate.settings import FederateSettings
from lacy.model import Loaded, model_fingerprint, origin_of, save_model
from lacy.train import TrainConfig, Trained


class Payload:
    """A model with its trained part.

    Args:
        loaded: the model; changed in place and trained by the clients of this process.
        settings: ``depth``, ``lora_rank``, what of adapters is averaged, and the seed, from which
            adapters get their first values.

    Raises:
        LacyError: E45, the model has no such layers.
    """

    def __init__(self, loaded: Loaded, settings: FederateSettings) -> None:
        self.loaded, self.settings = loaded, settings
        original = model_fingerprint(loaded.model)
        config = TrainConfig(depth=settings.depth, lora_rank=settings.lora_rank, seed=settings.seed)
        self._trained = Trained.start(loaded.model, config, loaded.name)
        if settings.freezes_a:
            for name, parameter in loaded.model.named_parameters():
                if A in name:
                    parameter.requires_grad_(False)
        self.parameters: dict[str, nn.Parameter] = {
            name: each for name, each in loaded.model.named_parameters() if each.requires_grad
        }
        self.fingerprint = _fingerprint(original, loaded.model, settings)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of the trained tensors, in float32 on the CPU."""
        return {name: _copied(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Set the trained tensors.

        Raises:
            LacyError: E340, the state has other tensors.
        """
        try:
            require_fits(state, shapes_of(self.parameters))
        except LacyError as error:
            raise LacyError("E340", why=error.values["why"]) from error
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])

    def delta(self, state: State) -> dict[str, Tensor]:
        """Return the trained tensors minus ``state``."""
        return {name: _copied(each) - state[name] for name, each in self.parameters.items()}

    def write(self, folder: str | Path, state: State, meta: dict[str, Any]) -> Path:
        """Write the model with a state as an ordinary model folder; this payload ends.

        Raises:
            LacyError: E16, the folder has other content; E19, the disk is full or failing.
        """
        self.load(state)
        self._trained.merge()
        model: Any = self.loaded.model
        return save_model(
            folder, model.cpu(), self.loaded.tokenizer, origin_of(self.loaded.meta) | meta
        )


def _copied(parameter: nn.Parameter) -> Tensor:
    return parameter.detach().to("cpu", torch.float32, copy=True)


def _fingerprint(original: str, model: Any, settings: FederateSettings) -> str:
    """Return a fingerprint of the frozen weights: the model's, the part's, and frozen adapters'."""
    digest = hashlib.sha256(f"{original} {settings.depth} {settings.lora_rank}".encode())
    for name, parameter in model.named_parameters():
        if A in name and not parameter.requires_grad:
            digest.update(name.encode())
            digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
