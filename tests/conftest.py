"""Hooks and fixtures for all tests: signals, a real model, and a summary of skipped tests."""

import signal
import threading
from collections import Counter

from hypothesis import HealthCheck, settings

from helpers.smollm2 import smollm2, smollm2_loaded  # noqa: F401 (fixtures)

# No timing decides a test: a busy machine draws examples slowly, too.
settings.register_profile("lacy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lacy")


def pytest_configure(config):
    """Restore SIGINT, which shells ignore in background processes: some tests send Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """Print one line per reason for skipping, with the number of tests."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
