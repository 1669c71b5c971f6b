"""Meeting a model at a server: whose tokens are known here, and whose weights are not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lacy._parse import parse_json
from lacy.cascade.hosted_server import MAX_ANSWER_BYTES, Server
from lacy.cascade.loops import outside_loops
from lacy.cascade.signals import call_id_of
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.model import end_ids
from lacy.remote import OpenAIClient, Retries


@dataclass(slots=True)
class Hosted:
    """A model at a server, in the shape of ``lacy.model.Loaded``: everything but its weights."""

    server: Server
    model: Any
    tokenizer: Any
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None


def connect(
    url: str,
    model: str = "",
    tokenizer: str | Path | None = None,
    *,
    top: int = 20,
    key_variable: str | None = "LACY_HOSTED_KEY",
    timeout: float = 120.0,
    concurrency: int = 32,
) -> Hosted:
    """Meet a model at a server, and see that both sides mean the same tokens.

    Args:
        url: base of the API, such as ``http://127.0.0.1:8000/v1``.
        model: its name there; may be left out where only one is served.
        tokenizer: the model's folder (its weights are not read); by default ``model``.
        top: how many of the likeliest tokens are asked for; vLLM allows 20 by default.
        key_variable: environment variable with the server's key.
        timeout: seconds for one request with all its attempts.
        concurrency: requests at the same time.

    Raises:
        LacyError: E11 without httpx, E13 or E24 for a folder without tokenizer, E72 for an address
            that cannot be used, E91 for a server that cannot host this model, E93 for none.
    """
    from lacy.corpus import load_tokenizer

    client = OpenAIClient(
        url, model, key_variable=key_variable, timeout=timeout, concurrency=concurrency,
        retries=Retries(2), max_bytes=MAX_ANSWER_BYTES,
    )  # fmt: skip
    folder = Path(tokenizer or model)
    if not (folder / "tokenizer.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    if not (folder / "tokenizer.json").is_file():
        do = "name the folder of the model that is served there: --tokenizer runs/mine"
        raise LacyError("E13", path=folder / "tokenizer.json", do=do)
    tokens = load_tokenizer(folder)
    config = _json(folder / "config.json")
    shape = SimpleNamespace(vocab_size=len(tokens), lacy_gate=config.get("lacy_gate"))
    shape.max_position_embeddings = config.get("max_position_embeddings")
    facade = SimpleNamespace(config=shape)
    facade.eval = lambda: facade
    shape.eos_token_id = config.get("eos_token_id")
    generation = _json(folder / "generation_config.json")
    facade.generation_config = SimpleNamespace(eos_token_id=generation.get("eos_token_id"))
    begin, end = begin_end(tokens)
    others = end_ids(tokens, facade) - {end}
    text = TokenText(tokens)
    hosted = Hosted(
        Server(client, text, None, end, begin, len(tokens), top, others),
        facade,
        tokens,
        _json(folder / "lacy.json"),
        folder,
    )
    hosted.server.call_id = call_id_of(hosted)

    def greet(loop: asyncio.AbstractEventLoop) -> None:
        with hosted.server.connected(loop):
            longest = hosted.server.greet()
        known = [n for n in (longest, shape.max_position_embeddings) if n]
        shape.max_position_embeddings = min(known) if known else None

    outside_loops(greet)
    return hosted


def _json(file: Path) -> dict[str, Any]:
    try:
        found = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
