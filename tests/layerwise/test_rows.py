"""Token ids of texts for calibration."""

import pytest
import torch

from helpers.models import ALL
from lacy.corpus import TokenText, begin_end
from lacy.errors import LacyError
from lacy.layerwise import text_rows
from lacy.types import Document

TOKENIZER = ALL["byte_level"]
TEXTS = [f"Person {n} was born in Ulm." + " She lived in Paris." * (n % 4) for n in range(30)]
DOCUMENTS = [Document(str(n), text) for n, text in enumerate(TEXTS)]


def flat(tensors):
    return sorted(tuple(row.tolist()) for ids_BT in tensors for row in ids_BT)


def test_rows_are_the_beginnings_of_texts():
    encoder, begin = TokenText(TOKENIZER), begin_end(TOKENIZER)[0]
    expected = sorted((begin, *encoder.encode(text)[:15]) for text in TEXTS)
    found = text_rows(DOCUMENTS, TOKENIZER, rows=99, length=16)
    assert flat(found) == expected
    assert all(ids_BT.dtype == torch.int64 for ids_BT in found)
    sizes = [ids_BT.shape[1] for ids_BT in found]
    assert sizes == sorted(sizes, reverse=True)


def test_the_seed_chooses_the_texts():
    first, again, other = (text_rows(DOCUMENTS, TOKENIZER, rows=5, seed=n) for n in (1, 1, 2))
    assert flat(first) == flat(again) != flat(other)
    assert len(flat(first)) == 5


def test_a_tensor_has_a_limited_number_of_tokens():
    documents = [Document(str(n), "Ulm " * 900) for n in range(12)]
    found = text_rows(documents, TOKENIZER, rows=12, length=512)
    assert [tuple(ids_BT.shape) for ids_BT in found] == [(4, 512)] * 3


def test_texts_without_a_token_are_skipped():
    found = text_rows([Document("a", ""), Document("b", "Ulm")], TOKENIZER, rows=2)
    assert len(flat(found)) == 1


@pytest.mark.parametrize("documents", [[], [Document("a", "")]])
def test_nothing_to_calibrate_on_is_an_error(documents):
    with pytest.raises(LacyError, match="E280"):
        text_rows(documents, TOKENIZER)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"length": 1}])
def test_sizes_are_checked(wrong):
    with pytest.raises(LacyError, match=f"E12.*{next(iter(wrong))}"):
        text_rows(DOCUMENTS, TOKENIZER, **wrong)
