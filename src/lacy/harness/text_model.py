"""Open a model for lm-eval without its ``<CALL>``: weights and tokenizer as before it was added.

``<CALL>`` is never text. Its row is removed rather than masked, so that every probability is the
same, to the bit, as that of ``lm-eval``'s own class ``hf`` on a model that never had the row.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lacy.corpus import load_tokenizer_files, prepare_tokenizer, save_tokenizer
from lacy.model import load_model, read_model, resolve
from lacy.types import CALL_TOKEN

_TOKENIZER_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_ADAPTER = "adapter_config.json"


def open_text_model(name: str | Path, dtype: Any) -> tuple[Any, Path]:
    """Load a model and remove its ``<CALL>`` row.

    Args:
        name: any name of a model on this machine or on the Hub, as in ``lacy.model.resolve``.
        dtype: of the weights, as in ``transformers``; ``"auto"`` is that of the file.

    Returns:
        The model, and the folder of its files.

    Raises:
        LacyError: the errors of ``lacy.model.load_model``.
    """
    place = resolve(name)
    if not isinstance(place, Path):
        place = Path(str(load_model(name).path))  # downloaded
    if (place / _ADAPTER).is_file():
        model: Any = load_model(place).model  # merged into its base, with a row for <CALL>
        remove_call_row(model)
    else:
        model = read_model(place, dtype=dtype)
        if has_call(place):
            remove_call_row(model)
    return model.eval(), place


def remove_call_row(model: Any) -> None:
    """Remove the last row of embedding and head."""
    size = int(model.get_input_embeddings().weight.shape[0])
    model.resize_token_embeddings(size - 1)


def has_call(place: Path) -> bool:
    """True if the tokenizer in a folder has ``<CALL>``."""
    file = place / "tokenizer.json"
    if not file.is_file():
        return False
    state = json.loads(file.read_text(encoding="utf-8"))
    return any(token["content"] == CALL_TOKEN for token in state.get("added_tokens", ()))


@contextmanager
def text_tokenizer(place: Path, begin: str | None = None) -> Iterator[str]:
    """Yield a folder from which ``transformers`` opens a model's tokenizer without ``<CALL>``.

    A literal "<CALL>" in a text then becomes ordinary tokens. The folder is the model's own if its
    tokenizer has no ``<CALL>``, otherwise a temporary copy of the tokenizer's files.

    Args:
        place: the model's folder.
        begin: the token that begins every text; ``"auto"`` for the one that lacy chooses, None for
            that of the files.

    Raises:
        LacyError: E98, the tokenizer has no token ``begin``.
    """
    changed = begin is not None or has_call(place)
    if not changed:
        yield str(place)
        return
    with tempfile.TemporaryDirectory(prefix="lacy-tokenizer-") as folder:
        if begin is not None:
            found = load_tokenizer_files(place)
            wanted = None if begin == "auto" else begin
            save_tokenizer(prepare_tokenizer(found, str(place), begin=wanted), folder)
        for pattern in _TOKENIZER_FILES:
            for file in place.glob(pattern):
                known = Path(folder, file.name)
                if not file.name.endswith(".index.json") and not known.exists():
                    shutil.copy(file, known)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            file = Path(folder, name)
            if file.is_file():
                state = json.loads(file.read_text(encoding="utf-8"))
                file.write_text(json.dumps(_without_call(state)), encoding="utf-8")
        yield folder


def _without_call(state: Any) -> Any:
    """Return a tokenizer's settings without every mention of ``<CALL>``."""
    if isinstance(state, dict):
        return {
            key: _without_call(value)
            for key, value in state.items()
            if key != CALL_TOKEN and not _is_call(value)
        }
    if isinstance(state, list):
        return [_without_call(value) for value in state if not _is_call(value)]
    return state


def _is_call(value: Any) -> bool:
    """True for the token's name, and for an entry that describes it or gives its score."""
    content = value.get("content") if isinstance(value, dict) else value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], float):
        content = value[0]
    return isinstance(content, str) and content == CALL_TOKEN
