"""Hooks and fixtures for all tests: signals, order, a real model, a summary of skipped tests."""

import gc
import signal
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

from helpers.smollm2 import smollm2, smollm2_loaded  # noqa: F401 (fixtures)

# No timing decides a test: a busy machine draws examples slowly, too.
settings.register_profile("lacy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lacy")


gc.disable()  # until all tests are imported: most of what is made stays


def pytest_collection_finish(session):
    """Collect garbage from now on, but never search the thousands of tests and their modules."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config):
    """Restore SIGINT, which shells ignore in background processes: some tests send Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put files with slow tests first, so that none is left to one process at the end.

    Holds for several processes, too, as long as xdist keeps the order (--no-loadscope-reorder).
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter):
    """Print one line per reason for skipping, with the number of tests."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
