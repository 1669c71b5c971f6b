"""Parallel worker processes, each with one CPU thread or one GPU.

A process runs many jobs, because importing torch takes as long as fifty steps of a small model. For
such models, two processes with one thread each are faster than one process with two threads.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from lacy._children import end_with_parent
from lacy._garbage import collect_garbage_less

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that limit the threads of a process."""


def default_workers() -> int:
    """Return the number of GPUs or, without any, of CPU cores that this process may use."""
    devices = gpus()
    if devices:
        return len(devices)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the names of the usable GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]


@contextmanager
def workers(number: int, devices: Sequence[str] = ()) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of new processes; if an error occurs, kill them.

    Args:
        number: number of processes.
        devices: names of GPUs to distribute among them; if empty, each gets one CPU thread.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    if not devices:
        os.environ.update(dict.fromkeys(THREADS, "1"))  # read when the processes start
    context = multiprocessing.get_context("spawn")  # CUDA does not work in forked processes
    queue = context.Queue()
    for n in range(number):
        queue.put(devices[n % len(devices)] if devices else "")
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
    """Set up a worker: assign its GPU, or limit it to one CPU thread."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the parent kills the workers
    end_with_parent()
    collect_garbage_less()
    device = queue.get()
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
        return
    import torch

    torch.set_num_threads(1)
