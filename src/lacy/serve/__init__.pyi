from .app import make_app
from .keys import Keys
from .limits import Limits, affordable_connections
from .scheduler import Scheduler
from .server import Server, open_socket

__all__ = [
    "Keys",
    "Limits",
    "Scheduler",
    "Server",
    "affordable_connections",
    "make_app",
    "open_socket",
]
