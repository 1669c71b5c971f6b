"""Train, load and use tokenizers; end-of-text has the first id and ``<CALL>`` the last.

Tokenizers trained here work on bytes, so decoding restores every string exactly. Special tokens in
a text are always encoded as plain text: a literal "<CALL>" in an article never becomes the
``<CALL>`` id.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lacy._require import require_at_least, require_one_of
from lacy._text import SURROGATE
from lacy.corpus.special_tokens import begin_end, choose_begin_end, has_begin_end
from lacy.corpus.tokenizer_files import load_tokenizer_files
from lacy.errors import LacyError
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_TOKEN = "<|endoftext|>"
"""Begin, end and padding token of the tokenizers trained here; id 0."""

MIN_VOCAB = 258
"""256 bytes, end-of-text and ``<CALL>``."""

_PROBE = (
    "The café in Zürich opened on 12 March 1879, cost $1,234.50 — naïve?\n\n"
    "\tIndented  text, don't WE'LL; 東京 и Москва 😀 e\u0301 ﬁ\r\n <CALL> <|endoftext|> x_y/z"
)
"""Probe text for fingerprints; it covers case, accents, digits, spaces, scripts and specials."""


class Encoding(NamedTuple):
    """Ids of a text without begin and end token, and the characters ``[start, end)`` of each id."""

    ids: list[int]
    offsets: list[tuple[int, int]]


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    kind: Literal["bpe", "unigram"] = "bpe",
    split_digits: bool = True,
) -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer; the same texts give the same tokenizer, bit for bit.

    Args:
        texts: read once as a stream. Texts with lone surrogates are skipped.
        vocab_size: number of entries including end-of-text (id 0) and ``<CALL>`` (the last id). A
            small corpus may give fewer.
        kind: ``bpe`` (GPT-2's) or ``unigram`` (SentencePiece's, as in the paper §5.1).
        split_digits: make every digit its own token, as in Llama 2.

    Raises:
        LacyError: E12, ``vocab_size`` is below 258 or ``kind`` is unknown; E28, no text to train
            on.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    require_one_of("kind", kind, ("bpe", "unigram"))
    require_at_least("vocab_size", vocab_size, MIN_VOCAB)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    options: dict[str, Any] = {
        "vocab_size": vocab_size - 1,
        "special_tokens": [END_TOKEN],
        "initial_alphabet": alphabet,
        "show_progress": False,
    }
    tokenizer: Any
    trainer: Any
    if kind == "bpe":
        tokenizer, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(**options)
    else:
        tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(**options)
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, by_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    _train(tokenizer, trainer, texts)
    return _wrap(
        tokenizer if kind == "bpe" else _deterministic(tokenizer, alphabet, vocab_size - 2)
    )


def _train(tokenizer: Any, trainer: Any, texts: Iterable[str]) -> None:
    usable = (text for text in texts if text.strip() and not SURROGATE.search(text))
    first = next(usable, None)
    if first is None:
        raise LacyError("E28", why="there is no text to train on", do="give documents with text")
    try:
        tokenizer.train_from_iterator(itertools.chain([first], usable), trainer)
    except LacyError:
        raise
    except Exception as error:  # the Unigram trainer fails if there are only a few words
        why = f"too little text ({str(error).splitlines()[0]})"
        raise LacyError("E28", why=why, do="give more text, or use kind bpe") from error


def _deterministic(tokenizer: Any, alphabet: Sequence[str], size: int) -> Any:
    """Return a Unigram tokenizer of at most ``size`` tokens, without the trainer's randomness.

    The trainer iterates over a hash table in random order, so sums differ in their last bits,
    tokens of equal score swap places, and bytes missing from the corpus get scores that depend on
    the order. Rounding the scores, giving all missing bytes one score, and sorting the tokens makes
    the result repeatable.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    _, *tokens = state["model"]["vocab"]  # the first is end-of-text
    lowest = min(score for _, score in tokens)
    unseen = lowest + 1e-4 * (len(alphabet) + 1)  # the trainer adds 1e-4 per unseen byte
    single = set(alphabet)
    scores = {
        token: round(lowest if token in single and score <= unseen else score, 6)
        for token, score in tokens
    }
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    longer = [token for token, _ in ordered if token not in single]
    too_many = set(longer[max(0, size - len(single)) :])  # the trainer overshoots small sizes
    ordered = [item for item in ordered if item[0] not in too_many]
    state["model"]["vocab"] = [[END_TOKEN, 0.0], *map(list, ordered)]
    return Tokenizer.from_str(json.dumps(state))


def _wrap(tokenizer: Any) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_TOKEN,
        eos_token=END_TOKEN,
        pad_token=END_TOKEN,
        clean_up_tokenization_spaces=False,
    )
    return _with_call(wrapped, "the trained tokenizer")


def load_tokenizer(
    path_or_name: str | Path,
    *,
    begin: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> PreTrainedTokenizerFast:
    """Load any fast tokenizer and add ``<CALL>`` as the last entry if it lacks one.

    A tokenizer without ``<CALL>`` comes from elsewhere. In that case, this function also chooses
    the tokens that begin and end a text (``special_tokens.choose_begin_end``) and stores them in
    the tokenizer's settings, unless its ``tokenizer_config.json`` already names them
    (``"lacy_text": {"begin": ..., "end": ...}``).

    Args:
        path_or_name: a folder with ``tokenizer.json`` (a model, packed data), that file, or a
            name on the Hub.
        begin: the token that begins every text; None lets lacy choose.
        notify: called with a sentence if texts begin with a different token than the tokenizer's
            own begin token.

    Raises:
        LacyError: E13, there is no such folder; E24, it contains no usable tokenizer; E98, the
            tokenizer has no token ``begin``; E132, it requires its own code.
    """
    name = str(path_or_name)
    path = Path(name).expanduser()
    if path.is_file():
        path = path.parent
    looks_like_path = isinstance(path_or_name, Path) or name.startswith((".", "/", "~"))
    advice = "give a folder with tokenizer.json, or the name of a Hub model"
    if looks_like_path and not path.exists():
        raise LacyError("E13", path=path, do=advice)
    if path.is_dir() and not any(path.glob("tokenizer*")) and not (path / "vocab.json").is_file():
        raise LacyError("E24", path=path, why="it holds no tokenizer.json", do=advice)
    try:
        found: Any = load_tokenizer_files(path if path.is_dir() else name)
    except LacyError:
        raise
    except Exception as error:  # missing file, damaged file, no network: all of different classes
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if path.is_dir() and not (path / "tokenizer.json").is_file():
            advice = (
                'write its tokenizer.json: python -c "from transformers import AutoTokenizer as T; '
                f"T.from_pretrained('{path}').save_pretrained('{path}')\" (for SentencePiece files "
                "after: pip install sentencepiece)"
            )
        raise LacyError("E24", path=name, why=why, do=advice) from error
    return prepare_tokenizer(found, name, begin=begin, notify=notify)


def prepare_tokenizer(
    tokenizer: Any,
    name: str,
    *,
    begin: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> PreTrainedTokenizerFast:
    """Add ``<CALL>`` to a tokenizer and choose the begin and end token, as ``load_tokenizer`` does.

    Args:
        tokenizer: changed in place.
        name: its name for messages.
        begin: as in ``load_tokenizer``.
        notify: as in ``load_tokenizer``.

    Raises:
        LacyError: E24, the tokenizer is not usable; E98, it has no token ``begin``.
    """
    found = tokenizer
    if not getattr(found, "is_fast", False):
        why = "it is a slow tokenizer, without character offsets"
        raise LacyError("E24", path=name, why=why, do="use a tokenizer with tokenizer.json")
    if found.bos_token_id is None and found.eos_token_id is None and begin is None:
        why = "it has neither a begin nor an end token"
        do = "name the token that begins texts (--begin-token), or set eos_token in its config"
        raise LacyError("E24", path=name, why=why, do=do)
    if begin is not None or (CALL_TOKEN not in found.get_vocab() and not has_begin_end(found)):
        why = choose_begin_end(found, name, begin)
        if why and notify is not None:
            notify(why)
    return _with_call(found, name)


def _with_call(tokenizer: Any, name: str) -> PreTrainedTokenizerFast:
    from tokenizers import AddedToken

    if CALL_TOKEN not in tokenizer.get_vocab():
        call = AddedToken(CALL_TOKEN, special=True, normalized=False)
        more = {"extra_special_tokens": [call]}
        tokenizer.add_special_tokens(more, replace_extra_special_tokens=False)
    call_id = tokenizer.convert_tokens_to_ids(CALL_TOKEN)
    if call_id != len(tokenizer) - 1:
        why = f"{CALL_TOKEN} has id {call_id}, the last id is {len(tokenizer) - 1}"
        raise LacyError("E24", path=name, why=why, do=f"use a tokenizer without {CALL_TOKEN}")
    wrapped: PreTrainedTokenizerFast = tokenizer
    return wrapped


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], *, batch: int = 256
) -> Iterator[Encoding]:
    """Encode texts without begin and end token; special tokens are encoded as plain text."""
    for start in range(0, len(texts), batch):
        found = tokenizer(
            list(texts[start : start + batch]),
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=False,
            padding=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True):
            yield Encoding(ids, offsets)


def decode(tokenizer: PreTrainedTokenizerFast, ids: Iterable[int]) -> str:
    """Return the text of ids without special tokens; spaces are not cleaned up."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def tokenizer_fingerprint(
    tokenizer: PreTrainedTokenizerFast, *, with_begin_end: bool = True
) -> str:
    """Return 16 hex digits that differ between tokenizers whose ids have different meanings.

    Hashes vocabulary, merges or scores, begin and end token (unless ``with_begin_end`` is False),
    and the ids of a probe text. Saving, padding and truncation settings do not change it.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [
        " ".join(pair) if isinstance(pair, list) else pair for pair in model.get("merges", [])
    ]
    vocab = model.get("vocab", {})
    scores = [] if isinstance(vocab, dict) else [score for _, score in vocab]
    probe = next(encode_texts(tokenizer, [_PROBE])).ids
    around = begin_end(tokenizer) if with_begin_end else ()
    parts = [sorted(tokenizer.get_vocab().items()), merges, scores, around, probe]
    data = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(data.encode()).hexdigest()[:16]
