"""Turn texts into token ids and vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lacy._text import SURROGATE, first_line
from lacy.encoder.body import EncoderBody
from lacy.errors import LacyError

TOKENIZER = "tokenizer.json"

CHARACTERS_PER_TOKEN = 12
"""Characters of a text that are read per wanted token: tokens are rarely longer."""


class PieceReader:
    """Splits texts into the ids of a BERT vocabulary.

    Args:
        tokenizer: BERT's tokenizer.
        limit: tokens of a text that are kept, ``[CLS]`` and ``[SEP]`` among them.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int = 128) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.limit = tokenizer, limit
        vocabulary = tokenizer.get_vocab()
        self.cls, self.sep = vocabulary["[CLS]"], vocabulary["[SEP]"]

    @classmethod
    def open(cls, folder: str | Path, limit: int = 128) -> PieceReader:
        """Read the tokenizer in a folder.

        Raises:
            LacyError: E345, the folder has no tokenizer of BERT's kind.
        """
        path = Path(folder) / TOKENIZER
        try:
            return cls(Tokenizer.from_file(str(path)), limit)
        except Exception as error:  # tokenizers raises the bare class
            raise LacyError("E345", path=path, why=first_line(error)) from error

    def pieces(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Return the first ``limit`` ids of each text, without special tokens."""
        cut = [SURROGATE.sub("\ufffd", text[: limit * CHARACTERS_PER_TOKEN]) for text in texts]
        encoded = self.tokenizer.encode_batch(cut, add_special_tokens=False)
        return [one.ids[:limit] for one in encoded]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ``[CLS] text [SEP]`` of each text."""
        return [[self.cls, *ids, self.sep] for ids in self.pieces(texts, self.limit - 2)]


def mean_states(states_NTD: Tensor, ids_NT: Tensor) -> Tensor:
    """Return the mean of the states of a text's tokens ``[N, D]``; padding does not count."""
    present_NT1 = (ids_NT != 0)[..., None]
    return (states_NTD * present_NT1).sum(1) / present_NT1.sum(1).clamp(min=1)


def text_vectors(
    body: EncoderBody, reader: PieceReader, texts: Sequence[str], batch: int = 32
) -> NDArray[np.float32]:
    """Return the vectors of texts ``[N, D]``, each of length 1, as sentence-transformers does.

    Args:
        body: the encoder.
        reader: splits the texts.
        texts: the texts.
        batch: texts encoded at a time; those of similar length go together.
    """
    vectors_ND = np.zeros((len(texts), body.shape.width), np.float32)
    with torch.inference_mode():
        for rows, ids_NT in by_length(reader.ids(texts), batch):
            mean_ND = mean_states(body.states(ids_NT), ids_NT)
            vectors_ND[rows] = torch.nn.functional.normalize(mean_ND, dim=1).numpy()
    return vectors_ND


def by_length(ids: Sequence[Sequence[int]], batch: int) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the places of texts of similar length, and their padded ids ``[N, T]``.

    A batch has ``batch`` texts at most, and none that is much longer than the shortest one: padding
    costs as much as text.
    """
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    while order:
        most = 1.25 * len(ids[order[0]]) + 2
        rows = [row for row in order[:batch] if len(ids[row]) <= most]
        del order[: len(rows)]
        yield rows, pad_sequence([torch.tensor(ids[row]) for row in rows], batch_first=True)
