"""Open a judge by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lacy._text import did_you_mean
from lacy.errors import LacyError
from lacy.judges.overlap import OverlapJudge
from lacy.judges.protocol import Judge
from lacy.judges.shipped import load_verifier

JUDGES: dict[str, Callable[[], Judge]] = {
    "verifier": load_verifier,
    "verifier-alone": lambda: load_verifier(alone=True),
    "lexical": lambda: load_verifier(lexical=True),
    "lexical-alone": lambda: load_verifier(lexical=True, alone=True),
    "overlap": OverlapJudge,
}
"""Judges that need nothing but their name."""

CONCURRENCY = 16
"""Requests at a time to a server."""

DEFAULT_JUDGE = "verifier"


def open_judge(name: str = DEFAULT_JUDGE, *, concurrency: int = CONCURRENCY) -> Judge:
    """Open a judge.

    Args:
        name: ``verifier`` is the network with word features, ``lexical`` the word features alone;
            with ``-alone`` they judge each fact without the other facts of its response.
            ``overlap`` compares words. ``http://HOST/v1#MODEL`` asks a model behind a server; a
            model's folder, ``.gguf`` file, short name or Hub name (OWNER/NAME) asks it in this
            process.
        concurrency: requests at a time to a server.

    Raises:
        LacyError: E216, no judge has this name; and the errors of loading a model.
    """
    if name in JUDGES:
        return JUDGES[name]()
    if name.startswith(("http://", "https://")):
        from lacy.judges.endpoint import EndpointJudge

        url, _, model = name.partition("#")
        if not model:
            raise LacyError("E216", name=name, hint="", names="http://HOST/v1#MODEL")
        return EndpointJudge(url, model, concurrency=concurrency)
    from lacy.model import SHORT_NAMES

    if "/" in name or name.lower() in SHORT_NAMES or Path(name).exists():
        from lacy.judges.causal import CausalJudge

        return CausalJudge.open(name)
    names = f"{', '.join(JUDGES)}, http://HOST/v1#MODEL, or a model's folder or name"
    raise LacyError("E216", name=name, hint=did_you_mean(name, JUDGES), names=names)
