"""Arithmetic of a training run, and the hours it takes on a GPU. No torch.

Counted as in PaLM (arXiv 2204.02311, appendix B): a multiplication and an addition are two
operations. A token costs two operations per weight of each matrix it is multiplied with, and four
per layer, width and context token for attention (without a discount for the mask, although
documents packed into one row do not see one another). The backward pass costs twice the forward
pass. An embedding lookup costs nothing; a head costs the same whether tied or not. The extra
forward pass of ``two_pass`` is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lacy.model import Preset

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lacy.train.config import RatePasses

UTILISATION = 0.4
"""Assumed share of the peak, an optimistic figure: large runs report 21% to 46% (PaLM, table 3); a
single GPU needs large micro-batches and ``compile`` for it. Half of it doubles the hours."""

SMALL = 100_000_000
"""Parameters below which a model does not fill a large GPU and does not reach that share."""


class GPU(NamedTuple):
    """One device: peak of dense bf16 products with fp32 sums, and its memory."""

    name: str
    peak: float
    """Operations per second."""
    memory: float
    """Bytes."""


GPUS = (
    # NVIDIA, A100 datasheet: 312 TFLOPS in BF16 (624 with sparsity), SXM and PCIe.
    GPU("A100-80GB", 312e12, 80e9),
    # NVIDIA, H100 datasheet, SXM: 1,979 TFLOPS in BF16 with sparsity, half of it dense.
    GPU("H100-SXM", 989e12, 80e9),
    # NVIDIA, H200 datasheet, SXM: as the H100, with 141 GB.
    GPU("H200-SXM", 989e12, 141e9),
    # NVIDIA, Ada architecture whitepaper, RTX 4090: 165.2 TFLOPS in BF16 with FP32 accumulate.
    GPU("RTX-4090", 165e12, 24e9),
)


@dataclass(frozen=True, slots=True)
class Work:
    """The sizes that determine the arithmetic per token.

    Args:
        matrices: weights in the matrices of the layers.
        head: vocabulary times width.
        attention: layers times width of the queries.
        context: tokens per row.
    """

    matrices: int
    head: int
    attention: int
    context: int

    @classmethod
    def of_preset(cls, preset: Preset, vocabulary: int, context: int) -> Work:
        """Return the sizes of a preset with a vocabulary of this size (``<CALL>`` included)."""
        head, attention = vocabulary * preset.width, preset.layers * preset.width
        return cls(preset.matrices, head, attention, context)

    @classmethod
    def of_model(cls, model: PreTrainedModel, context: int) -> Work:
        """Return the sizes of any causal model."""
        output: Any = model.get_output_embeddings()
        aside = {id(output.weight)}
        for module in model.modules():
            if type(module).__name__ == "Embedding":
                aside.update(id(parameter) for parameter in module.parameters())
        matrices = sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in aside)
        config = model.config
        queries = config.hidden_size
        if getattr(config, "head_dim", None):
            queries = config.head_dim * config.num_attention_heads
        layers = config.num_hidden_layers
        return cls(matrices, output.weight.numel(), layers * queries, context)

    @property
    def forward(self) -> int:
        """Operations of a forward pass, per token."""
        return 2 * (self.matrices + self.head) + 4 * self.attention * self.context

    def training(self, passes: RatePasses, delegating: float = 1.0) -> float:
        """Return the operations of training, per token.

        Args:
            passes: how the call rate is enforced over the batch.
            delegating: share of the steps that delegate (all but ``call_warmup``).
        """
        more = {"two_pass": self.forward, "gathered": 2 * self.head}.get(passes, 0)
        return 3 * self.forward + delegating * more


def gpu_hours(flops: float, gpu: GPU) -> float:
    """Return the hours of one GPU for a number of operations, at ``UTILISATION``."""
    return flops / (gpu.peak * UTILISATION) / 3600


def gpu_lines(flops: float, memory: int | None) -> list[str]:
    """Format the hours on each GPU.

    Args:
        flops: operations of the run.
        memory: bytes that it needs, if known; GPUs with less are marked.
    """
    parts = []
    for gpu in GPUS:
        lacks = memory is not None and memory > gpu.memory
        too_little = f" (if {gpu.memory / 1e9:.0f} GB were enough)" if lacks else ""
        parts.append(f"{gpu.name} {_hours(gpu_hours(flops, gpu))}{too_little}")
    share = f"at {UTILISATION:.0%} of its bf16 peak: assumed, not measured"
    return [", ".join(parts), f"of one GPU {share} (at {UTILISATION / 2:.0%}, twice as long)"]


def _hours(hours: float) -> str:
    if hours < 0.01:
        return "<0.01"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
