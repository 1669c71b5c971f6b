"""Load tokenizer files in the same way for every model.

``tokenizer.json`` is loaded unchanged with the generic class of ``transformers``. ``AutoTokenizer``
would pick a model family's class by the ``config.json`` in the folder, and such a class rebuilds
the tokenizer by its own rules, so the same files could give different tokenizers in different
folders. ``AutoTokenizer`` is used only for folders without ``tokenizer.json`` (SentencePiece files,
``vocab.json``). Code in a tokenizer's folder is never run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HUB_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""File patterns of a Hub repository that a tokenizer may need."""

MAX_MISSING_IDS = 100_000
"""Maximum number of missing ids that are filled with unused tokens."""


def load_tokenizer_files(path_or_name: str | Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a folder or Hub repository with exactly the ids in its files.

    Raises:
        LacyError: E132, it requires its own code; E24, too many ids are missing.
        OSError, ValueError, ImportError: raised by ``transformers`` for files that it cannot use.
    """
    folder = local_folder(path_or_name)
    options = {"clean_up_tokenization_spaces": False, "trust_remote_code": False}
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        found = PreTrainedTokenizerFast.from_pretrained(str(folder), **options)
        return _without_dropout(_with_ids_of_file(found, folder / "tokenizer.json"))
    if _has_own_code(folder):
        raise LacyError("E132", path=path_or_name, what="tokenizer", kind="unknown")
    from transformers import AutoTokenizer

    opened: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(str(folder), **options)
    return _without_dropout(opened)


def _without_dropout(tokenizer: Any) -> PreTrainedTokenizerFast:
    """Disable BPE-dropout, which would make encoding random."""
    model: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if getattr(model, "dropout", None):
        model.dropout = None
    opened: PreTrainedTokenizerFast = tokenizer
    return opened


def local_folder(path_or_name: str | Path) -> Path:
    """Return the folder itself, or the local copy of a Hub repository's small files."""
    folder = Path(path_or_name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    kept = list(HUB_FILES)
    return Path(snapshot_download(str(path_or_name), allow_patterns=kept, ignore_patterns="*/*"))


def _has_own_code(folder: Path) -> bool:
    """True if a tokenizer without tokenizer.json requires a Python file in its folder."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("auto_map"))


def _with_ids_of_file(tokenizer: Any, file: Path) -> PreTrainedTokenizerFast:
    """Give every token the id in its file, and every id a token.

    If the ids of added tokens leave a gap, ``tokenizers`` moves these tokens to the end of the
    vocabulary, and its vocabulary size is the number of tokens instead of the last id plus 1. To
    prevent this, gaps are filled with unused tokens (``<|unused_7|>``) that no text produces.
    """
    opened: PreTrainedTokenizerFast = tokenizer
    state = json.loads(file.read_text(encoding="utf-8"))
    added = {token["content"]: int(token["id"]) for token in state.get("added_tokens", [])}
    moved = {token for token, n in added.items() if tokenizer.convert_tokens_to_ids(token) != n}
    if not moved and len(tokenizer) == max(tokenizer.get_vocab().values(), default=-1) + 1:
        return opened
    vocabulary = state.get("model", {}).get("vocab")
    taken = set(added.values())
    if isinstance(vocabulary, dict):
        taken |= set(vocabulary.values())
        vocabulary |= added  # tokenizers preserves the ids only of tokens in the vocabulary
    elif isinstance(vocabulary, list):
        taken |= set(range(len(vocabulary)))
    count = max(taken) + 1 - len(taken)
    if not isinstance(vocabulary, dict) or count > MAX_MISSING_IDS or _clash(vocabulary, added):
        why = f"{count} tokens are missing for ids below its last one ({max(taken)})"
        do = "give those ids unused tokens in tokenizer.json"
        raise LacyError("E24", path=file.parent, why=why, do=do)
    missing = sorted(set(range(max(taken) + 1)) - taken)
    for token in _unused(missing, set(vocabulary)):
        vocabulary[token["content"]] = token["id"]
        state["added_tokens"].append(token)
    state["added_tokens"].sort(key=lambda token: token["id"])
    from tokenizers import Tokenizer

    # There is no public way to replace the backend while keeping settings and templates.
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return opened


def _unused(ids: list[int], known: set[str]) -> Iterator[dict[str, Any]]:
    """Yield an unused special token for each id."""
    for number in ids:
        content = f"<|unused_{number}|>"
        while content in known:
            content = f"<{content}>"
        yield {
            "id": number, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True,
        }  # fmt: skip


def _clash(vocabulary: dict[str, int], added: dict[str, int]) -> bool:
    """True if two tokens of a file have the same id."""
    ids = {**vocabulary, **added}
    return len(set(ids.values())) < len(ids)
