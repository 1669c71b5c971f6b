from .app import make_app
from .keys import Keys
from .limits import Limits, affordable_connections
from .route_answers import text_of
from .route_app import make_routes_app
from .route_config import RouteEntry, RoutesConfig, read_routes, routes_of_words
from .route_open import RouteOpener
from .route_table import RouteTable, router_of
from .scheduler import Scheduler
from .server import Server, open_socket

__all__ = [
    "Keys",
    "Limits",
    "RouteEntry",
    "RouteOpener",
    "RouteTable",
    "RoutesConfig",
    "Scheduler",
    "Server",
    "affordable_connections",
    "make_app",
    "make_routes_app",
    "open_socket",
    "read_routes",
    "router_of",
    "routes_of_words",
    "text_of",
]
