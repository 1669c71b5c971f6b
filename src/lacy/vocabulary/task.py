"""Find the vocabulary of a task, and store it (VocabTailor, arXiv 2508.15229, §3.2).

The three filters are the paper's: tokens of the outputs that their inputs do not contain (those of
the input are there anyway while a model reads it), tokens of some scripts, and tokens that are not
too rare. Every vocabulary also has all special tokens, ``<CALL>``, and all bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lacy import __version__
from lacy._parse import parse_json
from lacy._require import require_at_least, require_one_of
from lacy.corpus import encode_texts, tokenizer_fingerprint
from lacy.errors import LacyError
from lacy.run import write_atomic
from lacy.vocabulary.tokens import ids_of_scripts, protected_ids

FORMAT = "lacy vocabulary 1"

Counted = Literal["new", "all"]
"""Which tokens of an output count: those that its input lacks, or all."""

DEFAULT_TOLERANCE = 0.01
"""Default of the paper's shipped vocabularies."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens that a task needs, of one tokenizer."""

    ids: tuple[int, ...]
    """Token ids in increasing order, with special tokens, ``<CALL>`` and all bytes."""
    size: int
    """Number of tokens of the tokenizer."""
    tokenizer: str
    """Fingerprint of the tokenizer (``tokenizer_fingerprint``, without begin and end token)."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: settings and figures, see ``task_vocabulary``."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def share(self) -> float:
        """The share of the tokenizer's tokens that are kept."""
        return len(self.ids) / self.size

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, atomically."""
        data = {
            "format": FORMAT, "lacy": __version__, "tokenizer": self.tokenizer, "size": self.size,
            "made": dict(self.made), "ids": list(self.ids),
        }  # fmt: skip
        write_atomic(path, json.dumps(data, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path, tokenizer: Any = None) -> Vocabulary:
        """Read a file written by ``save``.

        Args:
            path: the file.
            tokenizer: the tokenizer with which it is to be used; None does not check it.

        Raises:
            LacyError: E13, there is no such file; E270, it is not a vocabulary; E271, it belongs
                to another tokenizer.
        """
        if not Path(path).is_file():
            do = "make a vocabulary: lacy vocabulary build MODEL --data texts.jsonl --out FILE"
            raise LacyError("E13", path=path, do=do)
        try:
            data: Any = parse_json(Path(path).read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}")
            ids, size = tuple(int(n) for n in data["ids"]), int(data["size"])
            found = cls(ids, size, str(data["tokenizer"]), dict(data["made"]))
            if list(ids) != sorted(set(ids)) or not ids or ids[0] < 0 or ids[-1] >= size:
                raise ValueError("its ids are not increasing numbers below its size")
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise LacyError("E270", path=path, why=why or type(error).__name__) from error
        if tokenizer is not None:
            found.require(tokenizer, path)
        return found

    def require(self, tokenizer: Any, name: str | Path = "the vocabulary") -> None:
        """Raise E271 unless the vocabulary was made for this tokenizer."""
        if (self.size, self.tokenizer) != (len(tokenizer), tokens_fingerprint(tokenizer)):
            raise LacyError("E271", path=name, size=self.size, tokens=len(tokenizer))


def tokens_fingerprint(tokenizer: Any) -> str:
    """Return the fingerprint that ``Vocabulary.tokenizer`` contains."""
    return tokenizer_fingerprint(tokenizer, with_begin_end=False)


def task_vocabulary(
    tokenizer: Any,
    examples: Iterable[tuple[str, str]],
    *,
    counted: Counted = "new",
    scripts: Sequence[str] = (),
    tolerance: float = DEFAULT_TOLERANCE,
    tokens: int | None = None,
    where: str = "the examples",
) -> Vocabulary:
    """Return the vocabulary of a task.

    Args:
        tokenizer: the model's fast tokenizer.
        examples: pairs of input and output. For texts that a model continues, the input is "". A
            first word is counted as at the beginning of a text and after a space.
        counted: ``new`` counts the tokens of an output that its input lacks, for a model whose
            head also has the tokens of its context; ``all`` counts all tokens of an output.
        scripts: names of Unicode scripts; tokens of other scripts are left out. None keeps all.
        tolerance: the rarest tokens are left out, as many as together are missing at most
            ``tolerance`` times per output (each counts once per output that contains it).
        tokens: keep at most this many tokens, those in most outputs; None for as many as
            ``tolerance`` leaves. Special tokens and bytes are among them.
        where: name of the examples for messages.

    Returns:
        The vocabulary. ``made`` has ``counted``, ``scripts``, ``tolerance``, ``tokens``, the number
        of ``examples``, ``in_input`` (mean share of an output's tokens that its input contains),
        ``missed`` (mean number of tokens of an output that were left out), and the number of tokens
        ``counted_tokens``, ``of_scripts`` and ``tolerated`` after each filter (without those that
        every vocabulary has), and ``protected``.

    Raises:
        LacyError: E12, an invalid setting; E272, no example has tokens; E273, Unicode has no such
            script.
    """
    require_one_of("counted", counted, get_args(Counted))
    require_at_least("tolerance", tolerance, 0.0, finite=True)
    if tokens is not None:
        require_at_least("tokens", tokens, 1)
    allowed = ids_of_scripts(tokenizer, scripts)
    frequency, outputs, shared = _document_frequency(tokenizer, examples, counted)
    if not outputs:
        raise LacyError("E272", where=where)
    always = protected_ids(tokenizer)
    found = {n: count for n, count in frequency.items() if n not in always}
    of_scripts = {n: count for n, count in found.items() if n in allowed}
    tolerated = drop_rare(of_scripts, tolerance * outputs)
    if tokens is not None:
        tolerated = keep_frequent(tolerated, max(0, tokens - len(always)))
    missed = (sum(of_scripts.values()) - sum(tolerated.values())) / outputs
    made = {
        "counted": counted, "scripts": list(scripts), "tolerance": tolerance, "tokens": tokens,
        "examples": outputs, "in_input": shared / outputs, "missed": missed,
        "counted_tokens": len(found), "of_scripts": len(of_scripts),
        "tolerated": len(tolerated), "protected": len(always),
    }  # fmt: skip
    ids = tuple(sorted(always | tolerated.keys()))
    return Vocabulary(ids, len(tokenizer), tokens_fingerprint(tokenizer), made)


def drop_rare(frequency: Mapping[int, int], most: float) -> dict[int, int]:
    """Drop the rarest tokens while the sum of their frequencies is at most ``most``.

    Of tokens with equal frequency, those with higher ids are dropped first, because BPE learned
    them later.
    """
    left = dict(frequency)
    for token in reversed(_by_frequency(frequency)):
        most -= frequency[token]
        if most < 0:
            break
        del left[token]
    return left


def keep_frequent(frequency: Mapping[int, int], number: int) -> dict[int, int]:
    """Keep at most ``number`` tokens; of tokens with equal frequency, those with lower ids."""
    return {token: frequency[token] for token in _by_frequency(frequency)[:number]}


def _by_frequency(frequency: Mapping[int, int]) -> list[int]:
    return sorted(frequency, key=lambda n: (-frequency[n], n))


def _document_frequency(
    tokenizer: Any, examples: Iterable[tuple[str, str]], counted: Counted
) -> tuple[Counter[int], int, float]:
    """Return in how many outputs each token is, the number of outputs, and a sum of shares.

    The share of an output is that of its different tokens which its input contains.
    """
    frequency: Counter[int] = Counter()
    outputs, shared = 0, 0.0
    for batch in _batched(examples, 256):
        texts = [text for pair in batch for text in (pair[0], pair[1], " " + pair[1].lstrip(" "))]
        encoded = [set(found.ids[:1]) if n % 3 == 2 else set(found.ids)
                   for n, found in enumerate(encode_texts(tokenizer, texts))]  # fmt: skip
        for given, output, first in zip(encoded[::3], encoded[1::3], encoded[2::3], strict=True):
            if not output:
                continue
            outputs += 1
            shared += len(output & given) / len(output)
            output |= first
            frequency.update(output - given if counted == "new" else output)
    return frequency, outputs, shared


def _batched(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
