"""Flags of all commands that use a model: model, source, policy, calibration, sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lacy.cli.terminal import note
from lacy.config import Positional, Rare, Repeated
from lacy.errors import LacyError
from lacy.types import DEFAULT_READ_UNTIL, ReadUntil, Unit

if TYPE_CHECKING:
    from lacy.cascade import Engine

CALIBRATION_TEXTS = 100
"""Equal to ``lacy.cascade.CALIBRATION_TEXTS``, whose import would load torch (a test checks it)."""


@dataclass
class SourceOptions:
    """A model and the sources that answer its calls."""

    # [Model]
    model: Positional[str]
    """Folder of a model or a run, a .gguf file, smollm2, or a Hub name; a policy may follow a colon
    (runs/mine:budget=0.22)."""

    # [Delegation]
    source: Repeated = field(default_factory=list)
    """What answers calls: a .sqlite file, a folder of `lacy data world` or `lacy source build`, a
    model's folder or name, http://host:port/v1#name, or llm:name; several are asked in order."""
    cache: Rare[Path | None] = None
    """File that caches the answers of language models."""
    price: Rare[Repeated] = field(default_factory=list)
    """Dollars per million input and output tokens of a language model: 0.15,0.60, or
    NAME=0.15,0.60 for one of several sources."""
    unit: Unit = "value"
    """How much text one call returns."""
    calibrate: int = CALIBRATION_TEXTS
    """Number of the source's texts (of a world or an index) to calibrate on; 0 for none."""

    # [Generation]
    max_new_tokens: int = 128
    """Maximum number of generated tokens per text, from the model and its sources together."""
    vocabulary: Rare[str | None] = None
    """Compute the logits of fewer tokens: those of a file of `lacy vocabulary build` and of the
    context, dynamic for those of the context alone, or context for the latest 3,000 of them. The
    likeliest token stays the same; see --fallback."""
    fallback: Rare[str] = "exact"
    """With --vocabulary: exact computes every other token that could be the likeliest; off never
    writes other tokens; a number such as 0.01 computes all tokens where the others could have more
    than this probability."""
    offload: Rare[bool] = False
    """With --vocabulary: leave embedding and head in the model's file, except the rows that are
    computed."""

    def tailor(self, loaded: Any, on_note: Callable[[str], object] = note) -> None:
        """Make a model compute the logits of fewer tokens, if --vocabulary asks for it.

        Raises:
            LacyError: for the same reasons as ``lacy.vocabulary.tailor``; E12, the model runs on a
                server.
        """
        if self.vocabulary is None:
            return
        if getattr(loaded, "model", None) is None:
            raise LacyError(
                "E12", key="vocabulary", value=self.vocabulary,
                why="the model runs on a server, which computes its own head",
                do="name a model on this machine, or trim it before it is served",
            )  # fmt: skip
        from lacy.vocabulary import is_tailored, open_vocabulary, parse_fallback, tailor

        if is_tailored(loaded):  # the terminal opens the same model again
            return
        vocabulary, mode = open_vocabulary(self.vocabulary, loaded.tokenizer)
        fallback = parse_fallback(self.fallback)
        tailored = tailor(loaded, vocabulary, mode, fallback=fallback, offload=self.offload)
        sizes = tailored.sizes()
        on_note(
            f"Vocabulary: {sizes.active:,} of {sizes.tokens:,} tokens and those that the model "
            f"reads ({mode}, fallback {self.fallback})."
        )


@dataclass
class EngineOptions(SourceOptions):
    """A model, its sources, and when it calls them."""

    # [Model]
    tokenizer: Rare[Path | None] = None
    """Local folder of the tokenizer, for a model on a server (http://host:port/v1#name)."""
    begin_token: Rare[str | None] = None
    """Token that begins every text (but not a chat), instead of the one that lacy chooses, which
    `lacy data check MODEL` shows."""
    dtype: Rare[Literal["fp32", "bf16", "auto"]] = "fp32"
    """Precision of the weights. bf16 halves memory and is faster where the CPU or GPU supports it,
    but rounding changes some words; auto uses it there."""

    # [Delegation]
    policy: str | None = None
    """When to call: never, always, budget=0.22, threshold=0, entropy=2, top2=0.7, random=0.22 or,
    for a tuned model, gate+entropy; by default budget=0.22, threshold=0 if that suits the model and
    its source, or entropy=4 for a model that was not taught to call."""
    unknown: Rare[str] = ""
    """What an answer in a chat says where no source has the fact that the question asks for, such
    as "I don't know."; by default the model answers in its own words, which are marked as
    guesses."""
    read_until: Rare[ReadUntil] = DEFAULT_READ_UNTIL
    """How long a pretrained model has the source's sentences before its text: until it has chosen a
    value, or while it goes on writing, until the sentence ends."""

    def open(
        self,
        loaded: Any = None,
        *,
        fixed_policy: bool = False,
        on_note: Callable[[str], object] = note,
        **settings: Any,
    ) -> Engine:
        """Open the engine, and report the choices that were made automatically.

        Args:
            loaded: the model, if it is already open.
            fixed_policy: True if the policy will not be changed, so that ``never`` needs no
                calibration.
            on_note: called with a sentence about each automatic choice.
            settings: arguments of ``lacy.cascade.open_engine`` that override the flags.

        Raises:
            LacyError: for the same reasons as ``open_engine``.
        """
        from lacy.cascade import open_engine

        options: dict[str, Any] = {
            "sources": self.source,
            "policy": self.policy,
            "calibration": 0 if fixed_policy and self.policy == "never" else self.calibrate,
            "tokenizer": self.tokenizer,
            "begin": self.begin_token,
            "dtype": self.dtype,
            "cache": self.cache,
            "prices": self.price,
            "unit": self.unit,
            "max_new_tokens": self.max_new_tokens,
            "unknown": self.unknown,
            "read_until": self.read_until,
        }
        engine = open_engine(loaded or self.model, **options | settings)
        self.tailor(engine.loaded, on_note)
        for sentence in engine.notes:
            on_note(sentence)
        return engine


def note_questions(prompts: Sequence[str], engine: Engine, model: str) -> None:
    """Tell the user what to type instead if a prompt is a question, which a model only continues.

    Args:
        prompts: the texts to continue.
        engine: the engine; its tokenizer tells whether the model answers in a chat.
        model: the model's name as the user typed it.
    """
    from lacy.cascade import question_hint

    hints = (question_hint(prompt, templated=False) for prompt in prompts)
    found = list(dict.fromkeys(filter(None, hints)))
    if found and getattr(engine.tokenizer, "chat_template", None):
        found = [
            f"This model answers questions in a chat: lacy chat {model}. Here it continues the "
            "question as a text."
        ]
    for hint in found:
        note(hint)


@dataclass
class SamplingOptions(EngineOptions):
    """A model, its sources, a policy, and the parameters of sampling."""

    # [Generation]
    temperature: float = 0.0
    """Sampling temperature; 0 always takes the likeliest token."""
    top_p: Rare[float] = 1.0
    """Sample from the smallest set of tokens that has this probability."""
    seed: Rare[int] = 0
    """Random seed of the sampling."""

    def open(self, loaded: Any = None, **settings: Any) -> Engine:
        """Open the engine with the sampling parameters."""
        sampling = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        return super().open(loaded, **sampling | settings)
