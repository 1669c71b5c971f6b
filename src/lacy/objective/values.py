"""Values: the tokens of one fact, ranked and delegated as one.

Where a call returns a whole value, a choice token by token splits it: the hard token in the middle
of a name becomes ``<CALL>`` while its neighbours are learned (the paper ranks tokens, §4). Here the
tokens of a value share one score, so that the sort of ``select.take`` keeps them together. Segment
numbers come from a running sum; nothing waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.types import MarkFlag

_IN_VALUE = int(MarkFlag.FACT | MarkFlag.VALUE)


@dataclass(frozen=True, slots=True)
class Values:
    """The values among some tokens: runs of marked tokens within a row.

    A run ends before a token that is not among them or not marked, before a ``START`` flag and at
    the end of its row. An unmarked token (methods that rank all tokens) is a value of one token.
    """

    among_BT: Tensor
    first_BT: Tensor
    """Where a value begins."""
    last_BT: Tensor
    """Its last token."""
    number_BT: Tensor
    """Which value a token belongs to, from 0 in reading order (int64; 0 or more anywhere else)."""

    @classmethod
    def of(cls, among_BT: Tensor, target_marks_BT: Tensor) -> Values:
        """Finds them.

        Args:
            among_BT: bool, which tokens may be delegated.
            target_marks_BT: uint8 marks of the targets.
        """
        marked_BT = among_BT & ((target_marks_BT & _IN_VALUE) != 0)
        begins_BT = (target_marks_BT & int(MarkFlag.START)) != 0
        goes_on_BT = torch.zeros_like(among_BT)
        goes_on_BT[:, 1:] = marked_BT[:, 1:] & marked_BT[:, :-1] & ~begins_BT[:, 1:]
        ends_BT = torch.ones_like(among_BT)
        ends_BT[:, :-1] = ~goes_on_BT[:, 1:]
        first_BT = among_BT & ~goes_on_BT
        number_N = (first_BT.reshape(-1).cumsum(0) - 1).clamp(min=0)
        return cls(among_BT, first_BT, among_BT & ends_BT, number_N.view(among_BT.shape))

    def sums(self, score_BT: Tensor, *, of_first: bool = False) -> Tensor:
        """Every token's score becomes that of its whole value: the sum of its tokens' scores.

        Args:
            score_BT: scores of tokens; those outside ``among_BT`` are not looked at.
            of_first: take the first token's score instead of the sum. For chance: sums of random
                numbers would favour long values.
        """
        counted_BT = self.first_BT if of_first else self.among_BT
        exact = torch.float32 if score_BT.device.type == "mps" else torch.float64
        score_N = score_BT.detach().to(exact).masked_fill(~counted_BT, 0.0).reshape(-1)
        number_N = self.number_BT.reshape(-1)
        return (
            torch.zeros_like(score_N).index_add(0, number_N, score_N)[number_N].view(score_BT.shape)
        )

    def whole(self, taken_BT: Tensor) -> Tensor:
        """Keeps the values whose last token is taken, with all their tokens.

        Where tokens were taken from the first to the last of a value, at most one value is cut
        short by the count; it is left out.
        """
        number_N = self.number_BT.reshape(-1)
        ended_N = (taken_BT & self.last_BT).reshape(-1).long()
        kept_N = torch.zeros_like(ended_N).index_add(0, number_N, ended_N)[number_N] > 0
        return kept_N.view(taken_BT.shape) & self.among_BT
