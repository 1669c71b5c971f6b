"""The work of one process of edge_calibration.py: a small transformer, and emulated slowness."""

from __future__ import annotations

import threading
import time

import torch
from torch import nn

ROWS, LENGTH, VOCABULARY, WIDTH, LAYERS = 2, 32, 256, 64, 1


class Job:
    """A small transformer that is trained on random tokens."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.model = nn.ModuleList([nn.Embedding(VOCABULARY, WIDTH), self.body,
                                    nn.Linear(WIDTH, VOCABULARY)])  # fmt: skip
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.reset()

    def reset(self) -> None:
        """Begin a new record of what steps and transfers take."""
        self.steps, self.step_seconds = 0, 0.0
        self.messages, self.message_seconds = 0, 0.0

    def step(self, pad: float, stop: threading.Event | None = None) -> None:
        """Make one step, which takes at least ``pad`` seconds unless it is stopped."""
        begin = time.perf_counter()
        ids = torch.randint(0, VOCABULARY, (ROWS, LENGTH + 1))
        embed, body, head = self.model
        logits = head(body(embed(ids[:, :-1])))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if stop is None:
            time.sleep(max(0.0, pad - (time.perf_counter() - begin)))
        elif stop.wait(max(0.0, pad - (time.perf_counter() - begin))):
            return
        self.steps += 1
        self.step_seconds += time.perf_counter() - begin

    def message(self, begin: float) -> None:
        """Record a message that took until now."""
        self.messages += 1
        self.message_seconds += time.perf_counter() - begin

    def record(self, profiled: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return what ``profile`` returns, from the record of a run."""
        _, rate, latency = profiled
        if self.messages:
            seconds = max(1e-9, self.message_seconds / self.messages - latency)
            rate = min(1e10, 4.0 * self.parameters / seconds)
        return self.step_seconds / self.steps, rate, latency

    def flat(self) -> torch.Tensor:
        """Return all weights as one tensor."""
        return nn.utils.parameters_to_vector(self.model.parameters()).detach()

    def load(self, flat: torch.Tensor) -> None:
        """Set all weights."""
        nn.utils.vector_to_parameters(flat, self.model.parameters())


def pace(begin: float, size: float, rate: float, stop: threading.Event | None = None) -> None:
    """Wait until ``size`` bytes have passed through a connection of ``rate`` bytes per second."""
    end = begin + (size / rate if rate else 0.0)
    while (left := end - time.perf_counter()) > 0 and not (stop and stop.is_set()):
        time.sleep(min(left, 0.05))
