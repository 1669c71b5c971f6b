"""Bounds on the logits of many rows, from a copy of the rows in 8 bits.

Whether a row that is not computed would have the largest logit can be told without computing it
only by a close bound. Rows of a head point in nearly all directions: the cosine of a state and the
row of its best token is about 0.15 (SmolLM2), so that bounds from norms, from centres of clusters
or from a projection to fewer dimensions exclude nearly no row
(``docs/results/vocabulary.md``). A copy in 8 bits is close enough: its error is a hundredth of the
row.

The bound, with row ``w``, state ``h`` and their rounded copies ``v`` and ``g`` (Cauchy-Schwarz)::

    |w·h - v·g| <= |w - v| |h| + |v| |h - g|

``|w - v|`` and ``|v|`` are known from the start, and ``|h - g|`` is computed with each state.
Products of 8-bit numbers are summed exactly, as integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lacy.vocabulary.rows import BLOCK, RowTable

LEVELS = 127
"""Largest 8-bit number that is used."""


OPERATIONS = 16
"""Number of roundings in float32 after a sum, of an estimate and of its bound."""


class Screen:
    """Estimates of the logits of many rows, with bounds on their errors.

    Args:
        table: all rows of the head.
        bias_V: the head's bias, if it has one.
        ids: the rows that are estimated.
        device: where they are estimated.
    """

    def __init__(
        self, table: RowTable, bias_V: Tensor | None, ids: Sequence[int], device: torch.device
    ) -> None:
        width = table.shape[1]
        self.ids = torch.tensor(list(ids), dtype=torch.int64, device=device)
        self._rows_OD = torch.empty(len(ids), width, dtype=torch.int8, device=device)
        self._scale_O = torch.empty(len(ids), device=device)
        self._norm_O, self._error_O = (
            torch.empty_like(self._scale_O),
            torch.empty_like(self._scale_O),
        )
        for start in range(0, len(ids), BLOCK):
            part = slice(start, start + BLOCK)
            rows_KD = table.rows(list(ids[part])).to(device).float()
            scale_K1 = rows_KD.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / LEVELS
            digits_KD = (rows_KD / scale_K1).round()
            rounded_KD = digits_KD * scale_K1
            self._rows_OD[part], self._scale_O[part] = digits_KD.to(torch.int8), scale_K1[:, 0]
            self._norm_O[part] = rounded_KD.norm(dim=1)
            self._error_O[part] = (rows_KD - rounded_KD).norm(dim=1)
        self._bias_O = None if bias_V is None else bias_V.to(device).float()[self.ids]
        # Rounding of float sums of `width` products, and of what is done with them afterwards, as a
        # share of the norms' product.
        self._slack = (width + OPERATIONS) * torch.finfo(torch.float32).eps

    @property
    def bytes(self) -> int:
        """Bytes of the copy and of what is known of its rows."""
        tensors = [self._rows_OD, self._scale_O, self._norm_O, self._error_O, self.ids]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def estimate(self, hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimates of the head's outputs, and the largest possible error of each.

        Args:
            hidden_ND: inputs of the head.

        Returns:
            ``estimate_NO`` and ``error_NO``, float32, for the rows ``ids``.
        """
        # A head in 16 bits rounds its outputs, so that a smaller one may come out equal.
        rounding = torch.finfo(hidden_ND.dtype).eps if hidden_ND.dtype != torch.float32 else 0.0
        hidden_ND = hidden_ND.float()
        digits_2ND, rounded_ND, scales = _two_digits(hidden_ND)
        sums_2NO = _integer_products(digits_2ND, self._rows_OD)
        count = len(hidden_ND)
        estimate_NO = sums_2NO[:count] * scales[0] + sums_2NO[count:] * scales[1]
        estimate_NO *= self._scale_O
        size_N1 = hidden_ND.norm(dim=1, keepdim=True)
        rest_N1 = (hidden_ND - rounded_ND).norm(dim=1, keepdim=True) + self._slack * size_N1
        error_NO = size_N1 * self._error_O + rest_N1 * self._norm_O
        if self._bias_O is not None:
            estimate_NO = estimate_NO + self._bias_O
            # Adding the bias in float32 rounds the estimate, and the exact logit as well.
            error_NO = error_NO + estimate_NO.abs() * (2 * torch.finfo(torch.float32).eps)
        if rounding:
            error_NO = error_NO * (1 + rounding) + estimate_NO.abs() * rounding
        return estimate_NO, error_NO


def _two_digits(hidden_ND: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Write states as two 8-bit digits per number, which are exact to a part in 32,000.

    Returns:
        The digits ``[2 N, D]`` (int8), the numbers that they stand for, and the scales of both.
    """
    high_N1 = hidden_ND.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / LEVELS
    high_ND = (hidden_ND / high_N1).round()
    low_N1 = high_N1 / (2 * LEVELS)
    low_ND = ((hidden_ND - high_ND * high_N1) / low_N1).round().clamp(-LEVELS, LEVELS)
    rounded_ND = high_ND * high_N1 + low_ND * low_N1
    return torch.cat([high_ND, low_ND]).to(torch.int8), rounded_ND, (high_N1, low_N1)


def _integer_products(left_MD: Tensor, right_OD: Tensor) -> Tensor:
    """Return the products of 8-bit rows ``[M, O]``, exactly, as float32.

    Sums of up to a thousand products are below 2^24, which float32 has exactly; for longer rows
    the int32 sums are rounded once.
    """
    if left_MD.device.type == "cpu" and left_MD.shape[1] > 1:  # torch 2.13 is wrong for width 1
        try:
            return torch._int_mm(left_MD, right_OD.T).float()
        except (RuntimeError, AttributeError):  # a version of torch or a processor without it
            pass
    parts = right_OD.split(BLOCK)
    return torch.cat([left_MD.float() @ part.float().T for part in parts], dim=1)
