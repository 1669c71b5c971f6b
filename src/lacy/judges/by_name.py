"""Open a judge by its name."""

from __future__ import annotations

from collections.abc import Callable

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.judges.models import CONCURRENCY, open_model_judge
from lacy.judges.overlap import OverlapJudge
from lacy.judges.protocol import Judge
from lacy.judges.shipped import load_verifier

JUDGES: dict[str, Callable[[], Judge]] = {
    "lexical": lambda: load_verifier(lexical=True),
    "lexical-alone": lambda: load_verifier(lexical=True, alone=True),
    "overlap": OverlapJudge,
}
"""Judges that need nothing but their name."""


DEFAULT_JUDGE = "lexical"


def open_judge(name: str = DEFAULT_JUDGE, *, concurrency: int = CONCURRENCY) -> Judge:
    """Open a judge.

    Args:
        name: ``lexical`` is trained on word features; ``lexical-alone`` judges each fact without
            the other facts of its response. ``overlap`` compares words.
            ``http://HOST/v1#MODEL`` asks a model behind a server, and a model's folder or name asks
            a local model (``open_model_judge``).
        concurrency: requests at a time to a server.

    Raises:
        LacyError: E216, no judge has this name; and the errors of ``open_model_judge``.
    """
    if name in JUDGES:
        return JUDGES[name]()
    if judge := open_model_judge(name, concurrency=concurrency):
        return judge
    raise LacyError("E216", name=name, hint=did_you_mean(name, JUDGES), names=", ".join(JUDGES))
