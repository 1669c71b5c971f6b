"""Settings of the stages; this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from lacy._require import require_at_least, require_one_of
from lacy.blade.search import SearchKind
from lacy.config import Rare


@dataclass
class WriterSettings:
    """How a small model learns to write the knowledge for questions."""

    # [Training]
    epochs: float = 3.0
    """Passes over the triples."""
    batch: int = 8
    """Triples per step."""
    lr: float | None = None
    """Peak learning rate; by default one that suits the model's size."""
    depth: str = "lora"
    """How much of the model is trained: lora (adapters), last=N (layers), norms or full."""
    lora_rank: Rare[int] = 16
    """Rank of the adapters."""
    hold_call: float = 1.0
    """Weight of a term that keeps the margins of <CALL> where they were (models that call)."""
    prompt_tokens: Rare[int] = 160
    """Tokens kept of a question with its instruction."""
    knowledge_tokens: Rare[int] = 96
    """Tokens kept of the knowledge."""
    warmup: Rare[float] = 0.05
    """Share of the steps in which the learning rate rises; then it falls to 0."""
    seed: int = 0
    """Seed of adapters and order."""

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        require_at_least("epochs", self.epochs, 1e-6, finite=True)
        if self.lr is not None:
            require_at_least("lr", self.lr, 1e-12, finite=True)
        for name in ("batch", "lora_rank", "prompt_tokens", "knowledge_tokens"):
            require_at_least(name, getattr(self, name), 1)
        for name in ("hold_call", "warmup"):
            require_at_least(name, getattr(self, name), 0.0, finite=True)


@dataclass
class OptimiseSettings:
    """How a soft prompt is searched (BLADE's stage 3)."""

    # [Search]
    search: SearchKind = "bayes"
    """The search: bayes (a Gaussian process with expected improvement) or random (the control)."""
    evaluations: int = 45
    """Number of soft prompts that are evaluated, besides none at all."""
    start: Rare[int] = 16
    """Number of first points, spread evenly; the paper has 5, which is worse if answers are
    noisy."""
    batch: int = 4
    """Points that are chosen from the same knowledge; the paper has 20, which is worse."""
    dimensions: Rare[int] = 10
    """Number of searched numbers; a fixed random matrix makes vectors of them."""
    soft_tokens: Rare[int] = 5
    """Number of vectors before the prompt."""
    max_tokens: int = 48
    """Maximum number of tokens of the knowledge."""
    failures: Rare[int] = 3
    """Number of tries of one evaluation before the command stops."""
    seed: int = 0
    """Seed of the matrix and the search."""

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        require_one_of("search", self.search, ("bayes", "random"))
        for name in ("evaluations", "start", "batch", "dimensions", "soft_tokens", "max_tokens",
                     "failures"):  # fmt: skip
            require_at_least(name, getattr(self, name), 1)
