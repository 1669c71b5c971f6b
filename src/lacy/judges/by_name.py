"""Open a judge by its name."""

from __future__ import annotations

from collections.abc import Callable

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.judges.overlap import OverlapJudge
from lacy.judges.protocol import Judge

JUDGES: dict[str, Callable[[], Judge]] = {"overlap": OverlapJudge}
"""Judges that need nothing but their name."""


def open_judge(name: str = "overlap") -> Judge:
    """Open a judge.

    Args:
        name: ``overlap`` compares words.

    Raises:
        LacyError: no judge has this name.
    """
    if name in JUDGES:
        return JUDGES[name]()
    raise LacyError("E216", name=name, hint=did_you_mean(name, JUDGES))
