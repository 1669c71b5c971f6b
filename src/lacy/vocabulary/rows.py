"""Rows of embedding and head: a table of all, and the few that are computed.

A ``RowTable`` gives any rows of a matrix, from memory or from a file. ``ActiveRows`` copies the
rows that are computed into one matrix: those of a task, which stay, and those of a context, which
come and go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

CHUNK = 128
"""Number of rows by which the matrix of active rows grows."""

BLOCK = 4096
"""Number of rows that are read together when all rows are needed."""


class RowTable(Protocol):
    """All rows of a matrix."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and their length."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that ``rows`` returns."""
        ...

    def rows(self, ids: Sequence[int]) -> Tensor:
        """Return a copy of some rows, ``[K, D]``."""
        ...

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield all rows in blocks, each with the number of its first row."""
        ...


class MemoryRows:
    """Rows of a matrix in memory.

    Args:
        weight_VD: the matrix; it is not copied.
    """

    def __init__(self, weight_VD: Tensor) -> None:
        self.weight = weight_VD.detach()

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and their length."""
        return int(self.weight.shape[0]), int(self.weight.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that ``rows`` returns."""
        return self.weight.dtype

    def rows(self, ids: Sequence[int]) -> Tensor:
        """Return a copy of some rows, ``[K, D]``."""
        return self.weight[torch.as_tensor(ids, dtype=torch.int64, device=self.weight.device)]

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield all rows in blocks, each with the number of its first row."""
        for start in range(0, len(self.weight), BLOCK):
            yield start, self.weight[start : start + BLOCK]


class ActiveRows:
    """The rows that are computed: fixed ones, then those of the context in a matrix of their own.

    Args:
        table: all rows of the head.
        bias_V: the head's bias, if it has one.
        fixed: ids of the rows that are always there.
        most: maximum number of rows of the context. Beyond it, those that were not seen for
            longest are replaced.
        device: where the rows are computed.
    """

    def __init__(
        self,
        table: RowTable,
        bias_V: Tensor | None,
        fixed: Sequence[int],
        most: int,
        device: torch.device,
    ) -> None:
        self._table, self._most = table, most
        self._bias_V = None if bias_V is None else bias_V.to(device)
        self._fixed_ids = torch.tensor(list(fixed), dtype=torch.int64, device=device)
        self._fixed_FD = table.rows(list(fixed)).to(device)
        self._is_fixed = set(fixed)
        self._place: OrderedDict[int, int] = OrderedDict()
        self._context_ids = self._fixed_ids.new_zeros(0)
        self._context_KD = self._fixed_FD.new_zeros(0, table.shape[1])
        self._ids = self._fixed_ids

    def __contains__(self, token: int) -> bool:
        return token in self._is_fixed or token in self._place

    def __len__(self) -> int:
        return self.fixed + len(self._place)

    @property
    def fixed(self) -> int:
        """Number of rows that are always there."""
        return len(self._fixed_ids)

    @property
    def ids(self) -> Tensor:
        """Ids of the rows: the fixed ones, then those of the context."""
        return self._ids

    @property
    def bytes(self) -> int:
        """Bytes of both matrices, with the rows that are kept ready for more tokens."""
        tensors = (self._fixed_FD, self._context_KD)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def outputs(self, hidden_ND: Tensor) -> Tensor:
        """Return the head's outputs for ``ids``, ``[N, n]``."""
        output_NF = hidden_ND @ self._fixed_FD.T.to(hidden_ND.dtype)
        context_KD = self._context_KD[: len(self._place)]
        output_Nn = torch.cat([output_NF, hidden_ND @ context_KD.T.to(hidden_ND.dtype)], dim=1)
        return output_Nn if self._bias_V is None else output_Nn + self._bias_V[self._ids]

    def admit(self, tokens: Sequence[int]) -> int:
        """Add rows of the context; return how many were not there yet."""
        wanted = dict.fromkeys(int(token) for token in tokens if int(token) not in self._is_fixed)
        if len(wanted) > self._most:
            wanted = dict.fromkeys(list(wanted)[len(wanted) - self._most :])
        new, places = [], []
        for token in wanted:
            if token in self._place:
                self._place.move_to_end(token)
                continue
            place = len(self._place)
            if place == self._most:
                _, place = self._place.popitem(last=False)
            self._place[token] = place
            new.append(token)
            places.append(place)
        if not new:
            return 0
        self._grow(len(self._place))
        index = torch.tensor(places, device=self._fixed_ids.device)
        self._context_ids[index] = torch.tensor(new, device=self._fixed_ids.device)
        self._context_KD[index] = self._table.rows(new).to(self._context_KD)
        self._ids = torch.cat([self._fixed_ids, self._context_ids[: len(self._place)]])
        return len(new)

    def place_of(self, token: int) -> int | None:
        """Return where a row of the context is in ``ids``; None for other tokens."""
        place = self._place.get(token)
        return None if place is None else self.fixed + place

    def reset(self) -> None:
        """Remove the rows of the context."""
        self._place.clear()
        self._ids = self._fixed_ids

    def _grow(self, count: int) -> None:
        missing = count - len(self._context_ids)
        if missing > 0:
            more = -(-missing // CHUNK) * CHUNK
            self._context_ids = torch.cat([self._context_ids, self._context_ids.new_zeros(more)])
            empty_KD = self._context_KD.new_zeros(more, self._context_KD.shape[1])
            self._context_KD = torch.cat([self._context_KD, empty_KD])
