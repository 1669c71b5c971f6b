"""Processes that start at once: forks of a server that has imported torch and transformers.

A fresh interpreter imports both for seconds. A test that needs a process of its own, to kill it or
to send it signals, but not a fresh interpreter, takes one of these. All share one server per
process of pytest.
"""

import contextlib
import multiprocessing
import os
import sys

IMPORTED = [
    "lacy.model", "transformers.models.llama.modeling_llama", "accelerate", "datasets",
    "lacy.train.loop",
]  # fmt: skip
"""What the server imports before it forks."""


@contextlib.contextmanager
def running(function, *args, env=None, stderr=os.devnull):
    """``function(*args)`` in a process and a session of its own; killed when the block ends.

    Args:
        function: a function of an importable module, not of a test file.
        args: its arguments.
        env: further environment variables; a fork has those of the server's start.
        stderr: file for its standard error. Its standard output goes nowhere.

    Yields:
        The ``multiprocessing.Process``; if the function returns an integer, that will be its exit
        code.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_run, args=(function, args, env or {}, str(stderr)))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def ended(process, seconds):
    """Wait for a process and return its exit code."""
    process.join(seconds)
    assert process.exitcode is not None, "it has not ended"
    return process.exitcode


def _run(function, args, env, stderr):
    os.setsid()  # signals to the group of pytest are not for it
    os.environ.update(env)
    for number, path in ((1, os.devnull), (2, stderr)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), number)
    result = function(*args)
    sys.exit(result if isinstance(result, int) else 0)


def limited_file_size(most, function, *args):
    """Call a function where no file may become larger than ``most`` bytes; children inherit it."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return function(*args)
