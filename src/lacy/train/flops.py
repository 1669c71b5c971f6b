"""Compute the FLOP of a training run and its hours on a GPU; this module needs no torch.

Counts as in PaLM (arXiv 2204.02311, appendix B): a multiplication and an addition are two
operations. A token costs two operations per weight of each matrix, plus four per layer, width and
context token for attention (without a discount for the mask, although packed documents do not
attend to each other). The backward pass costs twice the forward pass. An embedding look-up costs
nothing; a head costs the same whether tied or not. The extra forward pass of ``two_pass`` is
included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lacy.model import Preset

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lacy.train.config import RatePasses

UTILISATION = 0.4
"""Assumed share of the peak. This is optimistic: large runs report 21% to 46% (PaLM, table 3), and
a single GPU needs large micro-batches and ``compile`` to reach it."""

SMALL = 100_000_000
"""Models with fewer parameters cannot occupy a large GPU and do not reach ``UTILISATION``."""


class GPU(NamedTuple):
    """Peak throughput (dense bf16 products, fp32 accumulation) and memory of one GPU."""

    name: str
    peak: float
    """Peak operations per second."""
    memory: float
    """Memory in bytes."""


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
    """The sizes that determine the operations per token.

    Args:
        matrices: number of weights in the matrices of all layers.
        head: vocabulary size times width.
        attention: number of layers times width of the queries.
        context: tokens per row.
    """

    matrices: int
    head: int
    attention: int
    context: int

    @classmethod
    def of_preset(cls, preset: Preset, vocabulary: int, context: int) -> Work:
        """Return the sizes of a preset; ``vocabulary`` includes ``<CALL>``."""
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
        """Operations per token of a forward pass."""
        return 2 * (self.matrices + self.head) + 4 * self.attention * self.context

    def training(
        self, passes: RatePasses, delegating: float = 1.0, share: tuple[float, float] = (1.0, 1.0)
    ) -> float:
        """Return the operations per token of training.

        Args:
            passes: how the call rate is enforced over the batch.
            delegating: share of steps that delegate, i.e. all after ``call_warmup``.
            share: shares of the weights that gradients pass through and of those that are trained
        (LoRA: all and almost none; see ``memory.trained_share``).
        """
        more = self.forward if passes == "two_pass" else 0
        return self.forward * (1 + sum(share)) + delegating * more


def gpu_hours(flops: float, gpu: GPU) -> float:
    """Return the hours that one GPU needs for these operations at ``UTILISATION``."""
    return flops / (gpu.peak * UTILISATION) / 3600


def gpu_lines(flops: float, memory: int | None) -> list[str]:
    """Format the hours on each GPU of ``GPUS``.

    Args:
        flops: operations of the run.
        memory: bytes that the run needs, if known; GPUs with less memory are marked.
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
