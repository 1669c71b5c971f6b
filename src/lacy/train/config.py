"""Define the settings of a training run, without torch, because ``--help`` imports this module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lacy._text import did_you_mean
from lacy.config import Rare
from lacy.errors import LacyError
from lacy.model import SHORT_NAMES, preset_names
from lacy.objective import (
    METHODS,
    CallNegative,
    Delegate,
    Ignore,
    MethodName,
    Objective,
    RankWithin,
)
from lacy.train.depth import parse_depth

RateControl = Literal["auto", "exact", "two_pass", "running"]
RatePasses = Literal["exact", "two_pass", "running"]
"""How the call rate is enforced; chosen from ``rate_control`` and the number of micro-batches."""
Decay = Literal["linear", "1-sqrt", "cosine", "exponential"]

MAY_DIFFER = (
    "out", "threads", "log_every", "eval_every", "save_every", "save_minutes", "keep", "trackers",
    "quiet", "dry_run", "wait_minutes", "shard",
)  # fmt: skip
"""Settings that a resumed run may change; changing others would make it a different run."""

SPLIT = ("grad_accum",)
"""Settings that change nothing but rounding unless the call rate holds on average (``running``)."""

AUTOMATIC = ("lr", "call_negative", "eval_rows")
"""Settings that are chosen for the model if they are not given (``setup.settle``)."""


_RULES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("batch_rows", "grad_accum", "keep", "log_every", "eval_rows", "lr", "half_life", "steps",
      "tokens", "epochs", "lora_rank", "lora_alpha", "wait_minutes"), "it must be more than 0",
     lambda value: value > 0),
    (("call_rate", "hold_out", "text_weight", "ignore_rate", "call_warmup", "warmup", "decay",
      "min_lr"), "it is a share between 0 and 1", lambda value: 0 <= value <= 1),
    (("replay_share",), "it is a share above 0 and below 1", lambda value: 0 < value < 1),
    (("weight_decay", "clip", "save_minutes", "save_every", "eval_every", "threads"),
     "it must not be negative", lambda value: value >= 0),
    (("betas",), "both lie between 0 and 1, below 1",
     lambda value: len(value) == 2 and all(0 <= beta < 1 for beta in value)),
)  # fmt: skip
"""(settings, requirement, check); settings that are None are not checked."""


@dataclass
class TrainConfig:
    """Train a small model that emits <CALL> where a fact is due.

    OUT receives model/ (plain transformers can load it), checkpoints/, metrics.jsonl and
    config.yaml. The same command again resumes a stopped run.
    """

    # [Data]
    data: Path | None = None
    """Packed data from `lacy data mark`."""
    out: Path = Path("runs/lacy")
    """Folder of the run."""
    valid: Rare[Path | None] = None
    """Packed data for validation; by default the last --hold-out share of the rows."""
    hold_out: float = 0.0
    """Share of the rows that is held out for validation if --valid is not given."""
    replay: Rare[Path | None] = None
    """Packed general texts to mix in, so that a pretrained model forgets less."""
    replay_share: Rare[float] = 0.1
    """Share of the rows that come from --replay."""
    valid_general: Rare[Path | None] = None
    """Packed texts of other kinds; a rise of the loss on them (general_loss) shows forgetting."""

    # [Model]
    model: str = "1m"
    """A preset for a new model (tiny, demo, 1m, 3m, 15m, 135m, 334m, 360m, 1b; 334m is the paper's
    GPT-2), or a model to start from: a folder, a GGUF file, smollm2 or a Hub name."""
    fork: Rare[Path | None] = None
    """Start from a checkpoint with its optimizer; a run's folder means the one before the decay."""
    depth: str = "full"
    """How much of the model is trained: full, last=N (layers), lora (adapters), norms (the scales
    of the norms), or row (<CALL>)."""
    lora_rank: Rare[int] = 16
    """Rank of the adapters."""
    lora_alpha: Rare[float | None] = None
    """Scale of the adapters; twice the rank by default."""
    lora_targets: Rare[tuple[str, ...]] = ("all-linear",)
    """Names of the matrices that get adapters, such as q_proj; all-linear means all but the
    head."""

    # [Delegation]
    method: MethodName = "lacy"
    """Selection method: how to choose the tokens to delegate; none trains a plain model."""
    call_rate: float = 0.15
    """Share of the targets that become <CALL> (paper §4)."""
    delegate: Rare[Delegate] = "token"
    """What of a value to delegate: single hard tokens, the whole value, or its first token."""
    rank_within: Rare[RankWithin] = "batch"
    """Where --call-rate holds: over the whole batch (the paper), or in each packed row."""
    call_negative: Rare[CallNegative | None] = None
    """What lowers the <CALL> logit elsewhere: nothing (none, the paper), the softmax, or a separate
    gate (sigmoid). By default sigmoid for a model that has a gate (lacy tune), else softmax."""
    text_weight: float = 0.5
    """Weight of the true token where the target is <CALL>; 0 in the paper, more helps ranking."""
    ignore: Rare[Ignore] = "none"
    """No gradient on facts that are not delegated, or also on hard content words (paper §5.4)."""
    ignore_rate: Rare[float] = 0.15
    """Share of the targets without gradient, for --ignore all."""
    call_warmup: Rare[float] = 0.0
    """Share of the steps before the first token is delegated."""
    rate_control: Rare[RateControl] = "auto"
    """How --call-rate holds over several micro-batches: exactly, by two passes, or on average."""
    reference: Rare[Path | None] = None
    """Reference model whose losses rank the tokens, for the methods rho and marks_reference."""

    # [Schedule]
    steps: int | None = None
    """Training steps; give one of --steps, --tokens, --epochs."""
    tokens: int | None = None
    """Tokens to train on, including the little padding; instead of --steps."""
    epochs: float | None = None
    """Passes over the data, instead of --steps; 1 if none of the three is given."""
    batch_rows: int = 16
    """Rows per step, of all micro-batches and processes together."""
    grad_accum: Rare[int] = 1
    """Number of micro-batches that a batch is split into, to save memory; processes (torchrun)
    split each of them further."""

    # [Optimizer]
    lr: float | None = None
    """Peak learning rate; by default 3e-3 for a new model, and less for a pretrained one, by its
    size and --depth."""
    warmup: Rare[float] = 0.03
    """Share of the steps in which the learning rate rises."""
    decay: float | None = None
    """Share of the steps in which the learning rate falls; by default 0.2, for a fork 1."""
    decay_shape: Rare[Decay] = "1-sqrt"
    """Shape of the decay: linear, 1-sqrt, cosine, or exponential (MiniCPM)."""
    half_life: Rare[float] = 0.2
    """Half-life of the exponential decay, as a share of the decay."""
    min_lr: Rare[float] = 0.0
    """Final learning rate of the other shapes, as a share of the peak."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimizer; muon trains the matrices of the body, AdamW the rest."""
    betas: Rare[tuple[float, float]] = (0.9, 0.95)
    """Betas of AdamW."""
    weight_decay: Rare[float] = 0.01
    """Weight decay of matrices; embeddings, norms and biases have none."""
    clip: Rare[float] = 1.0
    """Largest gradient norm; 0 for no limit."""

    # [Machine]
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Dtype of activations (weights stay fp32); auto: bf16 where it is fast."""
    device: Rare[Literal["auto", "cpu"]] = "auto"
    """Device; auto uses a GPU if there is one."""
    compile: Rare[bool] = False
    """Compile the body, which takes a minute; faster on a GPU and on one CPU thread."""
    threads: Rare[int] = 0
    """CPU threads of each process, 0 for torch's default (of several processes, a share of the
    cores); bit-for-bit results need the same number."""
    shard: Rare[bool] = False
    """Split the weights of the layers over the processes, to save memory (FSDP)."""
    wait_minutes: Rare[float] = 30.0
    """Minutes that a process waits for the others before the run ends (torchrun)."""
    seed: int = 0
    """Seed of weights, data order and random methods."""

    # [Output]
    log_every: Rare[int] = 10
    """Steps per row of metrics.jsonl."""
    eval_every: Rare[int] = 0
    """Steps between validations; 0 validates only at the end."""
    eval_rows: Rare[int | None] = None
    """Maximum number of rows per validation; 256 by default, fewer for a large model on a CPU."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves by time only."""
    save_minutes: Rare[float] = 10.0
    """Minutes between checkpoints; 0 for none."""
    keep: Rare[int] = 2
    """How many of the newest checkpoints to keep, besides the one before the decay."""
    trackers: Rare[tuple[str, ...]] = field(default=())
    """Trackers to log to, by accelerate's names (tensorboard, wandb, trackio)."""
    quiet: bool = False
    """Print nothing but errors."""
    dry_run: bool = False
    """Report data, parameters, memory and time (a few measured steps), and write nothing."""

    def check(self) -> None:
        """Raise one error that lists all problems of the settings.

        Raises:
            LacyError: E45, there are problems.
        """
        found = self.problems()
        if found:
            listed = "".join(f"\n  - {sentence}" for sentence in found)
            raise LacyError("E45", count=len(found), problems=listed)

    def problems(self) -> list[str]:
        """Return one sentence per invalid or contradictory setting; no file is read."""
        found = [
            f"{name} is {getattr(self, name)!r}, {why}"
            for names, why, good in _RULES
            for name in names
            if getattr(self, name) is not None and not good(getattr(self, name))
        ]
        choices = {
            name: get_args(kind)
            for name, kind in get_type_hints(type(self)).items()
            if get_origin(kind) is Literal
        }
        found += [
            f"{name} is {getattr(self, name)!r}, choose one of {', '.join(known)}"
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        found += self._model_problems()
        if self.data is None:
            found.append("data is not given (lacy data mark makes it)")
        given = [name for name in ("steps", "tokens", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            found.append(f"{' and '.join(given)} exclude each other, choose one")
        if self.grad_accum >= 1 and self.batch_rows % self.grad_accum:
            found.append(
                f"batch_rows {self.batch_rows} does not split into {self.grad_accum} micro-batches"
            )
        if self.rate_control == "exact" and self.grad_accum > 1:
            found.append("rate_control exact needs grad_accum 1, choose two_pass or running")
        if self.rate_control == "running" and (self.delegate, self.rank_within) != (
            "token",
            "batch",
        ):
            found.append(
                "rate_control running ranks tokens of all batches together: with delegate"
                f" {self.delegate}, rank_within {self.rank_within} choose auto, exact or two_pass"
            )
        for name in ("data", "valid", "reference", "replay", "valid_general"):
            given_path = getattr(self, name)
            if given_path is not None and Path(given_path).resolve() == Path(self.out).resolve():
                found.append(f"out is the folder of {name}, give one of its own")
        if self.warmup + (self.decay or 0.0) > 1 and self.fork is None:
            found.append(f"warmup {self.warmup} and decay {self.decay} are more than the whole run")
        if (
            self.method in METHODS
            and METHODS[self.method].needs_reference
            and self.reference is None
        ):
            found.append(
                f"method {self.method} ranks by a reference model's losses, give reference"
            )
        if self.replay is not None and self.reference is not None:
            found.append("reference has no losses for the rows of replay, give one of the two")
        return found

    @property
    def may_differ(self) -> tuple[str, ...]:
        """Names of the settings that a resumed run may change."""
        return MAY_DIFFER if self.rate_control == "running" else (*MAY_DIFFER, *SPLIT)

    @property
    def new_model(self) -> bool:
        """True if the run starts from new weights of a preset."""
        return self.fork is None and self.model in preset_names()

    def _model_problems(self) -> list[str]:
        """Return the problems of ``model``, ``fork`` and ``depth``."""
        found = []
        try:
            kind, _ = parse_depth(self.depth)
        except ValueError as error:
            found.append(str(error))
            kind = "full"
        for name, only in (("depth", "full"), ("optimizer", "adamw"), ("compile", False)):
            if self.shard and getattr(self, name) != only:
                found.append(f"shard needs {name} {only}, not {getattr(self, name)}")
        preset = self.model in preset_names()
        if not preset and self.fork is not None:
            found.append("model and fork both name a model to start from, choose one")
        if preset and self.fork is None and kind != "full":
            found.append(
                f"depth {self.depth} trains a part of a trained model, but {self.model} is a new"
                " one: give --model FOLDER"
            )
        place = Path(self.model)
        if not preset and place.exists() and place.resolve() == Path(self.out).resolve():
            found.append("out is the folder of the model, choose another folder")
        if not (preset or place.exists() or "/" in self.model or self.model in SHORT_NAMES):
            names = [*preset_names(), *SHORT_NAMES]
            hint = did_you_mean(self.model, names)
            found.append(
                f"model is {self.model!r}{hint}, which is neither a preset nor a model: choose one"
                f" of {', '.join(preset_names())}; or give the folder of a model, a .gguf file,"
                f" {' or '.join(SHORT_NAMES)}, or a Hub name (owner/name)"
            )
        return found

    def objective(self, *, delegate: bool = True) -> Objective:
        """Return the objective; plain cross-entropy if ``delegate`` is False."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(Objective)}
        found = Objective(**{name: value for name, value in given.items() if value is not None})
        if not delegate:
            return found.plain()
        return found if found.delegates else replace(found, call_negative="none")
