"""Sources: whoever answers a call. A database, texts, a language model, anything with ``ask``.

A source turns requests (the text so far) into replies: no candidate, one, or several that the small
model ranks by its own likelihood. Nothing here knows about calls, budgets or policies.

Beside what the door offers: ``documents.Documents`` (texts), ``endpoint.Endpoint`` (a model behind
a server), ``truth.Truth`` (a made-up world's), and sources around sources: ``cached.Cached``,
``resilience.Breaker``, ``Chain`` and ``Metered``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.sources.database import Database
    from lacy.sources.language_model import LanguageModel
    from lacy.sources.protocol import Source, guarded
    from lacy.sources.scripted import ScriptedSource
    from lacy.sources.text import TokenText, continuation

__all__ = [
    "Database",
    "LanguageModel",
    "ScriptedSource",
    "Source",
    "TokenText",
    "continuation",
    "guarded",
]

_HOME = {
    "Database": "lacy.sources.database",
    "LanguageModel": "lacy.sources.language_model",
    "ScriptedSource": "lacy.sources.scripted",
    "Source": "lacy.sources.protocol",
    "TokenText": "lacy.sources.text",
    "continuation": "lacy.sources.text",
    "guarded": "lacy.sources.protocol",
}


def __getattr__(name: str) -> Any:
    """Import a source, and what it needs, only when it is first used."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
