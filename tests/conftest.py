"""What holds for all tests."""

import signal
import threading


def pytest_configure(config):
    """Ctrl-C is tried on real processes; one that a shell starts in the background ignores it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
