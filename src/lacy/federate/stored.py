"""Keep the server's state in one file, so that a round is either complete or has not happened.

The file is a safetensors file with the state; its metadata has the rounds so far and the seed of
the server's random choices, so only its owner may read it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lacy._parse import parse_json
from lacy.deltas import Shapes, require_fits
from lacy.disk import write_atomic
from lacy.errors import LacyError
from lacy.federate.protocol import State
from lacy.federate.rounds import Round
from lacy.federate.settings import FederateSettings

FORMAT = 1
"""Version of the file."""

_ENTRY = "server"
MAY_DIFFER = ("rounds", "quorum", "deadline", "budget")
"""Settings that may change when a federation continues."""


@dataclass(frozen=True)
class Stored:
    """What a server must remember between rounds."""

    state: State
    rounds: list[Round]
    secret: int
    """Seed of the choice of clients and of the noise."""


def write_stored(file: Path, stored: Stored, model: str, settings: FederateSettings) -> None:
    """Write the file atomically.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    about = {
        "format": FORMAT, "model": model, "settings": _fixed(settings), "secret": stored.secret,
        "rounds": [each.to_json() for each in stored.rounds],
    }  # fmt: skip
    tensors = {name: tensor.contiguous() for name, tensor in stored.state.items()}
    write_atomic(file, save(tensors, {_ENTRY: json.dumps(about)}), private=True)


def read_stored(file: Path, model: str, settings: FederateSettings, shapes: Shapes) -> Stored:
    """Read the file.

    Raises:
        LacyError: E333, it is damaged; E334, it belongs to another model or to other settings.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = parse_json((opened.metadata() or {})[_ENTRY])
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        rounds = [Round(**each) for each in about["rounds"]]
        stored = Stored(state, rounds, int(about["secret"]))
        found, kept, number = about["model"], about["settings"], about["format"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise LacyError("E333", path=file, why=str(error).splitlines()[0][:120]) from error
    if number != FORMAT:
        raise LacyError("E333", path=file, why=f"it is of format {number}, not {FORMAT}")
    if found != model:
        raise LacyError("E334", path=file, why="the model is another one")
    changed = [
        f"{name}: {kept.get(name)!r} -> {value!r}"
        for name, value in _fixed(settings).items()
        if kept.get(name) != value
    ]
    if changed:
        raise LacyError("E334", path=file, why="; ".join(changed[:5]))
    try:
        require_fits(state, shapes)
    except LacyError as error:
        raise LacyError("E334", path=file, why=error.what) from error
    return stored


def _fixed(settings: FederateSettings) -> dict[str, Any]:
    """Return the settings that must not change between rounds."""
    return {name: value for name, value in asdict(settings).items() if name not in MAY_DIFFER}
