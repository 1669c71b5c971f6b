"""A source from one word: a database file, a world's folder, a model's folder or name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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


def choose_policy(policy: str | None, source: Source | None) -> tuple[Policy, str]:
    """The policy, and a sentence on why where it was chosen automatically."""
    from ..cascade import Never, parse_policy

    if policy is not None:
        return parse_policy(policy), ""
    if source is None:
        return Never(), "Policy: never call, as there is no --source."
    return parse_policy("budget=0.22"), "Policy: budget=0.22, the paper's; change it by --policy."
