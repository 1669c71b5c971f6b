"""A client of a federation that sanitises its samples and trains on them with DPO or SFT."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lacy._require import require_at_least
from lacy.errors import LacyError
from lacy.objective import Objective
from lacy.safety.dpo import DpoLoss
from lacy.safety.rows import ReplyRows
from lacy.safety.samples import PreferencePair, ReplySample
from lacy.safety.sanitise import Guard, SanitiseMode, sanitise
from lacy.train import ExtraLoss, FitState, MicroBatch, fit
from lacy.types import Update

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXT = Objective(method="none", call_negative="none")
"""Nothing is delegated, and ``<CALL>`` has no loss."""

LORA = ".lora_"
"""Part of the names of adapters' weights."""


@dataclass(frozen=True)
class AlignSettings:
    """How a client aligns the model with its samples.

    Attributes:
        beta: of DPO.
        hold_call: weight of the squared change of the gate's margin (DPO); 0 for none.
        lr: learning rate of AdamW.
        batch: samples per step.
        epochs: passes over the samples per round.
        prompt_tokens: tokens kept of a prompt.
        reply_tokens: tokens kept of a reply.
        clip: maximum gradient norm.
        seed: seed of the order of the samples and of refusals.
    """

    beta: float = 0.1
    hold_call: float = 0.0
    lr: float = 2e-4
    batch: int = 4
    epochs: int = 1
    prompt_tokens: int = 128
    reply_tokens: int = 96
    clip: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        for name in ("beta", "lr"):
            require_at_least(name, getattr(self, name), 1e-12, finite=True)
        for name in ("hold_call", "clip"):
            require_at_least(name, getattr(self, name), 0.0, finite=True)
        for name in ("batch", "epochs", "prompt_tokens", "reply_tokens"):
            require_at_least(name, getattr(self, name), 1)


class AlignClient:
    """Trains LoRA adapters on a client's own samples: DPO on pairs, SFT on replies.

    The samples are sanitised once. What leaves the client is an ``Update``: the change of the
    weights, counts, and means of losses. Only adapters are trained; the ``<CALL>`` row and all else
    in the state have a delta of 0.

    Args:
        name: the client's name.
        model: the model with LoRA adapters, shared by the clients of a process.
        tokenizer: its tokenizer.
        samples: pairs or samples to imitate, of one kind.
        settings: how it trains.
        guard: the classifier that flags samples; None for none.
        mode: what happens to flagged samples.
        thresholds: probabilities from which a prompt and a preferred reply are flagged; None for
            the guard's.
        fingerprint: fingerprint of the frozen weights, for the server.

    Attributes:
        counts: counts of the samples, as in ``Sanitised``.

    Raises:
        LacyError: E12, a setting is invalid; E352, a reply is empty; E353, the model has no
            adapters, or the samples are of two kinds.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        samples: Sequence[PreferencePair] | Sequence[ReplySample],
        settings: AlignSettings | None = None,
        *,
        guard: Guard | None = None,
        mode: SanitiseMode = "replace",
        thresholds: tuple[float | None, float | None] = (None, None),
        fingerprint: str = "",
    ) -> None:
        self.name, self._model, self._fingerprint = name, model, fingerprint
        self.settings = settings or AlignSettings()
        self.settings.check()
        if not any(LORA in name for name, _ in model.named_parameters()):
            why, do = "the model has no LoRA adapters", "add adapters first (depth lora)"
            raise LacyError("E353", client=name, why=why, do=do)
        if len({type(one) for one in samples}) > 1:
            why = "it has preference pairs and single replies"
            do = "give all samples of a client the same fields"
            raise LacyError("E353", client=name, why=why, do=do)
        every: list[Any] = list(samples)
        kept, sanitised = sanitise(
            every, guard, mode, prompt_threshold=thresholds[0],
            answer_threshold=thresholds[1], seed=self.settings.seed,
        )  # fmt: skip
        self.counts = sanitised.counts()
        self._rows = ReplyRows(
            kept, tokenizer, prompt_tokens=self.settings.prompt_tokens,
            reply_tokens=self.settings.reply_tokens,
        )  # fmt: skip
        self._extra: DpoLoss | None = None

    def train(self, state: Mapping[str, Tensor], round: int) -> Update:
        """Train from ``state`` and return the change; without samples, the change is 0.

        The reference of DPO is the model without adapters, so it is the same in every round.

        Args:
            state: the trained tensors by name.
            round: number of the round, from 1.
        """
        parameters = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, tensor in state.items():
                parameters[name].copy_(tensor)
        metrics = {"loss": self._fit(parameters, round)} if len(self._rows) else {}
        delta = {
            name: parameters[name].detach().to("cpu", torch.float32, copy=True) - tensor
            for name, tensor in state.items()
        }
        return Update(delta, len(self._rows), round, self._fingerprint, self.counts, metrics)

    def _fit(self, parameters: Mapping[str, nn.Parameter], round: int) -> float:
        """Train the adapters, and return the mean loss of the steps."""
        settings, model = self.settings, self._model
        if self._extra is None and self._rows.per_sample == 2:
            self._extra = DpoLoss(
                model, self._rows, beta=settings.beta, hold_call=settings.hold_call
            )
        trained = {name: one.requires_grad for name, one in parameters.items()}
        seed = _seed(self.name, settings.seed, round)
        steps = settings.epochs * -(-len(self._rows) // settings.batch)
        batches: Iterator[MicroBatch] = self._rows.batches(settings.batch, seed, model.device)
        extra: ExtraLoss | None = self._extra
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for dropout
            state = FitState.start(
                model, trainable=lambda name, _: LORA in name and trained[name], lr=settings.lr
            )
            try:
                done = list(fit(state, islice(batches, steps), TEXT, clip=settings.clip,
                                seed=seed, extra=extra))  # fmt: skip
            finally:
                for name, one in parameters.items():
                    one.requires_grad_(trained[name])
        return sum(step.loss for step in done) / len(done)


def _seed(name: str, seed: int, round: int) -> int:
    """Return a seed that depends on the client, the settings and the round only."""
    digest = hashlib.blake2b(f"{seed}\0{round}\0{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
