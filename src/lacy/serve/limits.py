"""What a server takes at most."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields

from lacy.errors import LacyError

MIB = 1 << 20

MOST_CONNECTIONS = 1024
"""Connections at once by default, however many file descriptors there are."""


def affordable() -> int:
    """Connections for which there are file descriptors.

    A quarter of the process's limit is left to sources and files. Of the rest, each two connections
    leave room for a third, as some are accepted before others have been closed (``server.BURSTS``).
    """
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/dev/fd"))
    except (ImportError, OSError):  # not on Windows, where sockets are no descriptors
        return sys.maxsize
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (soft * 3 // 4 - used) * 2 // 3)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server; whatever exceeds them is refused with a reason, nothing is cut silently.

    Raises:
        LacyError: E12 for a bound below 1.
    """

    body_bytes: int = MIB
    """Of a request's body."""
    max_new_tokens: int = 1024
    """Most new tokens that a request may ask for."""
    choices: int = 8
    """Answers to one prompt (``n``)."""
    prompts: int = 32
    """Prompts in one request."""
    stops: int = 4
    """Stop strings in one request (OpenAI's limit)."""
    stop_characters: int = 500
    """Of one stop string."""
    patience: int = 60
    """Seconds for which a client may take nothing of what it is sent; then its texts end."""
    connections: int = field(default_factory=lambda: min(MOST_CONNECTIONS, affordable()))
    """At the same time. Where all are taken, the one that has been silent longest is closed."""
    head_seconds: int = 10
    """From a connection's beginning, or from the first byte of a later request, to the end of the
    request's headers."""
    body_seconds: int = 30
    """From the headers to the end of the body; as many more for each MiB of ``body_bytes``."""
    idle_seconds: int = 15
    """Between two requests on one connection."""

    def __post_init__(self) -> None:
        for bound in fields(self):
            if getattr(self, bound.name) < 1:
                raise LacyError(
                    "E12", key=bound.name, value=getattr(self, bound.name), why="less than 1",
                    do="give 1 or more",
                )  # fmt: skip

    @property
    def body_deadline(self) -> float:
        """Seconds for the largest body."""
        return self.body_seconds * max(1.0, self.body_bytes / MIB)
