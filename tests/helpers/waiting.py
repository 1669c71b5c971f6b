"""Waiting in tests for a condition, not for a fixed time.

A wait ends as soon as its condition holds, so patience costs nothing where all is well; on a
machine that is several times slower than usual nothing fails for want of it.
"""

import time

PATIENCE = 300
"""Seconds after which a condition that should hold counts as failed."""


def until(condition, process=None, pause=0.02):
    """Waits until ``condition()`` is true and returns its value.

    ``process`` (a ``Popen``), if given, must be running meanwhile.
    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode}")
        assert time.monotonic() < end, "it never happened"
        time.sleep(pause)
    return found
