"""Define how the server reaches clients, and run them in this process.

``InProcess`` trains one client after another and hands over one message at a time, so that memory
does not grow with the number of clients. Updates travel as bytes here, too: what is counted, lost
to the codec, and checked is the same as over a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lacy._text import first_line
from lacy.deltas import Codec, codec_by_name
from lacy.errors import LacyError
from lacy.federate.message import encode_update
from lacy.federate.protocol import Client, State


@dataclass(frozen=True)
class ClientReply:
    """What a client sent, or why it sent nothing."""

    client: str
    data: bytes = b""
    """The message of an update."""
    failure: str = ""
    """Why there is no message."""
    seconds: float = 0.0
    """Seconds that the client took."""


class Transport(Protocol):
    """Reaches clients."""

    def clients(self) -> Sequence[str]:
        """Return the names of all clients that can be reached now."""
        ...

    def train(
        self, clients: Sequence[str], state: State, round: int, deadline: float | None
    ) -> Iterator[ClientReply]:
        """Let clients train, and yield their replies as they come.

        Args:
            clients: the sampled clients.
            state: the trained tensors.
            round: number of the round.
            deadline: seconds after which no further reply is waited for.
        """
        ...


class InProcess:
    """Clients in this process, one after another.

    Args:
        clients: the clients by name.
        codec: how updates travel.
        on_reply: called with the name of each client that has replied.
    """

    def __init__(
        self,
        clients: Mapping[str, Client],
        codec: Codec | str = "f32",
        on_reply: Callable[[str], object] = lambda client: None,
    ) -> None:
        self._clients, self._on_reply = clients, on_reply
        self._codec = codec_by_name(codec) if isinstance(codec, str) else codec

    def clients(self) -> Sequence[str]:
        """Return the names of all clients."""
        return list(self._clients)

    def train(
        self, clients: Sequence[str], state: State, round: int, deadline: float | None
    ) -> Iterator[ClientReply]:
        """Train one client after another; a client's deadline counts from its own beginning.

        A client that raises an exception has failed and ends neither the round nor the others.
        """
        for name in clients:
            begin = time.monotonic()
            data, failure = b"", ""
            try:
                data = encode_update(self._clients[name].train(state, round), self._codec)
            except Exception as error:
                known = isinstance(error, LacyError)  # its code says what it is
                kind = "" if known else f"{type(error).__name__}: "
                failure = f"{kind}{first_line(error)}"[:200]
            self._on_reply(name)
            yield ClientReply(name, data, failure, time.monotonic() - begin)
