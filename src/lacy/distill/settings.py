"""Define the settings of distillation; this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lacy._require import require_at_least, require_one_of, require_share
from lacy.config import Rare
from lacy.errors import LacyError

Divergence = Literal["forward", "reverse", "jsd"]
"""What is minimised: KL(teacher || student), KL(student || teacher), or the Jensen-Shannon
divergence, the mean of both to their mixture."""

Imitate = Literal["all", "unmarked", "undelegated"]
"""Where the teacher is imitated: everywhere; not at fact tokens, by their marks; or not at the
tokens that the objective delegates."""


@dataclass
class DistillSettings:
    """What a student takes over from its teacher."""

    # [Distillation]
    divergence: Rare[Divergence] = "forward"
    """Divergence to minimise: forward covers all that the teacher considers likely, reverse
    concentrates on its likeliest tokens, jsd lies between."""
    temperature: float = 1.0
    """Temperature of both distributions; above 1, unlikely tokens count more."""
    weight: float = 1.0
    """Weight of the teacher; the text itself has the rest."""
    imitate: Imitate | None = None
    """Where the teacher is imitated: all, unmarked (not at fact tokens, which a source will know),
    or undelegated (not where the objective delegates). By default unmarked if the data have
    marks."""
    fact_weight: Rare[float] = 0.0
    """Weight of the teacher where it would not be imitated, as a share of its weight elsewhere."""

    def check(self) -> None:
        """Raise an error if a setting cannot be used.

        Raises:
            LacyError: E12, a setting is invalid.
        """
        require_one_of("divergence", self.divergence, get_args(Divergence))
        if self.imitate is not None:
            require_one_of("imitate", self.imitate, get_args(Imitate))
        require_share("weight", self.weight)
        require_share("fact_weight", self.fact_weight)
        require_at_least("temperature", self.temperature, 0, finite=True)
        if not self.temperature > 0:
            why, do = "it is not above 0", "give a number above 0, such as 1 or 2"
            raise LacyError("E12", key="temperature", value=self.temperature, why=why, do=do)
