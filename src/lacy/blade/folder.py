"""A small model with its soft prompt, saved as a folder.

``blade.json`` names the model and how it writes, ``soft_prompt.safetensors`` has the vectors. The
model itself stays where it is; its fingerprint is checked when the folder is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.blade.soft_prompt import VECTORS, SoftPrompt
from lacy.blade.writer import BATCH, MAX_TOKENS, KnowledgeWriter
from lacy.disk import write_atomic
from lacy.errors import LacyError
from lacy.model import Loaded, load_model, model_fingerprint

FILE, ANSWERS, TRIALS = "blade.json", "answers.jsonl", "trials.jsonl"
"""Files of a folder: the settings, the black box's replies, and the evaluations."""

FORMAT = 1


@dataclass
class Blade:
    """A small model that writes knowledge.

    Attributes:
        loaded: the small model.
        soft_prompt: vectors before every prompt; None for none.
        max_tokens: maximum number of tokens of the knowledge.
        made: how it was made.
    """

    loaded: Loaded
    soft_prompt: SoftPrompt | None = None
    max_tokens: int = MAX_TOKENS
    made: Mapping[str, Any] | None = None

    def writer(self, *, batch: int = BATCH) -> KnowledgeWriter:
        """Return the writer."""
        return KnowledgeWriter(
            self.loaded, self.soft_prompt, max_tokens=self.max_tokens, batch=batch
        )

    def save(self, folder: str | Path, made: Mapping[str, Any]) -> None:
        """Write the folder's files; others in it (trials, answers) stay.

        Args:
            folder: the folder; created if needed.
            made: how the soft prompt was made, as plain data.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.made = dict(made)
        if self.soft_prompt is not None:
            self.soft_prompt.save(folder)
        else:
            (folder / VECTORS).unlink(missing_ok=True)
        data = {
            "format": FORMAT, "model": str(self.loaded.path or self.loaded.name),
            "fingerprint": model_fingerprint(self.loaded.model), "max_tokens": self.max_tokens,
            "soft_prompt": self.soft_prompt is not None, "made": self.made,
        }  # fmt: skip
        write_atomic(folder / FILE, json.dumps(data, indent=1) + "\n")


def load_blade(path: str | Path, model: str | Path | None = None) -> Blade:
    """Open a folder of ``optimise``; or a small model without a soft prompt.

    Args:
        path: the folder, or any name of a model.
        model: where the small model is now, if it has moved.

    Raises:
        LacyError: E394, the folder is damaged; E395, the model is not the one of the soft prompt;
            and the errors of ``load_model``.
    """
    folder = Path(path)
    if not (folder / FILE).is_file():
        if folder.is_dir() and (folder / TRIALS).exists():
            raise LacyError("E394", path=folder, why="the search has not ended")
        return Blade(load_model(path))
    try:
        data = parse_json((folder / FILE).read_text(encoding="utf-8"))
        name, fingerprint = str(data["model"]), str(data["fingerprint"])
        has_prompt, max_tokens = bool(data["soft_prompt"]), int(data["max_tokens"])
        made = dict(data["made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LacyError("E394", path=folder, why=f"{FILE} cannot be read") from error
    loaded = load_model(model or name)
    soft_prompt = SoftPrompt.load(folder) if has_prompt else None
    own = model_fingerprint(loaded.model)
    if soft_prompt is not None:
        soft_prompt.require_fits(loaded, own)
    elif own != fingerprint:
        raise LacyError("E395", model=name, why="the model's weights have changed since")
    return Blade(loaded, soft_prompt, max_tokens, made)
