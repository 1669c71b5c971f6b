"""The server of a federation: sends its state, checks updates, aggregates, and keeps its state.

Nothing that a client sends can end a round or reach the state unchecked: a message that is damaged,
late, of another round or model, or not a number is refused, and the table of rounds says why. A
round with too few accepted updates changes nothing. After every round, the server's state is
written atomically; a server that starts again goes on after the last complete round, with the same
random choices.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from lacy.deltas import codec_by_name, shapes_of
from lacy.errors import LacyError
from lacy.federate.aggregate import Aggregate, Mean, Strategy, norm_of
from lacy.federate.intake import Intake
from lacy.federate.lora import ProductMean, pairs_of
from lacy.federate.privacy import PrivateMean, derived_seed, epsilon_after
from lacy.federate.protocol import State
from lacy.federate.robust import Krum, Median, TrimmedMean
from lacy.federate.rounds import Round
from lacy.federate.settings import FederateSettings
from lacy.federate.stored import Stored, read_stored, write_stored
from lacy.federate.transport import Transport


class FederationServer:
    """The server of a federation.

    Args:
        state: the trained tensors before the first round.
        settings: how updates are aggregated.
        model: fingerprint of everything that is not trained (``Payload.fingerprint``).
        file: where the state is kept; an existing file continues its federation.
        most_samples: largest number of samples that one client may claim.
        measure: returns figures of a state, for the table of rounds.

    Raises:
        LacyError: E333, the file is damaged; E334, it belongs to another federation; E12, a setting
            is invalid; E11, noise without Opacus.
    """

    def __init__(
        self,
        state: State,
        settings: FederateSettings,
        *,
        model: str = "",
        file: str | Path | None = None,
        most_samples: int = 1_000_000,
        measure: Callable[[State], Mapping[str, float]] = lambda state: {},
    ) -> None:
        settings.check()
        self.settings, self.model, self._most_samples = settings, model, most_samples
        self._measure = measure
        self._codec, self._shapes = codec_by_name(settings.codec), shapes_of(state)
        self._file = None if file is None else Path(file)
        begin = Stored(dict(state), [], secrets.randbits(63) if settings.noise else settings.seed)
        stored = None
        if self._file is not None and self._file.exists():
            stored = read_stored(self._file, model, settings, self._shapes)
        self._stored = stored or begin
        if settings.noise:
            epsilon_after(1, settings.fraction, settings.noise, settings.delta)

    @property
    def state(self) -> State:
        """The trained tensors after the last round."""
        return self._stored.state

    @property
    def rounds(self) -> Sequence[Round]:
        """All rounds so far."""
        return self._stored.rounds

    @property
    def finished(self) -> bool:
        """True if no round is left, or the privacy budget allows none."""
        return len(self.rounds) >= self.settings.rounds or self._exhausted

    def run_round(self, transport: Transport) -> Round:
        """Run the next round and keep its result.

        Raises:
            LacyError: E335, the transport has no clients.
        """
        begin, number, settings = time.monotonic(), len(self.rounds) + 1, self.settings
        clients = transport.clients()
        intake = Intake(
            number, self.sample(clients, number), settings, self._codec, self._shapes, self.model,
            self._most_samples,
        )  # fmt: skip
        aggregator = self._strategy(number, len(clients)).start(self.state)
        for reply in transport.train(intake.sampled, self.state, number, settings.deadline):
            intake.take(reply, aggregator)
        intake.close()
        enough = len(intake.accepted) >= self.least
        aggregate = aggregator.result() if enough else Aggregate({})
        state = self._next_state(aggregate)
        done = Round(
            number=number, sampled=len(intake.sampled), accepted=sorted(intake.accepted),
            refused=intake.refused, failed=intake.failed, left_out=list(aggregate.left_out),
            changed=state is not self.state,
            samples=sum(update.samples for update in intake.accepted.values()),
            counts=dict(intake.counts), metrics=intake.metrics(), shortened=intake.shortened,
            norm=norm_of(aggregate.delta), figures={**aggregate.figures, **self._measure(state)},
            epsilon=self._epsilon(number), bytes_up=intake.bytes_up,
            bytes_down=len(intake.sampled) * codec_by_name("f32").size(self._shapes),
            seconds=time.monotonic() - begin,
        )  # fmt: skip
        self._stored = Stored(state, [*self.rounds, done], self._stored.secret)
        if self._file is not None:
            write_stored(self._file, self._stored, self.model, settings)
        return done

    @property
    def least(self) -> int:
        """Least number of accepted updates with which a round changes the state."""
        if self.settings.noise:
            return 0
        return max(self._strategy(1, 1).least, self.settings.quorum)

    def require_enough(self, clients: int) -> None:
        """Raise E12 if so few clients train in a round that none could change the state."""
        sampled = len(self.sample([str(number) for number in range(clients)], 1))
        if sampled < self.least:
            own = self.settings
            key = "quorum" if own.quorum == self.least else "strategy"
            why = f"a round needs {self.least} updates, and {sampled} of {clients} clients train"
            do = "let more clients train (--simulate, --fraction), or choose another strategy"
            do = "use fewer (--quorum)" if key == "quorum" else do
            raise LacyError("E12", key=key, value=getattr(own, key), why=why, do=do)

    def _next_state(self, aggregate: Aggregate) -> State:
        """Return the state plus the aggregate; the same state if that is nothing or overflows."""
        if not aggregate.delta:
            return self.state
        state = {
            name: tensor + self.settings.server_lr * aggregate.delta[name]
            for name, tensor in self.state.items()
        }
        # Finite updates may still add up to more than float32 holds.
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
        return state if finite else self.state

    def sample(self, clients: Sequence[str], number: int) -> list[str]:
        """Choose the clients of a round.

        With noise, each client is chosen by itself, as the privacy budget assumes, and there may be
        none; otherwise their number is fixed.

        Raises:
            LacyError: E335, there are no clients.
        """
        if not clients:
            raise LacyError("E335", round=number)
        names, share = sorted(clients), self.settings.fraction
        random = np.random.default_rng(derived_seed(self._stored.secret, number, "sample"))
        if self.settings.noise:
            return [name for name in names if random.random() < share]
        count = max(1, round(share * len(names)))
        return [names[index] for index in sorted(random.permutation(len(names))[:count])]

    def _strategy(self, number: int, clients: int) -> Strategy:
        """Return the strategy of a round."""
        own = self.settings
        if own.noise:
            assert own.clip is not None
            expected = own.fraction * clients
            return PrivateMean(own.clip, own.noise, expected, self._stored.secret, number)
        if own.strategy == "mean":
            products = own.averages_products and pairs_of(self.state)
            return ProductMean() if products else Mean()
        robust: dict[str, Strategy] = {
            "median": Median(own.malicious),
            "trimmed-mean": TrimmedMean(own.malicious),
            "krum": Krum(own.malicious),
            "multi-krum": Krum(own.malicious, keep=0),
        }
        return robust[own.strategy]

    def _epsilon(self, rounds: int) -> float | None:
        """Return the epsilon that is spent after a number of rounds; None without noise."""
        own = self.settings
        if not own.noise:
            return None
        return epsilon_after(rounds, own.fraction, own.noise, own.delta)

    @property
    def _exhausted(self) -> bool:
        """True if one more round would exceed the privacy budget."""
        budget = self.settings.budget
        if budget is None:
            return False
        after = self._epsilon(len(self.rounds) + 1)
        return after is not None and after > budget
