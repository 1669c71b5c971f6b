"""Open language models as judges, by name."""

from __future__ import annotations

from pathlib import Path

from lacy.errors import LacyError
from lacy.judges.protocol import Judge

CONCURRENCY = 16
"""Requests at a time to a server."""


def open_model_judge(name: str, *, concurrency: int = CONCURRENCY) -> Judge | None:
    """Open a language model as a judge; None if the name cannot be one of a model.

    Args:
        name: ``http://HOST/v1#MODEL`` for a server, or a model's folder, GGUF file, short name
            (``smollm2``) or Hub name (``owner/name``).
        concurrency: requests at a time to a server.

    Raises:
        LacyError: E229, an address has no model; and the errors of opening the model.
    """
    if name.startswith(("http://", "https://")):
        from lacy.judges.endpoint import EndpointJudge

        url, _, model = name.partition("#")
        if not model:
            raise LacyError("E229", name=name)
        return EndpointJudge(url, model, concurrency=concurrency)
    from lacy.model import SHORT_NAMES

    if name in SHORT_NAMES or "/" in name or Path(name).exists():
        from lacy.judges.causal import CausalJudge

        return CausalJudge.open(name)
    return None
