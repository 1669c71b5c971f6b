"""Passages by meaning: embeddings made by the test, updates, and rank fusion."""

import asyncio
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.sources.texts import Documents
from lacy.sources.texts.vectors import VectorSearch, fuse_rankings
from lacy.types import Document, Mark, Request

model2vec = pytest.importorskip(
    "model2vec", reason="vectors are an extra: pip install 'lacy[vectors]'"
)
WORDS = "zero vessel ship boat sea harbour physician doctor healed born in ulm rome".split()
MEANING = {"vessel": 0, "ship": 0, "boat": 0, "physician": 1, "doctor": 1, "healed": 1, "sea": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Words of one meaning have one direction."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({"[UNK]": 0, **{w: n + 1 for n, w in enumerate(WORDS)}}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = np.zeros((len(WORDS) + 1, 16), np.float32)
    for number, word in enumerate(WORDS, 1):
        vectors[number, MEANING.get(word, 3 + number % 13)] = 1.0
    folder = tmp_path_factory.mktemp("model") / "static"
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(folder)
    return folder


def told(id, text, value, title=None):
    at = text.index(value)
    marks = (Mark(at, at + len(value), "VALUE", "v"),)
    return Document(id, text, {"title": title} if title else {}, marks)


SHIP = told("ship", "A ship left the harbour in 1801.", "1801")
DOCTOR = told("doctor", "A doctor healed them in 1902.", "1902")
ADA = told("ada", "The boat of Ada Vell was lost in 1703.", "1703", "Ada Vell")


def ask(source, text, subject=None):
    [reply] = asyncio.run(source.ask([Request(text, subject=subject)]))
    return [candidate.text.strip() for candidate in reply.candidates]


def test_vectors_find_passages_without_common_words(tmp_path, model):
    docs = [SHIP, DOCTOR, ADA]
    with Documents.build(docs, tmp_path / "plain") as plain:
        assert ask(plain, "one physician") == []
    with Documents.build(docs, tmp_path / "kb", vectors=str(model)) as source:
        source.passages = 1
        assert ask(source, "one physician") == ["1902"]
        assert ask(source, "one vessel") in (["1801"], ["1703"])
        source.passages = 4
        # who is named must be there, whatever is near
        assert ask(source, "a doctor healed her", subject="Ada Vell") == ["1703"]
        assert ask(source, "a doctor healed her", subject="Zorb Quux") == []
        assert ask(source, "") == []


def test_vectors_are_updated_and_can_be_added_later(tmp_path, model):
    Documents.build([SHIP, DOCTOR], tmp_path / "kb").close()
    with Documents.build([], tmp_path / "kb", vectors=str(model)) as source:  # all are noted
        assert len(source._vectors._rows) == 2
        moved = told("doctor", "A boat was seen in 1903.", "1903")
        Documents.build([moved], tmp_path / "kb").close()
        assert ask(source, "one physician") == []
        assert set(ask(source, "one vessel")) == {"1801", "1903"}
        lengths = np.abs(source._vectors._rows["vector"].astype(int)).sum(1)
        assert lengths.tolist()[1] == 0 and lengths.tolist()[2] > 0


def test_stored_rows_are_close_to_the_embeddings(tmp_path, model):
    with Documents.build([SHIP, DOCTOR, ADA], tmp_path / "kb", vectors=str(model)) as source:
        vectors = source._vectors
        exact = vectors._encode(["Ada Vell. " + ADA.text, "ship"])
        [(_, score), *_] = vectors.near("ship boat", 3)
        assert 0 < score <= 1.01
        row = vectors._rows[2]
        assert np.allclose(row["scale"] * row["vector"], exact[0], atol=0.01)
        assert vectors.near("unknown words only", 3) == []
        assert [n for n, _ in vectors.near("ship", 1, [3, 99])] == [3]
        assert isinstance(vectors, VectorSearch)


def test_missing_vectors_are_a_clear_error(tmp_path, monkeypatch, model):
    def code(**options):
        with pytest.raises(LacyError) as caught:
            Documents.build([SHIP], **options)
        return caught.value.code

    (tmp_path / "empty").mkdir()
    assert code(path=tmp_path / "a", vectors=str(tmp_path / "empty")) == "E101"
    Documents.build([SHIP], tmp_path / "c", vectors=str(model)).close()
    assert code(path=tmp_path / "c", vectors="other") == "E100"
    # A mistake is not remembered: the right model may follow, and none is needed.
    assert not (tmp_path / "a").exists()
    Documents.build([SHIP], tmp_path / "b").close()
    assert code(path=tmp_path / "b", vectors=str(tmp_path / "empty")) == "E101"
    Documents.build([SHIP], tmp_path / "b").close()
    Documents.build([SHIP], tmp_path / "b", vectors=str(model)).close()
    monkeypatch.setitem(sys.modules, "model2vec", None)
    assert code(path=tmp_path / "d", vectors=str(model)) == "E11"
    assert not (tmp_path / "d").exists()
    with pytest.raises(LacyError, match=r"lacy\[vectors\]"):
        Documents(tmp_path / "c")


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=4))
def test_fusion_keeps_common_order(orders):
    rankings = [[(number, 1.0) for number in order] for order in orders]
    found = [number for number, _ in fuse_rankings(*rankings)]
    assert sorted(found) == list(range(6))
    if len({tuple(order) for order in orders}) == 1:
        assert found == list(orders[0])
    for one in range(6):
        for other in range(6):
            if one != other and all(o.index(one) < o.index(other) for o in orders):
                assert found.index(one) < found.index(other)
