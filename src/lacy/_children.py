"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import connection


def end_with_parent() -> None:
    """Ends this worker process at once when its parent ends, however that happens.

    For the initializer of a pool of spawned processes. Each worker holds one end of a pipe whose
    other end only the parent has, so the operating system closes it even if the parent is killed.
    Workers write atomically, so ending one leaves no partial files.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
