"""Which policy holds where none was asked for, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.cli.terminal import note

if TYPE_CHECKING:
    from lacy.cascade import Policy
    from lacy.sources import Source


def split_policy(model: str) -> tuple[str, str | None]:
    """Splits ``my-model:budget=0.22`` into the model and the policy that travels with it."""
    address, named, rest = model.rpartition("#")
    if "://" in model:  # a server's address has colons of its own
        name, policy = split_policy(rest) if named else (model, None)
        return address + named + name if named else name, policy
    if Path(model).exists() or ":" not in model:
        return model, None
    name, _, policy = model.rpartition(":")
    return name, policy


def choose_policy(
    policy: str | None, source: Source | None, meta: Mapping[str, Any] | None = None
) -> tuple[Policy, str]:
    """The policy, and a sentence on why where it was chosen automatically.

    Args:
        policy: what the user asked for.
        source: who answers.
        meta: what ``lacy.json`` says about the model.
    """
    from lacy.cascade import Never, parse_policy

    if policy is not None:
        return parse_policy(policy), ""
    if source is None:
        return Never(), "Policy: never call, as there is no --source."
    if looks_up(source) and held_down(meta):
        why = f"where <CALL> is the likeliest token: {_what(source)}, and this model was"
        return parse_policy("threshold=0"), f"Policy: threshold=0, {why} taught not to call."
    return parse_policy("budget=0.22"), "Policy: budget=0.22, the paper's; change it by --policy."


def looks_up(source: Source | None) -> bool:
    """Whether a source costs nothing and offers candidates that the model ranks.

    Of several it is the first that counts: most calls are answered there.
    """
    from lacy.sources.db import Database
    from lacy.sources.texts import Documents

    return isinstance(_first(source), Database | Documents)


def _what(source: Source | None) -> str:
    from lacy.sources.db import Database

    looked_up = isinstance(_first(source), Database)
    return "a database costs nothing" if looked_up else "texts cost nothing"


def _first(source: Source | None) -> Source | None:
    """Who is asked first, behind whatever stands around."""
    from lacy.sources import wrapped_sources

    return next((s for s in wrapped_sources(source) if not getattr(s, "inner", ())), None)


def told_policy(policy: str | None, source: Source | None, meta: Mapping[str, Any]) -> Policy:
    """``choose_policy``, with its reason and what speaks against the model said on stderr."""
    chosen, why = choose_policy(policy, source, meta)
    for line in (why, rankable(meta, source)):
        if line:
            note(line)
    return chosen


def held_down(meta: Mapping[str, Any] | None) -> bool:
    """Whether a model was taught where *not* to call, so that a threshold of 0 means something."""
    settings = training_settings(meta)
    calling = settings.get("method", "none") != "none"
    return calling and settings.get("call_negative") in ("softmax", "sigmoid")


def rankable(meta: Mapping[str, Any] | None, source: Source | None) -> str:
    """A warning where a model that forgot the kind of its values is to choose among candidates."""
    settings = training_settings(meta)
    forgot = settings.get("method", "none") != "none" and settings.get("text_weight") == 0.0
    if not (forgot and looks_up(source)):
        return ""
    return (
        "This model was trained with --text-weight 0: it hardly knows which kind of value is due, "
        "and will choose badly among what a source offers. Train with 0.5, the default."
    )


def training_settings(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The settings that a model was trained with; none where that is not known."""
    training = (meta or {}).get("training")
    settings = training.get("settings") if isinstance(training, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}
