"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import connection


def end_with_parent() -> None:
    """Ends this worker process at once when its parent ends, however that happens.

    For the initializer of a pool of spawned processes. Each holds one end of a pipe whose other
    end only the parent has, so that the system itself tells of a parent that was killed. What the
    worker was writing is whole or absent; nobody would read its result.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
