"""Worker processes that end with their parent, and measurements in fresh processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

_LOG_LINE = re.compile(r"\d+\.\d+\.\d+\.\d+ [A-Z] ")
"""A line of llama.cpp's log: its time and its level."""


class ProcessFailed(Exception):
    """A fresh process ended without a result; the message is one line that says why."""


def run_fresh(module: str, arguments: Sequence[str], seconds: float) -> Any:
    """Run ``python -m MODULE ARGUMENTS`` and return the last line that it prints, as JSON.

    Args:
        module: a module of lacy.
        arguments: its arguments.
        seconds: time limit.

    Raises:
        ProcessFailed: the process failed, printed nothing, or exceeded the limit.
    """
    words = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"no result after {seconds:g} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = [line for line in done.stderr.splitlines() if line and not _LOG_LINE.match(line)]
        raise ProcessFailed(said[-1] if said else f"exit code {done.returncode}")
    return json.loads(lines[-1])


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
