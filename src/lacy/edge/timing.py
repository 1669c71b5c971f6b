"""What one round takes: the times that the fast and the event-by-event simulation both start from.

Only sizes and rates are here, no order of events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lacy.edge.assumptions import EdgeAlgorithm, EdgeAssumptions
from lacy.edge.draws import Floats, Ints
from lacy.edge.fleet import Fleet, Profile
from lacy.edge.workload import MODEL_BITS, Workload


@dataclass(frozen=True)
class Link:
    """The server's connection and habits, in bytes and seconds."""

    up: float
    down: float
    between: float
    detect: float
    retry: float
    latency: float
    grace: float
    timeout: float

    @classmethod
    def of(cls, assumed: EdgeAssumptions, algorithm: EdgeAlgorithm) -> Link:
        """Convert the units of assumptions."""
        server = assumed.server
        return cls(
            server.up_gbps * 1.25e8, server.down_gbps * 1.25e8, server.round_seconds,
            60.0 * server.detect_minutes, 60.0 * server.retry_minutes, server.latency_ms / 1000.0,
            60.0 * algorithm.grace_minutes, 3600.0 * algorithm.timeout_hours,
        )  # fmt: skip


@dataclass(frozen=True)
class Tasks:
    """What each chosen device does in a round, in seconds of its own work."""

    receive: Floats
    compute: Floats
    send: Floats
    tokens: Floats
    bytes_down: Floats
    bytes_up: Floats
    patience: Floats
    """Seconds of work until the device is interrupted."""
    slot_down: Floats
    """Seconds for which sending to this device occupies the server's connection."""
    slot_up: float
    """Seconds for which receiving one update occupies the server's connection."""
    head: Floats
    """Seconds before the device can compute: the time to receive, or 0 if both overlap."""
    overlap: bool

    @property
    def work(self) -> Floats:
        """Seconds of work from the first received byte to the last sent one."""
        if self.overlap:
            return np.maximum(self.head + self.compute, self.receive + self.send)
        return self.receive + self.compute + self.send

    def split(self, worked_K: Floats) -> tuple[Floats, Floats, Floats]:
        """Split seconds of work into those of receiving, computing and sending."""
        received_K = np.minimum(worked_K, self.receive)
        computed_K = np.clip(worked_K - self.head, 0.0, self.compute)
        sent_from_K = self.receive + (0.0 if self.overlap else self.compute)
        return received_K, computed_K, np.clip(worked_K - sent_from_K, 0.0, self.send)


def plan_tasks(
    fleet: Fleet,
    profile: Profile,
    chosen_K: Ints,
    new_K: np.ndarray,
    turn: int,
    algorithm: EdgeAlgorithm,
    work: Workload,
    link: Link,
) -> Tasks:
    """Return the tasks of the devices of a round.

    Args:
        fleet: all devices.
        profile: properties of the chosen ones.
        chosen_K: their numbers.
        new_K: True for devices that have no current model and receive all of it.
        turn: number of the round.
        algorithm: the algorithm.
        work: the model.
        link: the server.
    """
    steps_K = np.full(len(chosen_K), float(algorithm.steps))
    if algorithm.same_time:
        relative_K = profile.flops / np.median(profile.flops)
        steps_K = np.maximum(1.0, np.rint(algorithm.steps * relative_K))
    tokens_K = steps_K * algorithm.batch_tokens
    update = work.update_bytes(algorithm.bits)
    peers = algorithm.exchange != "server"
    if peers:  # what peers exchange is counted when they do
        down_K = np.where(new_K, work.update_bytes(MODEL_BITS), 0.0)
        up_K = np.zeros(len(chosen_K))
    else:
        merged = update if algorithm.keep else work.update_bytes(algorithm.bits_down)
        down_K = np.where(new_K, work.update_bytes(algorithm.bits_down), merged)
        up_K = np.full(len(chosen_K), update)
    slot_down_K, slot_up = down_K / link.up, (0.0 if peers else update / link.down)
    receive_K = np.maximum(down_K / profile.down, slot_down_K) + link.latency * (down_K > 0)
    send_K = np.maximum(up_K / profile.up, slot_up) + link.latency * (up_K > 0)
    patience_K = profile.interrupted * fleet.interruptions(chosen_K, turn)
    overlap = algorithm.overlap and not peers
    # A device without a model cannot compute while it receives one.
    head_K = np.where(new_K, receive_K, 0.0) if overlap else receive_K
    return Tasks(
        receive_K, tokens_K * work.flop_per_token / profile.flops, send_K, tokens_K, down_K, up_K,
        patience_K, slot_down_K, slot_up, head_K, overlap,
    )  # fmt: skip


def peer_exchange(
    profile: Profile, members_K: np.ndarray, algorithm: EdgeAlgorithm, update: float, link: Link
) -> tuple[float, float]:
    """Return seconds and bytes (sent, and as many received) per device of an exchange of peers.

    A ring sends ``2 (n - 1) / n`` updates in ``2 (n - 1)`` messages (Patarasuk & Yuan 2009); with
    ``gather``, every device sends its update to all others. The slowest connection decides.
    """
    count = int(members_K.sum())
    if count < 2:
        return 0.0, 0.0
    slowest = float(np.minimum(profile.up, profile.down)[members_K].min())
    if algorithm.exchange == "ring":
        sent, messages = 2.0 * (count - 1) / count * update, 2 * (count - 1)
    else:
        sent, messages = (count - 1) * update, 1
    return sent / slowest + messages * link.latency, sent
