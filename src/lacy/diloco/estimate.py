"""Say what a run would exchange, before anything is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lacy.deltas import codec_by_name, shapes_of
from lacy.diloco.outer import split_fragments
from lacy.diloco.together import Together
from lacy.diloco.worker import trained_weights


@dataclass(frozen=True, slots=True)
class ExchangeEstimate:
    """What workers would send and receive, if all of them are there all the time."""

    parameters: int
    steps: int
    exchanges: int
    up: int
    """Bytes that one worker sends in the largest exchange, without the numbers beside the delta."""
    down: int
    """Bytes that one worker receives then."""
    total: int
    """Bytes of all workers in both directions over the whole run."""
    synchronous: int
    """The same if a float32 gradient and its mean were sent in every step."""


def estimate_exchange(together: Together) -> ExchangeEstimate:
    """Return what a prepared run would exchange."""
    settings, workers = together.settings, together.settings.workers
    weights = trained_weights(together.start())
    shapes = shapes_of(weights)
    codec = codec_by_name(settings.codec)
    down = codec if settings.down in ("same", "relay") else codec_by_name(settings.down)
    copies = workers if settings.down == "relay" else 1
    parts = split_fragments(shapes, settings.fragments)
    sizes = []
    for names in parts:
        mine = {name: shapes[name] for name in names}
        sizes.append((codec.size(mine), copies * down.size(mine)))
    steps = together.schedule.total
    exchanges = math.ceil(steps / (settings.sync_every // len(parts))) + len(parts) - 1
    total = sum(sum(sizes[n % len(parts)]) for n in range(exchanges)) * workers
    parameters = sum(tensor.numel() for tensor in weights.values())
    return ExchangeEstimate(
        parameters, steps, exchanges, max(up for up, _ in sizes), max(d for _, d in sizes), total,
        8 * parameters * steps * workers,
    )  # fmt: skip
