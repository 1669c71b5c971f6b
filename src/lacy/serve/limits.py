"""Limits of a server on requests and connections."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields

from lacy._require import require_at_least

MIB = 1 << 20

MAX_CONNECTIONS = 1024
"""Default limit on connections, even if there are more file descriptors."""


def affordable_connections() -> int:
    """Return the number of connections that the file descriptors allow.

    A quarter of the process's limit is reserved for sources and files. Of the rest, one third stays
    free, because connections are accepted before others have been closed (``server.BURSTS``).
    """
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/dev/fd"))
    except (ImportError, OSError):  # Windows: sockets are not file descriptors
        return sys.maxsize
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (soft * 3 // 4 - used) * 2 // 3)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server. A request beyond one is refused with a reason; nothing is truncated.

    Raises:
        LacyError: E12, a limit is below 1.
    """

    body_bytes: int = MIB
    """Largest body of a request."""
    max_new_tokens: int = 1024
    """Most new tokens per text that a request may ask for."""
    choices: int = 8
    """Most answers to one prompt (``n``)."""
    prompts: int = 32
    """Most prompts in one request."""
    stops: int = 4
    """Most stop strings in one request (OpenAI's limit)."""
    stop_characters: int = 500
    """Longest stop string."""
    stall_seconds: int = 60
    """If a client stops reading for this long, its texts are cancelled and it is disconnected."""
    connections: int = field(default_factory=lambda: min(MAX_CONNECTIONS, affordable_connections()))
    """Most open connections. Beyond these, the connection that has been idle longest is closed."""
    head_seconds: int = 10
    """From the start of the connection, or the first byte of a later request, to the end of the
    request's headers."""
    body_seconds: int = 30
    """From the headers to the end of the body; the same again for each MiB of ``body_bytes``."""
    idle_seconds: int = 15
    """Between two requests on one connection."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            require_at_least(limit.name, getattr(self, limit.name), 1)

    @property
    def body_deadline(self) -> float:
        """Seconds allowed for the largest body."""
        return self.body_seconds * max(1.0, self.body_bytes / MIB)
