"""From documents to packed data in one call: the same rows as step by step, resumable."""

import re

import pytest

from lacy.annotate import PackSettings, encode_many, estimate_packing, mark_and_pack
from lacy.corpus import PackedData, train_tokenizer
from lacy.errors import LacyError
from lacy.types import Document, Mark

DOCUMENTS = [Document(f"d{n}", f"She was born in {1800 + n} in town {n}.") for n in range(40)]


class Numbers:
    """Marks every number; counts its calls."""

    name = "numbers"

    def __init__(self):
        self.calls = 0

    def annotate(self, texts):
        self.calls += 1
        return [[Mark(*m.span(), "NUMBER") for m in re.finditer(r"\d+", text)] for text in texts]


def marked():
    found = Numbers().annotate([document.text for document in DOCUMENTS])
    return [Document(d.id, d.text, marks=tuple(m)) for d, m in zip(DOCUMENTS, found, strict=True)]


SETTINGS = PackSettings(vocab_size=300, context=64)


def test_one_call_gives_the_rows_of_every_step(tmp_path):
    data = mark_and_pack(lambda: iter(DOCUMENTS), tmp_path / "one", Numbers(), SETTINGS)
    tokenizer = train_tokenizer((d.text for d in DOCUMENTS), 300)
    steps = PackedData.write(encode_many(marked(), tokenizer), tokenizer, 64, tmp_path / "steps")
    assert data.info.digests == steps.info.digests and data.info.flags["NUMBER"] > 40


def test_stored_marks_are_used_again_with_another_context(tmp_path):
    annotator = Numbers()
    mark_and_pack(lambda: DOCUMENTS, tmp_path / "a", annotator, SETTINGS)
    assert annotator.calls == 1
    other = PackSettings(vocab_size=300, context=32)
    data = mark_and_pack(
        lambda: DOCUMENTS, tmp_path / "b", annotator, other, marks=tmp_path / "a-marks"
    )
    assert annotator.calls == 1 and data.context == 32


def test_documents_with_their_own_marks_need_no_annotator(tmp_path):
    said = []
    data = mark_and_pack(marked, tmp_path / "own", settings=SETTINGS, notify=said.append)
    assert data.info.flags["NUMBER"] > 40 and not (tmp_path / "own-marks").exists()
    assert said == ["Training a tokenizer of 300 entries on the texts."]
    with pytest.raises(LacyError, match="have no marks of their own"):
        mark_and_pack(lambda: DOCUMENTS, tmp_path / "none", settings=SETTINGS)
    assert not (tmp_path / "none").exists()


def test_an_estimate_is_near_the_truth_and_writes_nothing(tmp_path):
    data = mark_and_pack(marked, tmp_path / "whole", settings=SETTINGS)
    found = estimate_packing(marked, settings=SETTINGS, sample=20)
    assert (found.sample, found.documents) == (20, 40)
    assert found.tokens == pytest.approx(data.info.tokens, rel=0.25)
    assert found.fact_share == pytest.approx(data.info.shares["FACT"], rel=0.25)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
