"""Define model shapes, and compute their parameter counts and memory; this module needs no torch.

``build_model`` turns a preset into a ``transformers`` config. Published shapes name their origin in
``note``; the others are sized for two CPU cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lacy._require import require_one_of


@dataclass(frozen=True, slots=True)
class Preset:
    """The shape of a model without its vocabulary, which depends on the tokenizer.

    ``llama``: RMSNorm, rotary positions, gated MLP, no biases. ``gpt2``: LayerNorm, learned
    positions, plain MLP of width ``ffn``; its biases stay zero (see ``lacy.model.building``).
    """

    name: str
    family: Literal["llama", "gpt2"]
    width: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    tied: bool = True
    rope_theta: float = 10_000.0
    note: str = ""

    @property
    def kv_width(self) -> int:
        """Total width of the keys (or values) of all KV heads."""
        return self.width // self.heads * self.kv_heads

    @property
    def matrices(self) -> int:
        """Number of weights in the matrices of all layers."""
        attention = 2 * self.width * (self.width + self.kv_width)
        count = 3 if self.family == "llama" else 2
        return self.layers * (attention + count * self.width * self.ffn)

    @property
    def body(self) -> int:
        """Number of trainable parameters without embeddings, head and position table."""
        return self.matrices + self.layers * 2 * self.width + self.width

    def parameters(self, vocabulary: int, context: int) -> int:
        """Return the number of trainable parameters; ``vocabulary`` includes ``<CALL>``."""
        embeddings = vocabulary * self.width * (1 if self.tied else 2)
        positions = context * self.width if self.family == "gpt2" else 0
        return self.body + embeddings + positions


_TABLE = (
    Preset("tiny", "llama", 64, 3, 4, 2, 192, note="for tests: 0.2M with 512 tokens"),
    Preset("demo", "llama", 96, 3, 3, 3, 256, note="lacy demo: learns the world in a minute"),
    Preset("1m", "llama", 128, 4, 4, 4, 384, note="CPU experiments, minutes"),
    Preset("3m", "llama", 192, 5, 4, 4, 512, note="CPU experiments, half an hour"),
    Preset("15m", "llama", 384, 8, 6, 6, 1024, note="CPU overnight, or a minute on a GPU"),
    Preset("135m", "llama", 576, 30, 9, 3, 1536, rope_theta=100_000.0, note="SmolLM2-135M's shape"),
    Preset("334m", "gpt2", 1024, 24, 16, 16, 4096, note="LaCy's smaller model (paper §5.1)"),
    Preset(
        "360m", "llama", 960, 32, 15, 5, 2560, rope_theta=100_000.0, note="SmolLM2-360M's shape"
    ),
    Preset("1b", "llama", 2048, 16, 32, 8, 8192, rope_theta=500_000.0, note="Llama-3.2-1B's shape"),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _TABLE}


def preset_names() -> list[str]:
    """Return the names of all presets from small to large."""
    return list(PRESETS)


def get_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        LacyError: E12, there is no such preset; the message suggests the closest name.
    """
    return PRESETS[require_one_of("model", name, PRESETS)]


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated bytes for training, without the Python process itself (about 0.5 GB)."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        """Sum of all parts in bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.head


def training_memory(
    preset: Preset,
    *,
    vocabulary: int,
    context: int,
    rows: int,
    optimizer: Literal["adamw", "muon"] = "adamw",
    bf16: bool = False,
) -> Memory:
    """Estimate the memory of training, for ``--dry-run``.

    Autograd keeps these activations per token and layer: about ten vectors of the model's width,
    four of the key width and four (two for GPT-2) of the feed-forward width. Each row also has one
    mask of ``context²``. Head and loss need three copies of 512 rows of logits.

    Args:
        preset: the shape.
        vocabulary: number of tokens including ``<CALL>``.
        context: tokens per row.
        rows: rows of a micro-batch.
        optimizer: AdamW keeps two numbers per parameter, Muon one per weight of the body's
        matrices.
        bf16: activations take two bytes (mixed precision: weights stay in four).
    """
    parameters = preset.parameters(vocabulary, context)
    tokens = rows * context
    width = 2 if bf16 else 4
    gates = 4 if preset.family == "llama" else 2
    per_layer = 10 * preset.width + 4 * preset.kv_width + gates * preset.ffn
    matrices = preset.body if optimizer == "muon" else 0
    return Memory(
        weights=4 * parameters,
        gradients=4 * parameters,
        optimizer=4 * (2 * parameters - matrices),
        activations=width * tokens * per_layer * preset.layers + rows * context * context,
        head=3 * 4 * min(tokens, 512) * vocabulary,
    )
