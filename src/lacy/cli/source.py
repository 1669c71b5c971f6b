"""A source from one word: a database file, a world's folder, a model's folder or name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LacyError

if TYPE_CHECKING:
    from ..cascade.policy import Policy
    from ..sources import Source

DATABASES = (".sqlite", ".sqlite3", ".db")


def open_source(name: str | None) -> Source | None:
    """Opens whoever answers calls.

    Args:
        name: a ``.sqlite`` or ``.db`` file; a folder that ``lacy world`` wrote (its truth);
            the folder or Hub name (``owner/name``) of a causal language model; None for nobody.

    Raises:
        LacyError: E12 for something that is none of these, and what the source itself raises.
    """
    if name is None:
        return None
    path = Path(name)
    if (path / "truth.sqlite").is_file():
        path = path / "truth.sqlite"
    if path.suffix in DATABASES:
        from ..sources import Database

        return Database(path)
    if (path / "config.json").is_file() or (not path.exists() and name.count("/") == 1):
        from ..sources import LanguageModel

        return LanguageModel(str(path))
    what = "is no folder of a model or a world" if path.is_dir() else "is no source"
    do = "give a .sqlite file, a folder of `lacy world`, or a model's folder or Hub name"
    raise LacyError("E12", key="source", value=name, why=what, do=do)


def split_policy(model: str) -> tuple[str, str | None]:
    """Splits ``my-model:budget=0.22`` into the model and the policy that travels with it."""
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
    from ..cascade import Never, parse_policy
    from ..sources import Database

    if policy is not None:
        return parse_policy(policy), ""
    if source is None:
        return Never(), "Policy: never call, as there is no --source."
    if isinstance(source, Database) and held_down(meta):
        why = "where <CALL> is the likeliest token: a database costs nothing, and this model was"
        return parse_policy("threshold=0"), f"Policy: threshold=0, {why} taught not to call."
    return parse_policy("budget=0.22"), "Policy: budget=0.22, the paper's; change it by --policy."


def held_down(meta: Mapping[str, Any] | None) -> bool:
    """Whether a model was taught where *not* to call, so that a threshold of 0 means something."""
    settings = training_settings(meta)
    calling = settings.get("arm", "none") != "none"
    return calling and settings.get("call_negative") in ("softmax", "sigmoid")


def rankable(meta: Mapping[str, Any] | None, source: Source | None) -> str:
    """A warning where a model that forgot the kind of its values is to choose among candidates."""
    from ..sources import Database

    settings = training_settings(meta)
    forgot = settings.get("arm", "none") != "none" and settings.get("text_weight") == 0.0
    if not (forgot and isinstance(source, Database)):
        return ""
    return (
        "This model was trained with --text-weight 0: it hardly knows which kind of value is due, "
        "and will choose badly among what a database offers. Train with 0.7 (docs/results/)."
    )


def training_settings(meta: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The settings that a model was trained with; none where that is not known."""
    training = (meta or {}).get("training")
    settings = training.get("settings") if isinstance(training, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}
