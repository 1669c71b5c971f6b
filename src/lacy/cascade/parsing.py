"""Policies as texts: ``budget=0.22,by=entropy``. A policy is a value that travels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from lacy.cascade.policy import Always, Budget, By, Never, Policy, Random, Threshold
from lacy.errors import LacyError

_FORMS = (
    "never, always, budget=0.22, budget=0.22,by=entropy, threshold=0.5, entropy=2, top2=0.7, "
    "random=0.22,seed=1"
)


def parse_policy(text: str) -> Policy:
    """The policy that a text names, e.g. ``budget=0.22`` or ``budget=0.22,by=entropy``.

    Raises:
        LacyError: E61 if it names none (an oracle is given in Python, not as a text), E12 if a
            value is out of range.
    """
    head, *rest = [part.strip() for part in text.strip().split(",")]
    kind, _, value = (part.strip() for part in head.partition("="))
    options = {}
    for part in rest:
        name, equals, setting = (piece.strip() for piece in part.partition("="))
        if not equals or name in options:
            raise _no_policy(text, f"{part!r} is not a setting like seed=1, given once")
        options[name] = setting
    made = _make(text, kind, value, options)
    if options:
        raise _no_policy(text, f"{kind} has no setting {next(iter(options))!r}")
    return made


def _make(text: str, kind: str, value: str, options: dict[str, str]) -> Policy:
    """The policy of a kind; takes the settings it knows out of ``options``."""
    if kind in ("never", "always"):
        if value:
            raise _no_policy(text, f"{kind} takes no value")
        return Never() if kind == "never" else Always()
    if kind == "oracle":
        raise _no_policy(text, "an oracle is a function; give Oracle(function) in Python")
    if kind not in ("budget", "random", "threshold", "entropy", "top2"):
        raise _no_policy(text, f"{kind!r} is not known")
    number = _parsed(text, kind, value, float)
    if kind in ("entropy", "top2"):
        return Threshold(number, by=kind)  # type: ignore[arg-type]
    if kind == "random":
        return Random(number, **_taken(text, options, seed=int))
    by = options.pop("by", "margin")
    if by not in get_args(By) or (kind == "threshold" and by == "random"):
        raise _no_policy(text, f"by={by} is not a signal ({', '.join(get_args(By))})")
    if kind == "threshold":
        return Threshold(number, by=by)  # type: ignore[arg-type]
    settings = _taken(text, options, window=int, horizon=int, seed=int)
    if min(settings.get("window", 1), settings.get("horizon", 1)) < 1:
        raise _no_policy(text, "window and horizon are at least 1")
    return Budget(number, by=by, **settings)  # type: ignore[arg-type]


def _taken(text: str, options: dict[str, str], **known: Callable[[str], Any]) -> dict[str, Any]:
    names = [name for name in known if name in options]
    return {name: _parsed(text, name, options.pop(name), known[name]) for name in names}


def _parsed(text: str, name: str, value: str, kind: Callable[[str], Any]) -> Any:
    try:
        number = kind(value)
    except ValueError:
        number = None
    if number is None or not np.isfinite(number):
        raise _no_policy(text, f"{name} needs a number, not {value!r}")
    return number


def _no_policy(text: str, why: str) -> LacyError:
    return LacyError("E61", policy=text, why=why, forms=_FORMS)
