"""Parse the text form of policies, such as ``budget=0.22,by=entropy``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from lacy._text import did_you_mean
from lacy.cascade.policy import (
    Always,
    Budget,
    FittedThreshold,
    Never,
    Policy,
    Random,
    SignalName,
    Threshold,
)
from lacy.errors import LacyError

KINDS = ("never", "always", "budget", "random", "threshold", "entropy", "top2", "gate+entropy")


def parse_policy(text: str) -> Policy:
    """Parse the text form of a policy, such as ``budget=0.22`` or ``budget=0.22,by=entropy``.

    Raises:
        LacyError: E61, it is no policy (oracles have no text form); E12, a value is out of range.
    """
    head, *rest = [part.strip() for part in text.strip().split(",")]
    kind, _, value = (part.strip() for part in head.partition("="))
    options: dict[str, str] = {}
    for part in rest:
        name, equals, setting = (side.strip() for side in part.partition("="))
        if not equals or name in options:
            raise _not_a_policy(text, f"{part!r} is not a setting like seed=1, given once")
        options[name] = setting
    policy = _build(text, kind, value, options)
    if options:
        raise _not_a_policy(text, f"{kind} has no setting {next(iter(options))!r}")
    return policy


def _build(text: str, kind: str, value: str, options: dict[str, str]) -> Policy:
    """Build a policy from its kind and value, and remove its settings from ``options``."""
    if kind in ("never", "always"):
        if value:
            raise _not_a_policy(text, f"{kind} takes no value")
        return Never() if kind == "never" else Always()
    if kind == "oracle":
        raise _not_a_policy(text, "an oracle is a function; give Oracle(function) in Python")
    if kind not in KINDS:
        raise _not_a_policy(text, f"{kind!r} is not known{did_you_mean(kind, KINDS)}")

    def number(name: str, value: str, convert: Callable[[str], Any]) -> Any:
        with contextlib.suppress(ValueError):
            if np.isfinite(converted := convert(value)):
                return converted
        raise _not_a_policy(text, f"{name} needs a number, not {value!r}")

    def integers(*names: str) -> dict[str, Any]:
        return {name: number(name, options.pop(name), int) for name in names if name in options}

    if kind == "gate+entropy" and not value:
        return FittedThreshold()
    limit = number(kind, value, float)
    if kind in ("entropy", "top2", "gate+entropy"):
        return Threshold(limit, by=kind)  # type: ignore[arg-type]
    if kind == "random":
        return Random(limit, **integers("seed"))
    by: Any = options.pop("by", "margin")
    if by not in get_args(SignalName) or (kind == "threshold" and by == "random"):
        raise _not_a_policy(text, f"by={by} is not a signal ({', '.join(get_args(SignalName))})")
    if kind == "threshold":
        return Threshold(limit, by=by)
    settings = integers("window", "horizon", "seed")
    if min(settings.get("window", 1), settings.get("horizon", 1)) < 1:
        raise _not_a_policy(text, "window and horizon are at least 1")
    return Budget(limit, by=by, **settings)


def _not_a_policy(text: str, why: str) -> LacyError:
    forms = "never, always, budget=0.22, budget=0.22,by=entropy, threshold=0.5, entropy=2, "
    forms += "top2=0.7, gate+entropy, random=0.22,seed=1"
    return LacyError("E61", policy=text, why=why, forms=forms)
