"""Take in the replies of one round: check each, hand on what can be used, and say what cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lacy.deltas import Codec, Shapes
from lacy.federate.aggregate import Aggregator, clipped
from lacy.federate.message import RefusedError, decode_update
from lacy.federate.settings import FederateSettings
from lacy.federate.transport import ClientReply
from lacy.types import Update


@dataclass
class Intake:
    """The replies of one round so far.

    Args:
        number: number of the round.
        sampled: the clients that were asked.
        settings: deadline and largest norm.
        codec: how updates travel.
        shapes: names and shapes of the trained tensors.
        model: fingerprint of everything that is not trained.
        most_samples: largest number of samples that a client may claim.
    """

    number: int
    sampled: Sequence[str]
    settings: FederateSettings
    codec: Codec
    shapes: Shapes
    model: str
    most_samples: int
    accepted: dict[str, Update] = field(default_factory=dict)
    """Accepted updates without their deltas, which the aggregator has."""
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    shortened: int = 0
    bytes_up: int = 0

    def take(self, reply: ClientReply, aggregator: Aggregator) -> None:
        """Check a reply, and give its update to the aggregator if it can be used."""
        self.bytes_up += len(reply.data)
        if reply.failure:
            self.failed[reply.client] = reply.failure
            return
        try:
            update = self._checked(reply)
        except RefusedError as why:
            self.refused[reply.client] = str(why)
            return
        self.counts.update(update.counts)
        if not update.samples:  # all were dropped, for example: only its counts are used
            self.refused[reply.client] = "it has no training samples"
            return
        if self.settings.clip is not None:
            update, was_longer = clipped(update, self.settings.clip)
            self.shortened += was_longer
        aggregator.add(reply.client, update)
        self.accepted[reply.client] = replace(update, delta={})

    def close(self) -> None:
        """End the round: sampled clients from which nothing has come have failed."""
        known = self.accepted.keys() | self.refused.keys() | self.failed.keys()
        self.failed |= {name: "no reply" for name in self.sampled if name not in known}

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric, weighted by the samples of the clients that have it."""
        found = {}
        for name in sorted({name for each in self.accepted.values() for name in each.metrics}):
            having = [each for each in self.accepted.values() if name in each.metrics]
            total = sum(each.metrics[name] * each.samples for each in having)
            found[name] = total / sum(each.samples for each in having)
        return found

    def _checked(self, reply: ClientReply) -> Update:
        """Return the update of a reply.

        Raises:
            RefusedError: it cannot be used.
        """
        deadline = self.settings.deadline
        if reply.client not in self.sampled:
            raise RefusedError("its client was not sampled in this round")
        if reply.client in self.accepted or reply.client in self.refused:
            raise RefusedError("its client has already sent an update in this round")
        if deadline is not None and reply.seconds > deadline:
            raise RefusedError(f"it is late: {reply.seconds:.1f} s of {deadline:g} s")
        update = decode_update(reply.data, self.codec, self.shapes)
        if update.round != self.number:
            raise RefusedError(f"it is of round {update.round}, not {self.number}")
        if update.model != self.model:
            raise RefusedError("it is of another model")
        if update.samples > self.most_samples:
            raise RefusedError(f"it claims {update.samples} samples")
        return update
