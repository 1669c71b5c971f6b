"""Define the settings of a federation; this module needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from lacy._require import require_at_least, require_one_of, require_share
from lacy.config import Rare
from lacy.errors import LacyError
from lacy.train import parse_depth

StrategyName = Literal["mean", "median", "trimmed-mean", "krum", "multi-krum"]
"""How updates are aggregated: by their mean (FedAvg), or so that some may be malicious."""

LoraMean = Literal["product", "factors", "freeze-a"]
"""What of LoRA is averaged: the product BA, its factors apart, or B alone while A is frozen."""


@dataclass(frozen=True)
class RoundSettings:
    """Settings of a federation that hold whatever its clients train on."""

    # [Rounds]
    rounds: int = 3
    """Number of rounds."""
    fraction: float = 1.0
    """Share of the clients that train in a round."""
    quorum: Rare[int] = 1
    """Least number of accepted updates; with fewer, a round changes nothing."""
    deadline: Rare[float | None] = None
    """Seconds after which a round is closed; later updates are refused."""

    # [Training on a client]
    lora_rank: Rare[int] = 8
    """Rank of the adapters."""

    # [Aggregation]
    strategy: StrategyName = "mean"
    """How updates are aggregated: mean (FedAvg), or, if clients may be malicious, median,
    trimmed-mean, krum or multi-krum."""
    malicious: int = 0
    """How many of the updates of a round may be malicious, for trimmed-mean and krum."""
    clip: float | None = None
    """Largest norm of an update; longer ones are shortened to it."""
    lora_mean: Rare[LoraMean | None] = None
    """What of adapters is averaged: their product, refactored (product), their factors apart, or
    only B while A stays as it is (freeze-a, FFA-LoRA). By default product for a mean without noise,
    else freeze-a, because noise and medians need something linear."""
    server_lr: Rare[float] = 1.0
    """Factor of the aggregated update."""
    codec: Rare[str] = "f32"
    """How updates travel: f32, f16, bf16, int8, int4 or topk."""

    # [Privacy]
    noise: float = 0.0
    """Noise multiplier of central differential privacy; needs --clip."""
    delta: Rare[float] = 1e-5
    """Probability with which the privacy budget may not hold."""
    budget: float | None = None
    """Largest epsilon; the rounds end before it would be exceeded."""

    seed: int = 0
    """Seed of the choice of clients and of their training."""


@dataclass(frozen=True)
class FederateSettings(RoundSettings):
    """How a federation trains on texts and aggregates."""

    # [Training on a client]
    depth: str = "lora"
    """How much of the model is trained: lora (adapters), last=N (layers), norms, row or full."""
    local_steps: int | None = None
    """Training steps of a client in a round; by default one pass over its texts."""
    batch_rows: Rare[int] = 8
    """Rows per step."""
    lr: float | None = None
    """Learning rate; by default one that suits the size of the model and --depth."""
    proximal: float = 0.0
    """Weight of FedProx's term, which keeps clients near the state that they received."""

    @property
    def freezes_a(self) -> bool:
        """True if only the B factors of adapters are trained."""
        return self.lora_mean == "freeze-a" or (self.lora_mean is None and not self._linear)

    @property
    def averages_products(self) -> bool:
        """True if the products of adapters are averaged."""
        return self.lora_mean == "product" or (self.lora_mean is None and self._linear)

    @property
    def _linear(self) -> bool:
        return self.strategy == "mean" and not self.noise

    def check(self) -> None:
        """Raise an error if a setting cannot be used.

        Raises:
            LacyError: E12, a setting is invalid.
        """
        require_one_of("strategy", self.strategy, get_args(StrategyName))
        if self.lora_mean is not None:
            require_one_of("lora_mean", self.lora_mean, get_args(LoraMean))
        for name in ("rounds", "quorum", "lora_rank", "batch_rows"):
            require_at_least(name, getattr(self, name), 1)
        for name in ("proximal", "malicious", "noise", "server_lr"):
            require_at_least(name, getattr(self, name), 0, finite=True)
        try:
            parse_depth(self.depth)
        except ValueError as error:
            do = "choose one of the depths"
            raise LacyError("E12", key="depth", value=self.depth, why=error, do=do) from error
        if self.local_steps is not None:
            require_at_least("local_steps", self.local_steps, 1)
        require_share("fraction", self.fraction)
        for name in ("fraction", "deadline", "lr", "clip", "budget", "delta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                do = "give a number above 0"
                raise LacyError("E12", key=name, value=value, why="it is not above 0", do=do)
        if self.noise and self.clip is None:
            why = "noise protects only updates whose norm is limited"
            raise LacyError("E12", key="noise", value=self.noise, why=why, do="add --clip 1")
        if self.noise and self.strategy != "mean":
            why = "the privacy budget is known only for the mean"
            do = "leave out --noise, or choose --strategy mean"
            raise LacyError("E12", key="strategy", value=self.strategy, why=why, do=do)
        if self.lora_mean == "product" and not self._linear:
            why = "products are averaged by the plain mean only"
            raise LacyError("E12", key="lora_mean", value="product", why=why, do="leave it out")
        if self.budget is not None and not self.noise:
            why, do = "without noise there is no privacy budget", "add --noise 1 and --clip 1"
            raise LacyError("E12", key="budget", value=self.budget, why=why, do=do)
