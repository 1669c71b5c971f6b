"""What the answer to a request depends on, besides the request: for the keys of stored answers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from lacy import __version__
from lacy.corpus import tokenizer_fingerprint
from lacy.model import model_fingerprint
from lacy.run import environment
from lacy.sources import wrapped_sources


def identity_of(lm: Any) -> list[Any]:
    """Return model, tokenizer, settings, source and versions of a ``LacyLM`` as plain data."""
    model, engine = lm.model, lm.engine
    packages = environment()["packages"]
    found: list[Any] = [
        "lm-eval", __version__, packages["torch"], packages["transformers"],
        model_fingerprint(model), tokenizer_fingerprint(lm.tokenizer), str(model.dtype),
        lm.max_length, lm.prefix_token_id, lm.add_bos_token, str(lm.truncation),
        str(lm.softmax_dtype), str(lm.mixed_precision_dtype), lm.policy,
    ]  # fmt: skip
    if engine is None:
        return found
    row = model.get_output_embeddings().weight[-1].detach().float().cpu().contiguous()
    call = hashlib.sha256(row.numpy().tobytes()).hexdigest()[:16]
    settings = [engine.unit, engine.read, engine.read_until, engine.at, str(engine.choice)]
    return [*found, call, settings, lm.likelihood, *_sources(engine), torch.initial_seed()]


def _sources(engine: Any) -> list[Any]:
    """Return name, file and state of every source."""
    found: list[Any] = []
    for source in wrapped_sources(engine.source):
        path = getattr(source, "path", None)
        state: list[int] = []
        if isinstance(path, Path) and path.is_file():
            stat = path.stat()
            state = [stat.st_size, stat.st_mtime_ns]
        found.append([type(source).__name__, source.name, str(path or ""), state])
    return found
