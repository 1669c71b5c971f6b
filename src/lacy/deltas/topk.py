"""Send the largest changes only: their positions, and two bits for each (SparseLoCo, 2508.15706).

Tensors are cut into chunks of 4096 values, so a position takes 12 bits. Of each chunk, the values
of the largest magnitude are sent: a sign, and one of two magnitudes of the chunk, which are the
means of the values above and below the mean magnitude. Everything else is zero for the receiver, so
a sender uses ``ErrorFeedback``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.deltas.codec import Codec
from lacy.deltas.frame import Parts, Shapes, count_of
from lacy.errors import LacyError

CHUNK = 4096
"""Values per chunk, as in the paper (§3): the most that 12 bits can point to."""


@dataclass(frozen=True, slots=True)
class TopKCodec(Codec):
    """The largest values of each chunk in two bits.

    Args:
        density: share of the values that are sent, above 0 and at most 1. The paper uses 1-3%.
    """

    density: float = 1 / 64

    @property
    def name(self) -> str:
        """``topk/0.015625``: the share of values."""
        return f"topk/{self.density:g}"

    def _kept(self, length: int) -> int:
        """Return the number of values that are sent of a chunk."""
        return max(1, min(length, round(length * self.density)))

    def _groups(self, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Yield number and length of chunks: the full ones of a tensor, then the rest."""
        full, rest = divmod(count_of(shape), CHUNK)
        if full:
            yield full, CHUNK
        if rest:
            yield 1, rest

    def parts(self, shapes: Shapes) -> Parts:
        """Two magnitudes per chunk, positions in 12 bits, signs and choices in 2."""
        groups = [group for shape in shapes.values() for group in self._groups(shape)]
        sent = sum(count * self._kept(length) for count, length in groups)
        return {
            "levels": (torch.bfloat16, 2 * sum(count for count, _ in groups)),
            "places": (torch.uint8, 3 * -(-sent // 2)),
            "codes": (torch.uint8, -(-sent // 4)),
        }

    def _pack(self, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        levels, places, codes = [], [], []
        for tensor in delta.values():
            flat, first = tensor.flatten(), 0
            for count, length in self._groups(tuple(tensor.shape)):
                chunk_NL = flat[first : first + count * length].view(count, length)
                first += count * length
                place_NK = (
                    chunk_NL.abs().topk(self._kept(length), sorted=False).indices.sort().values
                )
                value_NK = chunk_NL.gather(1, place_NK)
                level_N2 = _levels(value_NK.abs()).bfloat16()
                if not torch.isfinite(level_N2).all():
                    raise LacyError("E355", why="a value is too large for bfloat16")
                upper_NK = value_NK.abs() > level_N2.float().mean(-1, keepdim=True)
                levels.append(level_N2.flatten())
                places.append(place_NK.flatten())
                codes.append(((value_NK < 0) + 2 * upper_NK).flatten())
        return {
            "levels": torch.cat(levels),
            "places": _pack_12(torch.cat(places).int()),
            "codes": _pack_2(torch.cat(codes).to(torch.uint8)),
        }

    def _unpack(self, parts: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
        level_N2 = parts["levels"].float().view(-1, 2)
        places, codes = _unpack_12(parts["places"]), _unpack_2(parts["codes"])
        if (level_N2 < 0).any():
            raise LacyError("E356", why="it has negative magnitudes")
        found, chunk, sent = {}, 0, 0
        for name, shape in sorted(shapes.items()):
            flat, first = torch.zeros(count_of(shape)), 0
            for count, length in self._groups(shape):
                kept = self._kept(length)
                mine = slice(sent, sent + count * kept)
                place_NK, code_NK = places[mine].view(count, kept), codes[mine].view(count, kept)
                if (place_NK >= length).any() or (place_NK.diff(dim=1) <= 0).any():
                    raise LacyError("E356", why=f"{name} has positions out of range or order")
                sign_NK = 1.0 - 2.0 * (code_NK & 1)
                value_NK = sign_NK * level_N2[chunk : chunk + count].gather(
                    1, (code_NK >> 1).long()
                )
                rows_NL = flat[first : first + count * length].view(count, length)
                rows_NL.scatter_(1, place_NK.long(), value_NK)
                first, chunk, sent = first + count * length, chunk + count, mine.stop
            found[name] = flat.view(shape)
        return found


def _levels(size_NK: Tensor) -> Tensor:
    """Return the means of the magnitudes up to their mean, and above it: ``[N, 2]``."""
    mean_N1 = size_NK.mean(-1, keepdim=True)
    upper_NK = size_NK > mean_N1
    count_N = upper_NK.sum(-1)
    upper_N = (size_NK * upper_NK).sum(-1) / count_N.clamp_min(1)
    lower_N = (size_NK * ~upper_NK).sum(-1) / (~upper_NK).sum(-1).clamp_min(1)
    return torch.stack([lower_N, torch.where(count_N > 0, upper_N, lower_N)], -1)


def _pack_12(numbers: Tensor) -> Tensor:
    """Return pairs of 12-bit numbers in three bytes each."""
    pair_N2 = torch.nn.functional.pad(numbers, (0, len(numbers) % 2)).view(-1, 2)
    first, second = pair_N2.unbind(-1)
    three = [first & 255, (first >> 8) | (second & 15) << 4, second >> 4]
    return torch.stack(three, -1).to(torch.uint8).flatten()


def _unpack_12(data: Tensor) -> Tensor:
    low, middle, high = data.int().view(-1, 3).unbind(-1)
    return torch.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], -1).flatten()


def _pack_2(numbers: Tensor) -> Tensor:
    """Return four 2-bit numbers in each byte."""
    four_N4 = torch.nn.functional.pad(numbers, (0, -len(numbers) % 4)).view(-1, 4)
    return four_N4[:, 0] | four_N4[:, 1] << 2 | four_N4[:, 2] << 4 | four_N4[:, 3] << 6


def _unpack_2(data: Tensor) -> Tensor:
    return torch.stack([data >> shift & 3 for shift in (0, 2, 4, 6)], -1).flatten()
