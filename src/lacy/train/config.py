"""The settings of a training run. No torch: read by ``--help``, files and notebooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lacy.errors import LacyError
from lacy.model import preset_names
from lacy.objective import METHODS, CallNegative, Delegate, Ignore, MethodName, RankWithin

RateControl = Literal["auto", "exact", "two_pass", "running"]
Decay = Literal["linear", "1-sqrt", "cosine", "exponential"]

MAY_DIFFER = (
    "out", "threads", "log_every", "eval_every", "save_every", "save_minutes", "keep", "trackers",
    "quiet", "dry_run",
)  # fmt: skip
"""Settings that a continued run may change; any other would make it another run."""


@dataclass
class TrainConfig:
    """Trains a small model to say what it can and to emit <CALL> where a fact is due.

    OUT holds model/ (opens in plain transformers), checkpoints/, metrics.jsonl, config.yaml. The
    same command again continues a stopped run where it was.
    """

    data: Path | None = None
    """Packed data of `lacy data mark`."""
    out: Path = Path("runs/lacy")
    """The run's folder."""
    valid: Path | None = None
    """Packed data to measure the loss on; by default the last --hold-out share of the rows."""
    hold_out: float = 0.0
    """Share of the rows kept out of training for validation, where --valid is not given."""

    model: str = "1m"
    """A preset: tiny, demo, 1m, 3m, 15m, 135m, 334m (the paper's GPT-2), 360m, 1b."""
    init_from: str | None = None
    """Start from a model's folder or Hub name instead of a preset; <CALL> is added if need be."""
    fork: Path | None = None
    """Start from a checkpoint of another run with its optimizer and step, to decay it: steps,
    tokens and epochs count from there. A run's folder means the checkpoint before its decay."""

    method: MethodName = "lacy"
    """How to choose what is delegated; none trains a plain model."""
    call_rate: float = 0.15
    """Share of the targets that become <CALL> (paper §4)."""
    delegate: Delegate = "token"
    """What of a fact's value is delegated: its hardest tokens (token, the paper), all of its tokens
    or none (value; values ranked by their summed loss, at most --call-rate), or its first token
    only (start; the rest is learned, and the rate ends where the values do)."""
    rank_within: RankWithin = "batch"
    """Over what --call-rate holds: the whole batch (the paper's mini-batch), or each sequence
    (packed row), so that hard texts give no more than easy ones."""
    call_negative: CallNegative = "softmax"
    """What holds the <CALL> logit down elsewhere: nothing (the paper's formula), the softmax of the
    other tokens, or a binary gate."""
    text_weight: float = 0.5
    """Weight of the true token where the target is <CALL>. 0 is the paper's, and enough where a
    language model answers; a little keeps the kind of value known, which ranking a database's
    candidates needs, and memorizes a little for it (docs/results/calibration.md)."""
    ignore: Ignore = "none"
    """No gradient on facts that are not delegated (facts), on hard content words too (all): the
    ablations of paper §5.4."""
    ignore_rate: float = 0.15
    """For --ignore all: the share of the targets without gradient."""
    call_warmup: float = 0.0
    """Share of the steps before anything is delegated; until then the loss is the plain one."""
    rate_control: RateControl = "auto"
    """How the rate holds over a batch of several pieces: exact (one piece), two_pass (exact, one
    more forward), running (a quantile, no extra cost, the rate holds on average). auto: exact where
    the batch is one piece, else two_pass."""
    reference: Path | None = None
    """A model whose losses rank the tokens, for the methods rho and marks_reference."""

    steps: int | None = None
    """Training steps; give one of --steps, --tokens, --epochs."""
    tokens: int | None = None
    """Tokens to read, instead of steps (the little padding included)."""
    epochs: float | None = None
    """Passes over the data, instead of steps; 1 if none of the three is given."""
    batch_rows: int = 16
    """Rows per step, over all pieces and processes."""
    grad_accum: int = 1
    """Pieces a batch is cut into, to save memory."""

    lr: float = 3e-3
    """Peak learning rate (SmolLM2-135M's; models below 1M like 6e-3, above 300M 5e-4)."""
    warmup: float = 0.03
    """Share of the steps in which the rate rises."""
    decay: float | None = None
    """Share of the steps in which it falls (WSD): 0.2 by default, 1 for a fork; 1 minus the warm-up
    is no stable phase at all."""
    decay_shape: Decay = "1-sqrt"
    """linear, 1-sqrt, cosine, or exponential (MiniCPM)."""
    half_life: float = 0.2
    """Of the exponential decay, as a share of the decay."""
    min_lr: float = 0.0
    """The last rate of the other shapes, as a share of the peak."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: for the matrices of the body, at the same rate (scaled to AdamW's); the rest stays with
    AdamW."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW."""
    weight_decay: float = 0.01
    """Of matrices; never of embeddings, norms and biases."""
    clip: float = 1.0
    """Largest gradient norm; 0 for none."""

    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    """Of activations; weights stay fp32. auto: bf16 where it is fast, else fp32."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""
    compile: bool = False
    """Compile the body (a minute at first; pays on a GPU and on one CPU thread)."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice. Bit for bit the same only with the same number."""
    seed: int = 0
    """Of weights, order and random methods."""

    log_every: int = 10
    """Steps per line of metrics.jsonl."""
    eval_every: int = 0
    """Steps between validations; 0: only at the end."""
    eval_rows: int = 256
    """Most rows of a validation."""
    save_every: int = 0
    """Steps between checkpoints; 0: by time only."""
    save_minutes: float = 10.0
    """Minutes between checkpoints; 0 for none."""
    keep: int = 2
    """How many checkpoints to keep, the newest; the one before the decay is kept besides."""
    trackers: tuple[str, ...] = field(default=())
    """Where else to log, by accelerate's names (tensorboard, wandb, trackio)."""
    quiet: bool = False
    """Print nothing but errors."""
    dry_run: bool = False
    """Report data, parameters, memory and time (a few measured steps), and write nothing."""

    def check(self) -> None:
        """Raise one error for everything that is wrong with the settings themselves.

        Raises:
            LacyError: E45.
        """
        found = self.problems()
        if found:
            listed = "".join(f"\n  - {sentence}" for sentence in found)
            raise LacyError("E45", count=len(found), problems=listed)

    def problems(self) -> list[str]:
        """What is wrong with the values, each a sentence; no file is looked at."""
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
                f"batch_rows {self.batch_rows} does not split into {self.grad_accum} pieces"
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
        """(name, value, what it must be, whether it is) of single values."""
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

    def objective(self, *, delegate: bool = True) -> dict[str, Any]:
        """Keywords of ``objective.select_and_loss``; plain cross-entropy unless ``delegate``."""
        calling = delegate and self.method != "none"
        return {
            "method": self.method if delegate else "none",
            "call_rate": self.call_rate,
            "delegate": self.delegate,
            "rank_within": self.rank_within,
            "call_negative": self.call_negative if calling else "none",
            "text_weight": self.text_weight,
            "ignore": self.ignore if delegate else "none",
            "ignore_rate": self.ignore_rate,
        }
