"""Carry bytes between the server and one worker, over gloo.

Every worker has a process group of two with the server. If a worker is killed, only its own group
fails; one group of all would fail for everybody. The groups meet at a ``TCPStore``, where a worker
can also join later: it takes the next number of a connection and announces itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, Store, TCPStore

from lacy.errors import LacyError

MOST = 2**34
"""Maximum number of bytes of a message; its length comes from another process."""


class GlooLink:
    """A connection of the server and one worker.

    Args:
        store: where both meet.
        name: name of the connection.
        rank: 0 for the server, 1 for the worker.
        seconds: time after which a silent partner counts as lost.
    """

    def __init__(self, store: Store, name: str, rank: int, seconds: float) -> None:
        self._other, self._timeout = 1 - rank, timedelta(seconds=seconds)
        self._group: Any = ProcessGroupGloo(PrefixStore(name, store), rank, 2, self._timeout)

    def send(self, messages: Sequence[bytes], save: int = 0) -> None:
        """Send messages, and the number of a checkpoint that the other one shall write.

        Raises:
            RuntimeError: the other process is gone.
        """
        self._send(torch.tensor([len(messages), save]))
        for message in messages:
            self._send(torch.tensor([len(message), 0]))
            self._send(torch.frombuffer(bytearray(message), dtype=torch.uint8))

    def receive(self) -> tuple[list[bytes], int]:
        """Return the messages and the number that ``send`` got.

        Raises:
            RuntimeError: the other process is gone or silent.
        """
        count, save = self._receive_pair()
        messages = []
        for _ in range(count):
            length, _ = self._receive_pair()
            if not 0 < length <= MOST:
                raise RuntimeError(f"a message of {length} bytes")
            data = torch.empty(length, dtype=torch.uint8)
            self._group.recv([data], self._other, 0).wait(self._timeout)
            messages.append(data.numpy().tobytes())
        return messages, save

    def _receive_pair(self) -> tuple[int, int]:
        pair = torch.empty(2, dtype=torch.int64)
        self._group.recv([pair], self._other, 0).wait(self._timeout)
        first, second = pair.tolist()
        return int(first), int(second)

    def _send(self, tensor: torch.Tensor) -> None:
        self._group.send([tensor], self._other, 0).wait(self._timeout)


def meeting_store(address: str, *, server: bool, seconds: float) -> TCPStore:
    """Return the store at ``HOST:PORT``, where server and workers meet.

    Args:
        address: host and port; the port 0 lets the server choose one.
        server: True hosts the store.
        seconds: time to wait for it.

    Raises:
        LacyError: E360, there is none, or the port is in use.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise LacyError("E360", address=address, why="an address is HOST:PORT")
    try:
        return TCPStore(
            host, int(port), is_master=server, wait_for_workers=False,
            timeout=timedelta(seconds=seconds),
        )  # fmt: skip
    except (RuntimeError, OSError, ValueError) as error:
        why = str(error).splitlines()[0][:120]
        raise LacyError("E360", address=address, why=why) from error


def torchrun_place() -> tuple[int, str, bool] | None:
    """Return rank, address, and whether this process hosts the store; None without torchrun.

    Of the processes that ``torchrun`` starts, the one with rank 0 is the server.
    """
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return None
    rank = int(os.environ["RANK"])
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "") == "True"
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return rank, address, rank == 0 and not agent
