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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lacy.deltas import codec_by_name, shapes_of
from lacy.errors import LacyError
from lacy.federate.aggregate import Aggregate, Mean, Strategy, clipped, norm_of
from lacy.federate.lora import ProductMean, pairs_of
from lacy.federate.message import RefusedError, decode_update
from lacy.federate.privacy import PrivateMean, derived_seed, epsilon_after
from lacy.federate.protocol import State
from lacy.federate.robust import Krum, Median, TrimmedMean
from lacy.federate.rounds import Round
from lacy.federate.settings import FederateSettings
from lacy.federate.stored import Stored, read_stored, write_stored
from lacy.federate.transport import ClientReply, Transport
from lacy.types import Update


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
        sampled = self.sample(clients, number)
        strategy = self._strategy(number, len(clients))
        aggregator = strategy.start(self.state)
        accepted: dict[str, Update] = {}
        refused: dict[str, str] = {}
        failed: dict[str, str] = {}
        counts: Counter[str] = Counter()
        bytes_up = shortened = 0
        for reply in transport.train(sampled, self.state, number, settings.deadline):
            bytes_up += len(reply.data)
            if reply.failure:
                failed[reply.client] = reply.failure
                continue
            try:
                update = self._checked(reply, number, sampled, accepted)
            except RefusedError as why:
                refused[reply.client] = str(why)
                continue
            if not update.samples:  # all were dropped, for example: only its counts are used
                refused[reply.client] = "it has no training samples"
                counts.update(update.counts)
                continue
            if settings.clip is not None:
                update, was_longer = clipped(update, settings.clip)
                shortened += was_longer
            aggregator.add(reply.client, update)
            counts.update(update.counts)
            accepted[reply.client] = replace(update, delta={})  # the aggregator keeps what it needs
        silent = set(sampled) - accepted.keys() - refused.keys() - failed.keys()
        failed |= dict.fromkeys(sorted(silent), "no reply")
        aggregate = Aggregate({})
        if len(accepted) >= max(strategy.least, 0 if settings.noise else settings.quorum):
            aggregate = aggregator.result()
        state = dict(self.state)
        for name, delta in aggregate.delta.items():
            state[name] = state[name] + settings.server_lr * delta
        bytes_down = len(sampled) * codec_by_name("f32").size(self._shapes)
        done = Round(
            number=number, sampled=len(sampled), accepted=sorted(accepted), refused=refused,
            failed=failed, left_out=list(aggregate.left_out), changed=bool(aggregate.delta),
            samples=sum(update.samples for update in accepted.values()),
            counts=dict(counts), metrics=_means(accepted), shortened=shortened,
            norm=norm_of(aggregate.delta), figures={**aggregate.figures, **self._measure(state)},
            epsilon=self._epsilon(number), bytes_up=bytes_up, bytes_down=bytes_down,
            seconds=time.monotonic() - begin,
        )  # fmt: skip
        self._stored = Stored(state, [*self.rounds, done], self._stored.secret)
        if self._file is not None:
            write_stored(self._file, self._stored, self.model, settings)
        return done

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

    def _checked(
        self,
        reply: ClientReply,
        number: int,
        sampled: Sequence[str],
        accepted: Mapping[str, Update],
    ) -> Update:
        """Return the update of a reply.

        Raises:
            RefusedError: it cannot be used.
        """
        deadline = self.settings.deadline
        if reply.client not in sampled:
            raise RefusedError("its client was not sampled in this round")
        if reply.client in accepted:
            raise RefusedError("its client has already sent an update in this round")
        if deadline is not None and reply.seconds > deadline:
            raise RefusedError(f"it is late: {reply.seconds:.1f} s of {deadline:g} s")
        update = decode_update(reply.data, self._codec, self._shapes)
        if update.round != number:
            raise RefusedError(f"it is of round {update.round}, not {number}")
        if update.model != self.model:
            raise RefusedError("it is of another model")
        if update.samples > self._most_samples:
            raise RefusedError(f"it claims {update.samples} samples")
        return update

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


def _means(updates: Mapping[str, Update]) -> dict[str, float]:
    """Return the mean of each metric, weighted by the samples of the clients that report it."""
    names = {name: None for update in updates.values() for name in update.metrics}
    found = {}
    for name in names:
        having = [update for update in updates.values() if name in update.metrics]
        weight = sum(update.samples for update in having)
        found[name] = sum(update.metrics[name] * update.samples for update in having) / weight
    return found
