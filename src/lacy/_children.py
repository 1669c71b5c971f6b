"""Make worker processes end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import connection


def end_with_parent() -> None:
    """End this worker process as soon as its parent ends, even if the parent is killed.

    Call it in the initializer of a pool of spawned processes. It watches a pipe that the operating
    system closes with the parent. Workers write atomically, so no partial files remain.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
