"""Central differential privacy: the state reveals little about any one client.

Following McMahan et al. (arXiv 1710.06963): every client is chosen independently with probability
``fraction``, each update is shortened to the norm ``clip``, all count equally, and the server adds
Gaussian noise with standard deviation ``noise * clip`` to their sum, which it divides by the
*expected* number of clients. A client that fails or is refused only makes the sum smaller, so it
does not weaken the guarantee. The privacy budget is computed by Opacus's accountant (Renyi
differential privacy of the subsampled Gaussian mechanism).

The guarantee is for whole clients, holds against everybody who sees the states but not against the
server, and covers weights only: counts and metrics that clients report are outside it, and so is
the list of clients of a round, which must stay on the server. Its random numbers must be secret,
so they come from a seed of their own that never leaves the server. Gaussian
noise in floating point has known gaps (Mironov, CCS 2012), which are not closed here.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy._require import require_package
from lacy.federate.aggregate import Aggregate, Aggregator
from lacy.federate.protocol import State
from lacy.types import Update

_ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + list(range(12, 64))
"""Orders of the Renyi divergence, those of Opacus."""


@dataclass(frozen=True)
class PrivateMean:
    """The sum of the updates plus noise, divided by the expected number of updates.

    The caller has shortened all updates to ``clip``.

    Args:
        clip: largest norm of an update.
        noise: standard deviation of the noise by ``clip``.
        expected: expected number of updates of a round.
        seed: secret seed of the noise.
        round: number of the round.
    """

    clip: float
    noise: float
    expected: float
    seed: int
    round: int
    least: int = 0

    def start(self, state: State) -> Aggregator:
        """Return a running sum."""
        return _PrivateSum(self, state)


@dataclass
class _PrivateSum:
    settings: PrivateMean
    state: State
    sums: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sums = {
            name: torch.zeros_like(t, dtype=torch.float64) for name, t in self.state.items()
        }

    def add(self, client: str, update: Update) -> None:
        for name, tensor in update.delta.items():
            self.sums[name] += tensor.double()

    def result(self) -> Aggregate:
        own = self.settings
        generator = torch.Generator().manual_seed(derived_seed(own.seed, own.round, "noise"))
        found = {}
        for name in sorted(self.sums):
            total = self.sums[name]
            noise = torch.randn(total.shape, generator=generator, dtype=torch.float64)
            found[name] = ((total + own.noise * own.clip * noise) / own.expected).float()
        return Aggregate(found)


def epsilon_after(rounds: int, fraction: float, noise: float, delta: float) -> float:
    """Return the epsilon that is spent after a number of rounds.

    Args:
        rounds: number of rounds.
        fraction: probability with which a client is chosen.
        noise: noise multiplier.
        delta: probability with which epsilon may not hold.

    Raises:
        LacyError: E11, Opacus is not installed.
    """
    if not rounds:
        return 0.0
    rdp = _opacus()
    divergence = _one_round(fraction, noise)  # divergences of rounds add up
    with warnings.catch_warnings():  # Opacus warns where the best order is the first or last
        warnings.simplefilter("ignore")
        epsilon, _ = rdp.get_privacy_spent(orders=_ORDERS, rdp=rounds * divergence, delta=delta)
    return float(epsilon)


@lru_cache(maxsize=8)
def _one_round(fraction: float, noise: float) -> NDArray[np.float64]:
    """Return the Renyi divergence of one round for each order."""
    found: NDArray[np.float64] = _opacus().compute_rdp(
        q=fraction, noise_multiplier=noise, steps=1, orders=_ORDERS
    )
    return found


def _opacus() -> Any:
    name, purpose = "opacus.accountants.analysis.rdp", "the privacy budget (--noise)"
    return require_package(name, "private", purpose)


def derived_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on all parts, such as seed, round and client."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
