"""Settings of a training run. No torch, because ``--help`` and notebooks read them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lacy.errors import LacyError
from lacy.model import preset_names
from lacy.objective import (
    METHODS,
    CallNegative,
    Delegate,
    Ignore,
    MethodName,
    Objective,
    RankWithin,
)

RateControl = Literal["auto", "exact", "two_pass", "running"]
RatePasses = Literal["exact", "gathered", "two_pass", "running"]
"""What ``rate_control`` comes to for a number of micro-batches and processes (``setup``)."""
Decay = Literal["linear", "1-sqrt", "cosine", "exponential"]

MAY_DIFFER = (
    "out", "threads", "log_every", "eval_every", "save_every", "save_minutes", "keep", "trackers",
    "quiet", "dry_run",
)  # fmt: skip
"""Settings that a resumed run may change; any other would make it another run."""


@dataclass
class TrainConfig:
    """Train a small model that emits <CALL> where a fact is due.

    OUT receives model/ (opens in plain transformers), checkpoints/, metrics.jsonl and config.yaml.
    The same command again resumes a stopped run.
    """

    data: Path | None = None
    """Packed data from `lacy data mark`."""
    out: Path = Path("runs/lacy")
    """Folder of the run."""
    valid: Path | None = None
    """Packed data for validation; by default the last --hold-out share of the rows."""
    hold_out: float = 0.0
    """Share of the rows that is held out for validation if --valid is not given."""

    model: str = "1m"
    """Preset: tiny, demo, 1m, 3m, 15m, 135m, 334m (the paper's GPT-2), 360m, 1b."""
    init_from: str | None = None
    """Start from a model's folder or Hub name instead of a preset; adds <CALL> if it is missing."""
    fork: Path | None = None
    """Start from a checkpoint with its optimizer; a run's folder means the one before the decay."""

    method: MethodName = "lacy"
    """Selection method: how to choose the tokens to delegate; none trains a plain model."""
    call_rate: float = 0.15
    """Share of the targets that become <CALL> (paper §4)."""
    delegate: Delegate = "token"
    """What of a value to delegate: single hard tokens, the whole value, or its first token."""
    rank_within: RankWithin = "batch"
    """Where --call-rate holds: over the whole batch (the paper), or in each packed row."""
    call_negative: CallNegative = "softmax"
    """What lowers the <CALL> logit elsewhere: nothing (the paper), the softmax, or a gate."""
    text_weight: float = 0.5
    """Weight of the true token where the target is <CALL>; 0 in the paper, more helps ranking."""
    ignore: Ignore = "none"
    """No gradient on facts that are not delegated, or also on hard content words (paper §5.4)."""
    ignore_rate: float = 0.15
    """Share of the targets without gradient, for --ignore all."""
    call_warmup: float = 0.0
    """Share of the steps before the first token is delegated."""
    rate_control: RateControl = "auto"
    """How --call-rate holds over several micro-batches: exactly, by two passes, or on average."""
    reference: Path | None = None
    """Reference model whose losses rank the tokens, for the methods rho and marks_reference."""

    steps: int | None = None
    """Training steps; give one of --steps, --tokens, --epochs."""
    tokens: int | None = None
    """Tokens to train on, including the little padding; instead of --steps."""
    epochs: float | None = None
    """Passes over the data, instead of --steps; 1 if none of the three is given."""
    batch_rows: int = 16
    """Rows per step, over all micro-batches and processes."""
    grad_accum: int = 1
    """Number of micro-batches that a batch is split into, to save memory."""

    lr: float = 3e-3
    """Peak learning rate (models below 1M parameters like 6e-3, above 300M 5e-4)."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises."""
    decay: float | None = None
    """Share of the steps in which the learning rate falls; 0.2 by default, 1 for a fork."""
    decay_shape: Decay = "1-sqrt"
    """Shape of the decay: linear, 1-sqrt, cosine, or exponential (MiniCPM)."""
    half_life: float = 0.2
    """Half-life of the exponential decay, as a share of the decay."""
    min_lr: float = 0.0
    """Final learning rate of the other shapes, as a share of the peak."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimizer; muon trains the matrices of the body, AdamW the rest."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Betas of AdamW."""
    weight_decay: float = 0.01
    """Weight decay of matrices; embeddings, norms and biases have none."""
    clip: float = 1.0
    """Largest gradient norm; 0 for no limit."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Dtype of activations; auto is bf16 where it is fast; weights stay in fp32."""
    device: Literal["auto", "cpu"] = "auto"
    """Device; auto uses a GPU if there is one."""
    compile: bool = False
    """Compile the body, which takes a minute; faster on a GPU and on one CPU thread."""
    threads: int = 0
    """CPU threads, 0 for torch's default; bit-for-bit results need the same number."""
    seed: int = 0
    """Seed of weights, data order and random methods."""

    log_every: int = 10
    """Steps per row of metrics.jsonl."""
    eval_every: int = 0
    """Steps between validations; 0 validates only at the end."""
    eval_rows: int = 256
    """Largest number of rows of a validation."""
    save_every: int = 0
    """Steps between checkpoints; 0 saves by time only."""
    save_minutes: float = 10.0
    """Minutes between checkpoints; 0 for none."""
    keep: int = 2
    """How many of the newest checkpoints to keep, besides the one before the decay."""
    trackers: tuple[str, ...] = field(default=())
    """Trackers to log to, by accelerate's names (tensorboard, wandb, trackio)."""
    quiet: bool = False
    """Print nothing but errors."""
    dry_run: bool = False
    """Report data, parameters, memory and time (a few measured steps), and write nothing."""

    def check(self) -> None:
        """Raise one error that lists everything wrong with the settings.

        Raises:
            LacyError: E45.
        """
        found = self.problems()
        if found:
            listed = "".join(f"\n  - {sentence}" for sentence in found)
            raise LacyError("E45", count=len(found), problems=listed)

    def problems(self) -> list[str]:
        """Return what is wrong with the values, one sentence each; no file is read."""
        found = [
            f"{name} is {value!r}, {why}" for name, value, why, good in self._rules() if not good
        ]
        if self.data is None:
            found.append("data is not given (lacy data mark makes it)")
        given = [name for name in ("steps", "tokens", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            found.append(f"{' and '.join(given)} are all given, choose one")
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
        for name in ("data", "valid", "init_from", "reference"):
            given_path = getattr(self, name)
            if given_path is not None and Path(given_path).resolve() == Path(self.out).resolve():
                found.append(f"out is the folder of {name}, give one of its own")
        if self.init_from is not None and self.fork is not None:
            found.append("init_from and fork are both given, choose one")
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
        return found

    def _rules(self) -> list[tuple[str, Any, str, bool]]:
        """Return (name, value, what it must be, True if it is) of single values."""
        counts = ("batch_rows", "grad_accum", "keep", "log_every", "eval_rows", "lr", "half_life")
        optional = ("steps", "tokens", "epochs")
        shares = ("call_rate", "hold_out", "text_weight", "ignore_rate", "call_warmup", "warmup",
                  "min_lr")  # fmt: skip
        numbers = ("weight_decay", "clip", "save_minutes", "save_every", "eval_every", "threads")
        values: dict[str, Any] = vars(self)
        rules = [
            (name, values[name], "it must be more than 0", values[name] > 0) for name in counts
        ]
        rules += [
            (name, values[name], "it must be more than 0", values[name] is None or values[name] > 0)
            for name in optional
        ]
        rules += [
            (name, values[name], "it is a share between 0 and 1", 0 <= values[name] <= 1)
            for name in shares
        ]
        rules += [
            (name, values[name], "it must not be negative", values[name] >= 0) for name in numbers
        ]
        rules += [
            ("decay", self.decay, "it is a share between 0 and 1",
             self.decay is None or 0 <= self.decay <= 1),
            ("betas", self.betas, "both lie between 0 and 1, below 1",
             len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)),
            ("method", self.method, f"choose one of {', '.join(METHODS)}", self.method in METHODS),
            ("delegate", self.delegate, f"choose one of {', '.join(get_args(Delegate))}",
             self.delegate in get_args(Delegate)),
            ("rank_within", self.rank_within, f"choose one of {', '.join(get_args(RankWithin))}",
             self.rank_within in get_args(RankWithin)),
            ("model", self.model, f"choose one of {', '.join(preset_names())}",
             self.model in preset_names()),
        ]  # fmt: skip
        return rules

    def objective(self, *, delegate: bool = True) -> Objective:
        """Return the objective; plain cross-entropy unless ``delegate``."""
        found = Objective(**{entry.name: getattr(self, entry.name) for entry in fields(Objective)})
        if not delegate:
            return found.plain()
        return found if found.delegates else replace(found, call_negative="none")
