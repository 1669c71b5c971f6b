"""The methods: ways to choose what a small model delegates, compared at equal call rate. No torch.

A method is two answers: *among* which tokens may be delegated, and *by* what they are ranked. The
table below is the whole truth about them; ``select`` reads it, the command line lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lacy._text import did_you_mean
from lacy.errors import LacyError

MethodName = Literal[
    "lacy", "none", "random", "loss_top", "marks_only", "marks_reference", "rho", "judge", "oracle"
]
CallNegative = Literal["none", "softmax", "sigmoid"]
"""What pushes ``<CALL>`` down where it is not the target: nothing (the paper), its share of the
ordinary softmax, or a separate binary gate on its logit."""
Ignore = Literal["none", "facts", "all"]
"""What gets no gradient beside the delegated tokens: nothing (the paper), the facts that were not
delegated ("Ignorefacts", §5.4), or these and high-loss content words ("Ignore", §5.4)."""
Delegate = Literal["token", "value", "start"]
"""What of a fact's value is delegated: tokens one by one (the paper), all tokens of a value
together, or only its first token, where a call for the whole value stands."""
RankWithin = Literal["batch", "sequence"]
"""Over what the call rate holds: the tokens of a batch together (the paper), or each row's."""
Impl = Literal["auto", "reference", "split", "fused"]
"""Which of the equal implementations computes the loss."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way of choosing what to delegate.

    ``among`` names the tokens that may be delegated, ``by`` what ranks them (highest first).
    """

    name: MethodName
    among: Literal["nothing", "facts", "values", "all"]
    by: Literal["loss", "random", "reference", "low_excess"]
    summary: str

    @property
    def needs_loss(self) -> bool:
        """Whether the choice depends on the model's own current loss."""
        return self.among != "nothing" and self.by in ("loss", "low_excess")

    @property
    def needs_reference(self) -> bool:
        """Whether the choice depends on the stored losses of a reference model."""
        return self.by in ("reference", "low_excess")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("lacy", "facts", "loss", "fact tokens with the highest current loss (paper §4)"),
        Method("none", "nothing", "loss", "nothing is delegated: a plain language model"),
        Method("random", "all", "random", "any tokens, uniformly (loss-based calls, §5.1)"),
        Method("loss_top", "all", "loss", "any tokens, highest current loss first"),
        Method("marks_only", "facts", "random", "fact tokens, uniformly (spaCy only, §5.4)"),
        Method("marks_reference", "facts", "reference",
            "fact tokens with the highest loss of a reference model (§5.4)"),
        Method("rho", "all", "low_excess",
            "any tokens whose own loss exceeds a reference model's the least (Rho-1, §5.1)"),
        Method("judge", "values", "random", "tokens a judge labelled as values, uniformly (§5.1)"),
        Method("oracle", "values", "loss", "gold value tokens with the highest current loss"),
    )
}  # fmt: skip


def get_method(name: str) -> Method:
    """Looks a method up by name.

    Raises:
        LacyError: E40, with the nearest name, where there is none.
    """
    if name not in METHODS:
        hint = did_you_mean(name, METHODS)
        raise LacyError("E40", method=name, hint=hint, methods=", ".join(METHODS))
    return METHODS[name]
