"""The cascade: who speaks next, the small model or a source, and what came of it.

``Engine`` decodes; a policy says when to call; every piece of an answer is a span with provenance.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.cascade.engine import Engine
    from lacy.cascade.parsing import parse_policy
    from lacy.cascade.policy import Budget, Never, Oracle, Threshold
    from lacy.cascade.signals import teacher_forced_signals

__all__ = [
    "Budget",
    "Engine",
    "Never",
    "Oracle",
    "Threshold",
    "parse_policy",
    "teacher_forced_signals",
]

_HOME = {
    "Budget": "lacy.cascade.policy",
    "Engine": "lacy.cascade.engine",
    "Never": "lacy.cascade.policy",
    "Oracle": "lacy.cascade.policy",
    "Threshold": "lacy.cascade.policy",
    "parse_policy": "lacy.cascade.parsing",
    "teacher_forced_signals": "lacy.cascade.signals",
}


def __getattr__(name: str) -> Any:
    """Import torch only when a name that needs it is first used."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
