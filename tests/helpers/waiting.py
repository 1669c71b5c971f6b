"""Waiting in tests for a condition, not for a fixed time.

A wait ends as soon as its condition holds, so patience costs nothing where all is well; on a
machine that is several times slower than usual nothing fails for want of it.
"""

import time

PATIENCE = 300
"""Seconds after which a condition that should hold counts as failed."""


def until(condition, process=None, pause=0.02):
    """Waits until ``condition()`` is true and returns its value.

    ``process`` (a ``Popen`` or a ``multiprocessing.Process``), if given, must run meanwhile.
    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if process is not None and (code := exit_code(process)) is not None:
            raise AssertionError(f"the process ended with {code}")
        assert time.monotonic() < end, "it never happened"
        time.sleep(pause)
    return found


def exit_code(process):
    """The exit code of a process, or None while it runs."""
    return process.poll() if hasattr(process, "poll") else process.exitcode
