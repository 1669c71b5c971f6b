"""The plan of a compression: steps that change the model, and the files that are written of it.

A plan is a YAML file. ``steps`` are applied one after another; ``outputs`` are written of the model
after the last step, each in the format of the runtime that it is for:

    steps:
      - vocabulary: {tolerance: 1}
      - layers: {remove: 3}
      - recover: {tokens: 100_000}
    outputs:
      - gguf: {bits: 4.5}
      - int8

This module does not import torch, so a plan is checked quickly.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lacy._convert import Problem, read_fields
from lacy._text import did_you_mean
from lacy.config import load
from lacy.errors import LacyError

PLANS = Path(__file__).parent / "plans"
"""Folder of the plans that ship with lacy, one per target."""

REFIT_ROWS = 4
"""Minimum number of rows from which layers are refitted; a quarter of them is held out."""

Target = Literal["phone", "browser", "server"]


@dataclass(frozen=True)
class VocabularyStep:
    """Keep the tokens that texts of the domain need; all other tokens are removed."""

    tolerance: float = 1.0
    """Mean number of tokens that a text may miss; the rarest tokens go first. A text is still
    written completely: a missing token is replaced by the shorter ones that it is made of."""
    tokens: int = 0
    """Keep at most about this many tokens, those in most texts; 0 for as many as ``tolerance``
    leaves. Those that a kept token is merged from are kept, too."""


@dataclass(frozen=True)
class LayersStep:
    """Remove layers, and let the others make up for them."""

    remove: float = 0.25
    """Number of layers, or a share below 1."""
    by: Literal["influence", "loss", "last"] = "influence"
    """How layers are chosen: by how little they change the hidden states (one pass over the rows),
    by the loss without each of them (a pass per layer), or the last ones. Then the remaining layers
    are refitted to the states of the whole model."""


@dataclass(frozen=True)
class WidthStep:
    """Remove the least active parts of all layers."""

    neurons: float = 1.0
    """Share of the neurons of each MLP to keep."""
    heads: float = 1.0
    """Share of the attention heads to keep; the heads of a group stay together."""
    channels: float = 1.0
    """Share of the channels of the hidden states to keep."""


@dataclass(frozen=True)
class SparsityStep:
    """Set weights to zero. The tensors keep their sizes; files get smaller only by compression."""

    method: Literal["magnitude", "wanda", "sparsegpt"] = "wanda"
    """How weights are chosen."""
    share: float = 0.5
    """Share of the weights of each matrix that become zero."""
    pattern: str = ""
    """N:M, such as 2:4: N of M neighbouring weights are kept; share is then ignored."""


@dataclass(frozen=True)
class RecoverStep:
    """Train the changed model for a short time; the original model is its teacher."""

    tokens: int = 100_000
    """Number of tokens to train on."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    batch_rows: int = 2
    """Rows per step. With few tokens, many small steps regain more than few large ones."""
    delegation: bool = True
    """Do not imitate the teacher where the student may call."""
    teacher_weight: float = 1.0
    """Weight of the teacher's predictions; the texts themselves have the rest. Below 1, the model
    also learns from the texts, such as the words of the domain after tokens were removed."""


@dataclass(frozen=True)
class RefitStep:
    """Fit the ``<CALL>`` row again and change nothing else.

    Every other step does this, too; alone, it shows how much of a difference comes from the row.
    """


@dataclass(frozen=True)
class GgufOutput:
    """One GGUF file, for llama.cpp and engines built on it."""

    bits: float = 0.0
    """Mean number of bits per weight, such as 4.7: each matrix gets the block type with which the
    whole model loses least; 0 for the type given by ``precision``."""
    precision: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] = (
        "q8_0"
    )
    """Type of the weights, unless ``bits`` is given; embedding and head have at least q8_0."""
    method: Literal["gptq", "search", "nearest"] = "gptq"
    """How weights are rounded: so that later columns make up for the error of earlier ones (gptq),
    on grids that minimise the output error (search), or to the nearest value (nearest)."""
    norm_tokens: int = 20_000
    """Number of tokens on which the scales of the norms, which stay in 32 bits, are trained after
    rounding, with the model before rounding as teacher (Norm Tweaking, arXiv 2309.02784). Types
    with 8 bits or more need none."""

    @property
    def rounds(self) -> bool:
        """True if weights are rounded to blocks with a scale each."""
        return bool(self.bits) or self.precision not in ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Int8Output:
    """A model folder with weights in 8 bits (torchao), for transformers and PyTorch."""

    activations: bool = False
    """Round the inputs of each layer to 8 bits, too."""


@dataclass(frozen=True)
class OnnxOutput:
    """A folder with an ONNX model, for ONNX Runtime."""

    precision: Literal["f32", "int8"] = "int8"
    """Precision of the weights."""


@dataclass(frozen=True)
class FolderOutput:
    """A model folder, for transformers, vLLM and lacy itself."""

    precision: Literal["f32", "bf16", "f16"] = "bf16"
    """Precision of the weights."""


Step: TypeAlias = VocabularyStep | LayersStep | WidthStep | SparsityStep | RecoverStep | RefitStep
Output: TypeAlias = GgufOutput | Int8Output | OnnxOutput | FolderOutput

STEPS: dict[str, type[Step]] = {
    "vocabulary": VocabularyStep,
    "layers": LayersStep,
    "width": WidthStep,
    "sparsity": SparsityStep,
    "recover": RecoverStep,
    "refit": RefitStep,
}
OUTPUTS: dict[str, type[Output]] = {
    "gguf": GgufOutput,
    "int8": Int8Output,
    "onnx": OnnxOutput,
    "folder": FolderOutput,
}


@dataclass
class MeasureSettings:
    """What every stage is measured on."""

    texts: int = 60
    """Number of held-out texts."""
    tokens: int = 256
    """Tokens read of each text."""
    subjects: int = 60
    """Number of subjects of the facts that ship with lacy; the model completes sentences about
    them, with a database."""
    speed: bool = True
    """Measure speed and memory, each in the runtime that a file is for."""


@dataclass
class CompressPlan:
    """Steps that change a model, files that are written of it, and how both are measured."""

    steps: tuple[Any, ...] = ()
    """Steps in order: vocabulary, layers, width, sparsity, recover, refit, with their settings."""
    outputs: tuple[Any, ...] = ()
    """Files to write of the model after the last step: gguf, int8, onnx, folder."""
    rows: int = 64
    """Number of rows of text from which the inputs of layers are measured."""
    length: int = 256
    """Tokens per row."""
    articles: int = 100
    """Number of texts to which the ``<CALL>`` row is fitted again after each change."""
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    """What every stage is measured on."""
    seed: int = 0
    """Seed of all random choices."""


@dataclass(frozen=True)
class Planned:
    """One step or output of a plan."""

    kind: str
    """Its name in a plan, such as ``layers``."""
    name: str
    """A name that is unique within the plan, such as ``2-layers`` or ``gguf-q8_0``."""
    settings: Any
    """A value of the classes of ``STEPS`` or ``OUTPUTS``."""

    @property
    def is_output(self) -> bool:
        """True for an output."""
        return self.kind in OUTPUTS

    def described(self) -> str:
        """Return its settings as words, without those that have no effect."""
        values = asdict(self.settings)
        match self.settings:
            case GgufOutput(rounds=False):
                values = {"precision": self.settings.precision}
            case GgufOutput(bits=bits):
                values.pop("precision" if bits else "bits")
            case SparsityStep(pattern=pattern):
                values.pop("share" if pattern else "pattern")
            case VocabularyStep(tokens=0):
                values.pop("tokens")
        return ", ".join(f"{name} {value}" for name, value in values.items())

    def key(self, before: str) -> str:
        """Return a hash of this step, its settings and everything before it."""
        basis = json.dumps([before, self.kind, asdict(self.settings)], sort_keys=True)
        return hashlib.sha256(basis.encode()).hexdigest()[:16]


def read_compress_plan(path: str | Path) -> CompressPlan:
    """Read and check a plan.

    Args:
        path: a YAML file, or the name of a plan that ships with lacy (``phone``, ``browser``,
            ``server``). A file of that name has precedence.

    Raises:
        LacyError: for the same reasons as ``config.load``; E320 if the plan cannot be carried out.
    """
    names = sorted(file.stem for file in PLANS.glob("*.yaml"))
    if not Path(path).exists():
        if str(path) not in names:
            hint = did_you_mean(str(path), names)
            do = f"check the spelling{hint}; plans that ship: {', '.join(names)}"
            raise LacyError("E13", path=path, do=do)
        path = PLANS / f"{path}.yaml"
    plan = load(CompressPlan, path, command="compress")
    check_compress_plan(plan)
    return plan


def check_compress_plan(plan: CompressPlan) -> None:
    """Raise E320 with all problems of a plan."""
    problems = list(_problems(plan))
    if problems:
        listed = "".join(f"\n  - {sentence}" for sentence in problems)
        raise LacyError("E320", problems=listed)


def planned(plan: CompressPlan) -> list[Planned]:
    """Return the steps and outputs of a plan in order."""
    found = [
        Planned(kind, f"{number}-{kind}", settings)
        for number, (kind, settings) in enumerate(_parsed(plan.steps, STEPS, []), 1)
    ]
    for kind, settings in _parsed(plan.outputs, OUTPUTS, []):
        found.append(Planned(kind, _output_name(kind, settings), settings))
    return found


def _output_name(kind: str, settings: Any) -> str:
    match settings:
        case GgufOutput(bits=bits, precision=precision, method=method):
            how = f"{bits:g}" if bits else precision
            return f"gguf-{how}" if method == "gptq" else f"gguf-{how}-{method}"
        case Int8Output(activations=True):
            return "int8-activations"
        case OnnxOutput(precision=precision) | FolderOutput(precision=precision):
            return f"{kind}-{precision}"
    return kind


def _parsed(
    items: Sequence[Any], kinds: Mapping[str, type], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield kind and settings of each item; problems are added to the list."""
    for item in items:
        entries = {item: None} if isinstance(item, str) else item
        if not isinstance(entries, Mapping) or len(entries) != 1:
            problems.append(f"{item!r} is not of the form NAME: {{SETTINGS}}")
            continue
        [(kind, given)] = entries.items()
        if kind not in kinds:
            known = f"; they are {', '.join(kinds)}"
            problems.append(f"there is no {kind!r}{did_you_mean(str(kind), kinds) or known}")
            continue
        found: list[Problem] = []
        values = read_fields(kinds[kind], given or {}, f"{kind}.", found)
        problems += [f"{p.key} is {p.value!r}, expected {p.expected}{p.hint}" for p in found]
        if not found:
            yield kind, kinds[kind](**values)


def _problems(plan: CompressPlan) -> Iterator[str]:
    problems: list[str] = []
    steps = list(_parsed(plan.steps, STEPS, problems))
    outputs = list(_parsed(plan.outputs, OUTPUTS, problems))
    yield from problems
    if not plan.steps and not plan.outputs:
        yield "it has neither steps nor outputs"
    for key, least in (("rows", 1), ("length", 8), ("articles", 5)):
        if getattr(plan, key) < least:
            yield f"{key} is {getattr(plan, key)}, it is at least {least}"
    if plan.rows < REFIT_ROWS and any(kind == "layers" for kind, _ in steps):
        yield f"rows is {plan.rows}, to remove layers it is at least {REFIT_ROWS}"
    if plan.measure.texts < 2 or plan.measure.tokens < 8:
        yield "measure.texts is at least 2, and measure.tokens at least 8"
    for kind, settings in (*steps, *outputs):
        numbers = {k: v for k, v in asdict(settings).items() if isinstance(v, float)}
        wrong = [name for name, value in numbers.items() if not math.isfinite(value)]
        yield from (f"{kind}.{name} is {numbers[name]}, it is a finite number" for name in wrong)
        if not wrong:
            yield from _setting_problems(settings)
    names = [_output_name(kind, settings) for kind, settings in outputs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the output {name} is there twice"


def _setting_problems(settings: Any) -> Iterator[str]:
    """Yield what is wrong with the values of one step or output."""
    match settings:
        case VocabularyStep(tolerance=t, tokens=n) if not t >= 0.0 or n < 0:
            yield f"vocabulary.tolerance is {t:g} and tokens {n}, both are at least 0"
        case LayersStep(remove=n) if n <= 0 or (n >= 1 and n != int(n)):
            yield f"layers.remove is {n:g}, it is a number of layers or a share below 1"
        case WidthStep():
            parts = {"neurons": settings.neurons, "heads": settings.heads,
                     "channels": settings.channels}  # fmt: skip
            for name, share in parts.items():
                if not 0.0 < share <= 1.0:
                    yield f"width.{name} is {share:g}, it is a share above 0 and at most 1"
            if all(share == 1.0 for share in parts.values()):
                yield "width keeps everything; give neurons, heads or channels below 1"
        case SparsityStep(share=share, pattern=pattern):
            if not 0.0 < share < 1.0:
                yield f"sparsity.share is {share:g}, it is a share between 0 and 1"
            kept, _, of = pattern.partition(":")
            if pattern and not (kept.isdigit() and of.isdigit() and 0 < int(kept) < int(of)):
                yield f"sparsity.pattern is {pattern!r}, it is N:M with N below M, such as 2:4"
        case RecoverStep(teacher_weight=weight):
            if settings.tokens < 1 or not 0 < settings.learning_rate < 1:
                yield "recover.tokens is at least 1, and recover.learning_rate between 0 and 1"
            if settings.batch_rows < 1:
                yield f"recover.batch_rows is at least 1, not {settings.batch_rows}"
            if not 0.0 <= weight <= 1.0:
                yield f"recover.teacher_weight is {weight:g}, it is a share between 0 and 1"
        case GgufOutput(bits=bits, norm_tokens=tokens):
            if bits and not 4.5 <= bits <= 8.5:
                yield f"gguf.bits is {bits:g}, llama.cpp's blocks have 4.5 to 8.5 bits per weight"
            if tokens < 0:
                yield f"gguf.norm_tokens is {tokens}, it is at least 0"
