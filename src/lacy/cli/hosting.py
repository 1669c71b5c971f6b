"""A model by its folder, or at a server of others, from one word of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.cascade import Engine


def at_a_server(name: str) -> bool:
    """Whether a model is named by an address (``http://host:port/v1#name``)."""
    return name.lower().startswith(("http://", "https://"))


def name_of(name: str) -> str:
    """What a model is called: its folder's name, or what stands behind the # of an address."""
    if not at_a_server(name):
        return Path(name).resolve().name
    return Path(name.partition("#")[2]).name.removesuffix(".gguf")


def open_model(name: str, tokenizer: Path | None = None) -> tuple[Any, type[Engine]]:
    """The model, and the engine that writes with it.

    Args:
        name: a folder, or ``http://host:port/v1#NAME``.
        tokenizer: of a model at a server its folder; by default the folder NAME.

    Raises:
        LacyError: as of ``lacy.model.load_model`` or ``lacy.cascade.hosted_model.connect``.
    """
    from lacy.cascade import Engine

    if not at_a_server(name):
        from lacy.model import load_model

        return load_model(name), Engine
    from lacy.cascade import connect

    url, _, model = name.partition("#")
    return connect(url, model, tokenizer), Engine
