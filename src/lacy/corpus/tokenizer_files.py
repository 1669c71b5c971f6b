"""Load tokenizer files in the same way for every model.

``tokenizer.json`` is loaded unchanged with the generic class of ``transformers``. The classes of
model families rebuild a tokenizer from its vocabulary by their own rules, and the class that
``AutoTokenizer`` picks depends on the model's config beside the files, so the same files could give
different tokenizers in different folders. ``AutoTokenizer`` is used only for folders without
``tokenizer.json`` (SentencePiece files, ``vocab.json``). Code beside a tokenizer is never run.
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
"""Files of a Hub repository that a tokenizer may need."""

MAX_MISSING_IDS = 100_000
"""Largest number of missing ids that are filled with unused tokens."""


def load_tokenizer_files(path_or_name: str | Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a folder or Hub repository, with the ids of its files.

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
    """True if a tokenizer without tokenizer.json names a class in a file beside it."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("auto_map"))


def _with_ids_of_file(tokenizer: Any, file: Path) -> PreTrainedTokenizerFast:
    """Give every token the id in its file, and every id a token.

    ``tokenizers`` moves added tokens to the end of the vocabulary if their ids leave a gap, and
    counts tokens instead of ids. Gaps are filled with unused tokens (``<|unused_7|>``), which no
    text produces.
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
        vocabulary |= added  # tokenizers keeps the ids of those in the vocabulary only
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

    # The class has no other way to replace its backend; settings and templates stay.
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return opened


def _unused(ids: list[int], known: set[str]) -> Iterator[dict[str, Any]]:
    """Yield special tokens for ids that have none."""
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
