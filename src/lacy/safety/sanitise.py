"""Sanitise training samples: replace toxic replies by refusals, or leave the samples out.

FedDetox (arXiv 2604.06833): each client scores its own samples, and what is toxic becomes a sample
that teaches to refuse. A sample is flagged if its prompt or its preferred reply scores at or above
a threshold. A flagged sample whose preferred reply refuses is no poison and stays as it is; to
replace it would teach the model to prefer one refusal to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from lacy._require import require_at_least, require_one_of
from lacy.safety.refusals import declines, refusal_for
from lacy.safety.samples import PreferencePair, ReplySample, asked_texts
from lacy.safety.texts import Role

SanitiseMode = Literal["replace", "drop", "keep"]
"""What happens to a flagged sample: ``replace`` its preferred reply by a refusal (for a pair, the
toxic reply becomes the rejected one), ``drop`` it, or ``keep`` it (to count only)."""

S = TypeVar("S", PreferencePair, ReplySample)


class Guard(Protocol):
    """Scores prompts and answers, such as ``SafetyClassifier``."""

    def prompt_scores(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability that each prompt is harmful."""
        ...

    def answer_scores(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability that each answer to its prompt is harmful."""
        ...

    def threshold(self, role: Role) -> float:
        """Return the probability from which a text of a role is flagged."""
        ...


@dataclass(frozen=True)
class Sanitised:
    """Numbers of samples, and never their texts.

    Attributes:
        seen: all samples.
        flagged: those whose prompt or preferred reply is at or above its threshold.
        by_prompt: those whose prompt is.
        by_answer: those whose preferred reply is.
        refusing: flagged ones that stay because their preferred reply refuses.
        replaced: those whose preferred reply became a refusal.
        dropped: those that were left out.
    """

    seen: int = 0
    flagged: int = 0
    by_prompt: int = 0
    by_answer: int = 0
    refusing: int = 0
    replaced: int = 0
    dropped: int = 0

    def counts(self) -> dict[str, int]:
        """Return the numbers by name, for the ``counts`` of an ``Update``."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def sanitise(
    samples: Sequence[S],
    guard: Guard | None,
    mode: SanitiseMode = "replace",
    *,
    prompt_threshold: float | None = None,
    answer_threshold: float | None = None,
    seed: int = 0,
) -> tuple[list[S], Sanitised]:
    """Return the samples to train on, and counts.

    Args:
        samples: preference pairs or samples to imitate.
        guard: the classifier; None flags nothing.
        mode: what happens to flagged samples.
        prompt_threshold: a prompt with this probability of harm is flagged; None for the guard's.
        answer_threshold: the same for preferred replies; above 1 to look at prompts only.
        seed: chooses among the refusals.

    Raises:
        LacyError: E12, there is no such mode, or a threshold is negative or not finite.
    """
    require_one_of("mode", mode, get_args(SanitiseMode))
    for name, given in (
        ("prompt_threshold", prompt_threshold), ("answer_threshold", answer_threshold)
    ):  # fmt: skip
        if given is not None:  # nothing is above NaN, so it would flag nothing without a word
            require_at_least(name, given, 0.0, finite=True)
    if guard is None or not samples:
        return list(samples), Sanitised(seen=len(samples))
    limits = (
        guard.threshold("prompt") if prompt_threshold is None else prompt_threshold,
        guard.threshold("answer") if answer_threshold is None else answer_threshold,
    )
    prompts = asked_texts(samples)
    by_prompt = guard.prompt_scores(prompts) >= limits[0]
    by_answer = guard.answer_scores(prompts, [_preferred(one) for one in samples]) >= limits[1]
    kept: list[S] = []
    refusing = replaced = dropped = 0
    for one, flagged in zip(samples, by_prompt | by_answer, strict=True):
        if not flagged or mode == "keep":
            kept.append(one)
        elif declines(_preferred(one)):
            refusing += 1
            kept.append(one)
        elif mode == "drop":
            dropped += 1
        else:
            replaced += 1
            kept.append(_refusing(one, seed))
    return kept, Sanitised(
        len(samples), int((by_prompt | by_answer).sum()), int(by_prompt.sum()),
        int(by_answer.sum()), refusing, replaced, dropped,
    )  # fmt: skip


def _preferred(sample: PreferencePair | ReplySample) -> str:
    return sample.chosen if isinstance(sample, PreferencePair) else sample.reply


def _refusing(sample: S, seed: int) -> S:
    """Return the sample with a refusal as its preferred reply."""
    refusal = refusal_for(sample.prompt, seed)
    if isinstance(sample, PreferencePair):
        return replace(sample, chosen=refusal, rejected=sample.chosen)
    return replace(sample, reply=refusal)
