"""Define the selection methods and ``Objective``; this module needs no torch.

A selection method answers two questions: *among* which tokens it may choose, and *by* which score
it ranks them. ``METHODS`` is the single definition; ``select`` and the command line use it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from lacy._require import require_one_of, require_share
from lacy._text import did_you_mean
from lacy.errors import LacyError

MethodName = Literal[
    "lacy", "none", "random", "loss_top", "marks_only", "marks_reference", "rho", "judge", "oracle"
]
CallNegative = Literal["none", "softmax", "sigmoid"]
"""Loss that lowers the ``<CALL>`` logit where ``<CALL>`` is not the target: none (the paper), the
softmax over all tokens, or a separate binary gate on the logit."""
Ignore = Literal["none", "facts", "all"]
"""Targets without any gradient: none (the paper), facts that were not delegated ("Ignorefacts",
§5.4), or these and content words with high loss ("Ignore", §5.4)."""
Delegate = Literal["token", "value", "start"]
"""Part of a value that is delegated: single tokens (the paper), all tokens of a value or none, or
only the first token, if a call returns the whole value."""
RankWithin = Literal["batch", "sequence"]
"""Scope of the call rate: all tokens of a batch (the paper), or each row."""
Impl = Literal["auto", "reference", "fused"]
"""Implementation of the loss; all give equal results."""


@dataclass(frozen=True, slots=True)
class Method:
    """A selection method.

    ``among`` names the tokens that may be delegated; ``by`` names the score that ranks them,
    highest first.
    """

    name: MethodName
    among: Literal["nothing", "facts", "values", "all"]
    by: Literal["loss", "random", "reference", "low_excess"]
    summary: str

    @property
    def needs_loss(self) -> bool:
        """True if the choice depends on the model's own current loss."""
        return self.among != "nothing" and self.by in ("loss", "low_excess")

    @property
    def needs_reference(self) -> bool:
        """True if the choice depends on stored losses of a reference model."""
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
    """Return a selection method by name.

    Raises:
        LacyError: E40, there is no such method; the message suggests the closest name.
    """
    if name not in METHODS:
        hint = did_you_mean(name, METHODS)
        raise LacyError("E40", method=name, hint=hint, methods=", ".join(METHODS))
    return METHODS[name]


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss and all settings of delegation as one value.

    The defaults are those of ``lacy train``. The paper's loss is
    ``Objective(call_negative="none", text_weight=0.0)``.

    Args:
        method: the selection method, a name of ``METHODS``.
        call_rate: share of the targets that become ``<CALL>``.
        delegate: ``token`` (the paper), ``value`` or ``start``.
        rank_within: ``batch`` (the paper) or ``sequence``.
        call_negative: ``none`` (the paper), ``softmax`` or ``sigmoid`` (``losses``).
        text_weight: weight of the true token where the target is ``<CALL>``; 0 in the paper.
        ignore: ``none`` (the paper), ``facts`` or ``all`` (ablations, §5.4).
        ignore_rate: for ``all``, the share of the targets without gradient.

    Raises:
        LacyError: E40, unknown method; E12, another setting has an invalid value.
    """

    method: MethodName = "lacy"
    call_rate: float = 0.15
    delegate: Delegate = "token"
    rank_within: RankWithin = "batch"
    call_negative: CallNegative = "softmax"
    text_weight: float = 0.5
    ignore: Ignore = "none"
    ignore_rate: float = 0.15

    def __post_init__(self) -> None:
        get_method(self.method)
        require_share("call_rate", self.call_rate)
        for key, known in (
            ("delegate", Delegate), ("rank_within", RankWithin), ("call_negative", CallNegative),
            ("ignore", Ignore),
        ):  # fmt: skip
            require_one_of(key, getattr(self, key), get_args(known))

    @property
    def delegates(self) -> bool:
        """True if any targets become ``<CALL>``."""
        return self.method != "none"

    def plain(self) -> Objective:
        """Return a copy that is plain cross-entropy: nothing is delegated or ignored."""
        return replace(self, method="none", call_negative="none", ignore="none")
