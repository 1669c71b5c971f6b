"""The server: one model and its source behind the API that OpenAI clients speak.

``make_app`` gives the ASGI application, ``Server`` runs it and ends its streams cleanly. Needs
``pip install 'lacy[serve]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.serve.app import make_app
    from lacy.serve.keys import Keys
    from lacy.serve.limits import Limits
    from lacy.serve.scheduler import Scheduler
    from lacy.serve.server import Server

__all__ = ["Keys", "Limits", "Scheduler", "Server", "make_app"]

_HOME = {
    "Keys": "lacy.serve.keys",
    "Limits": "lacy.serve.limits",
    "Scheduler": "lacy.serve.scheduler",
    "Server": "lacy.serve.server",
    "make_app": "lacy.serve.app",
}


def __getattr__(name: str) -> Any:
    """Import torch and the web framework only when a name that needs them is first used."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
