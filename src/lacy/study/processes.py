"""Parallel worker processes, each with one CPU thread or one GPU, killed on an error.

A process runs many jobs, because importing torch takes as long as fifty steps of a small model. For
such models, two processes with one thread each are faster than one with two.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from lacy._children import end_with_parent

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def default_workers() -> int:
    """Return one per GPU, or one per core that this process may use."""
    found = gpus()
    if found:
        return len(found)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the usable GPUs by their names for CUDA_VISIBLE_DEVICES."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]


@contextmanager
def workers(number: int, places: Sequence[str] = ()) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of fresh processes.

    Args:
        number: how many.
        places: GPUs to distribute among them; if empty, each has one CPU thread.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    if not places:
        os.environ.update(dict.fromkeys(THREADS, "1"))  # read when the processes start
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for n in range(number):
        queue.put(places[n % len(places)] if places else "")
    pool = ProcessPoolExecutor(number, mp_context=context, initializer=_begin, initargs=(queue,))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin(queue: Any) -> None:
    """Give a worker its GPU, or its one thread."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the work
    end_with_parent()
    place = queue.get()
    if place:
        os.environ["CUDA_VISIBLE_DEVICES"] = place
        return
    import torch

    torch.set_num_threads(1)
