"""Limits of a server on requests and connections."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields

from lacy._require import require_at_least

MIB = 1 << 20

MAX_CONNECTIONS = 1024
"""Default maximum number of connections, even if there are more file descriptors."""


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
    """Limits of a server. A request that exceeds a limit is refused; nothing is truncated.

    Raises:
        LacyError: E12, a limit is below 1.
    """

    body_bytes: int = MIB
    """Maximum size of a request's body."""
    max_new_tokens: int = 1024
    """Maximum number of new tokens per text that a request may ask for."""
    choices: int = 8
    """Maximum number of answers to one prompt (``n``)."""
    prompts: int = 32
    """Maximum number of prompts in one request."""
    stops: int = 4
    """Maximum number of stop strings in one request (OpenAI's limit)."""
    stop_characters: int = 500
    """Maximum length of a stop string."""
    decision_tokens: int = 4096
    """Maximum number of tokens of the state and all questions of a request for decisions."""
    stall_seconds: int = 60
    """If a client stops reading for this long, its texts are cancelled and it is disconnected."""
    connections: int = field(default_factory=lambda: min(MAX_CONNECTIONS, affordable_connections()))
    """Maximum number of open connections. A further one replaces the one that is idle longest."""
    head_seconds: int = 10
    """Maximum time for the headers of a request, from the start of the connection or, for later
    requests, from their first byte."""
    body_seconds: int = 30
    """Maximum time for the body of a request, per MiB of ``body_bytes`` (see ``body_deadline``)."""
    idle_seconds: int = 15
    """Maximum time between two requests on one connection."""

    def __post_init__(self) -> None:
        for limit in fields(self):
            require_at_least(limit.name, getattr(self, limit.name), 1)

    @property
    def body_deadline(self) -> float:
        """Maximum number of seconds for the body of a request."""
        return self.body_seconds * max(1.0, self.body_bytes / MIB)
