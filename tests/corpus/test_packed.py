"""Packed folders: what was written comes back, and damage of any kind is refused."""

import json
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pytest

from lacy.corpus import Encoded, PackedData, packed, tokenizer_fingerprint, train_tokenizer
from lacy.errors import LacyError
from lacy.types import MarkFlag

TOKENIZER = train_tokenizer(["Köln is a city in 1945"] * 20, 300)
OTHER = train_tokenizer(["entirely other words"] * 20, 300)
FACT = int(MarkFlag.FACT | MarkFlag.START | MarkFlag.DATE)


def documents(count=40, seed=0):
    chance = np.random.default_rng(seed)
    for number in range(count):
        length = int(chance.integers(2, 70))
        ids = [0, *chance.integers(1, 258, length).tolist(), 0]
        marks = [0, *(chance.random(length) < 0.25).astype(int) * FACT, 0]
        yield Encoded(str(number), ids, [int(mark) for mark in marks])


@pytest.fixture
def data(tmp_path):
    return PackedData.write(documents(), TOKENIZER, 32, tmp_path / "data")


def segments_of(data):
    """Every segment of every row: its ids and marks."""
    batch = data.batch(np.arange(len(data)))
    found = []
    for ids, marks, segments in zip(*batch.values(), strict=True):
        for segment in range(1, segments.max() + 1):
            here = segments == segment
            found.append((ids[here].tolist(), marks[here].tolist()))
    return sorted(found)


def test_batches_have_the_documented_types(data):
    whole = data.batch(np.arange(len(data)))
    assert {name: (part.dtype, part.shape) for name, part in whole.items()} == {
        "input_ids": (np.dtype("int32"), (len(data), 32)),
        "marks": (np.dtype("uint8"), (len(data), 32)),
        "segments": (np.dtype("int32"), (len(data), 32)),
    }
    tokens = sum(len(document.input_ids) for document in documents())
    assert data.info.tokens == tokens == int((whole["segments"] > 0).sum())
    assert data.info.documents == 40
    facts = sum(mark > 0 for document in documents() for mark in document.marks)
    assert data.info.flags["FACT"] == data.info.flags["DATE"] == facts
    assert data.info.flags["ENTITY"] == 0
    assert data.info.shares["FACT"] == facts / tokens
    assert data.info.padding == pytest.approx(1 - tokens / (len(data) * 32))
    short = [d for d in documents() if len(d.input_ids) <= 32]
    found = segments_of(data)
    assert all((d.input_ids, d.marks) in found for d in short)
    assert f"{tokens:,} tokens" in data.info.summary() and "START" in repr(data)


def test_datasets_opens_it_and_sees_the_same(data):
    stored = data.dataset()
    assert stored.column_names == ["input_ids", "marks", "segments"]
    assert stored.features["marks"] == datasets.List(datasets.Value("uint8"), length=32)
    assert stored[3]["input_ids"] == data.batch([3])["input_ids"][0].tolist()
    assert stored[3]["marks"] == data.batch([3])["marks"][0].tolist()


def test_the_tokenizer_is_stored_with_the_data(data):
    assert tokenizer_fingerprint(data.tokenizer) == tokenizer_fingerprint(TOKENIZER)
    assert data.info.vocab_size == len(TOKENIZER)


def test_many_record_batches_give_the_same_rows(tmp_path, data, monkeypatch):
    monkeypatch.setattr(packed, "BATCH_TOKENS", 32 * 7)
    small = PackedData.write(documents(), TOKENIZER, 32, tmp_path / "small")
    assert len(list(small.blocks())) == -(-len(small) // 7) > 3
    wanted = np.random.default_rng(1).integers(0, len(data), 50)
    for name, part in data.batch(wanted).items():
        assert (small.batch(wanted)[name] == part).all()
    joined = np.concatenate([block["marks"] for block in small.blocks()])
    assert (joined == data.batch(np.arange(len(data)))["marks"]).all()


def test_blocks_are_views_and_batches_are_copies(data):
    block = next(data.blocks())
    assert not block["input_ids"].flags.owndata and not block["input_ids"].flags.writeable
    batch = data.batch([0, 0])
    batch["input_ids"][0] = -1
    assert (data.batch([0])["input_ids"] >= 0).all()
    assert all(part.flags.c_contiguous for part in batch.values())


@pytest.mark.parametrize("row", [-1, 10_000])
def test_rows_outside_are_refused(data, row):
    with pytest.raises(IndexError):
        data.batch([row])


def test_writing_twice_gives_the_same_file(tmp_path, data):
    again = PackedData.write(documents(), TOKENIZER, 32, tmp_path / "again")
    for name in (packed.ARROW_FILE, packed.INFO_FILE):
        assert (again.path / name).read_bytes() == (data.path / name).read_bytes()


def test_failing_write_leaves_the_old_folder(tmp_path, data):
    before = sorted(file.read_bytes() for file in data.path.iterdir())

    def broken():
        yield from documents()
        yield Encoded("bad", [1, 2, 3], [0, 0])

    with pytest.raises(LacyError) as caught:
        PackedData.write(broken(), TOKENIZER, 32, data.path)
    assert caught.value.code == "E20" and "'bad'" in str(caught.value)
    assert sorted(file.read_bytes() for file in data.path.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    PackedData.write(documents(seed=1), TOKENIZER, 32, data.path)
    assert PackedData.load(data.path).info.tokens != data.info.tokens


def test_nothing_to_pack_and_too_short_a_context(tmp_path):
    for given in ([], [Encoded("a", [0], [0])]):
        with pytest.raises(LacyError) as caught:
            PackedData.write(given, TOKENIZER, 32, tmp_path / "x")
        assert caught.value.code == "E29"
    with pytest.raises(LacyError) as caught:
        PackedData.write(documents(), TOKENIZER, 4, tmp_path / "x")
    assert caught.value.code == "E12"
    assert not (tmp_path / "x").exists()


def test_short_documents_are_counted(tmp_path):
    given = [Encoded("a", [0], [0]), Encoded("b", [0, 5, 0], [0, FACT, 0])]
    data = PackedData.write(given, TOKENIZER, 32, tmp_path / "x")
    assert (data.info.documents, data.info.skipped, len(data)) == (1, 1, 1)


def refused(path, code, words, **options):
    with pytest.raises(LacyError) as caught:
        PackedData.load(path, **options)
    assert caught.value.code == code, caught.value
    assert words in str(caught.value)


def test_another_tokenizer_is_refused(data):
    assert len(PackedData.load(data.path, TOKENIZER)) == len(data)
    refused(data.path, "E26", tokenizer_fingerprint(OTHER), tokenizer=OTHER)
    OTHER.save_pretrained(data.path)  # changed after annotation
    refused(data.path, "E26", tokenizer_fingerprint(TOKENIZER))


def test_damaged_folders_are_refused(tmp_path, data):
    refused(tmp_path / "nothing", "E13", "nothing")
    (tmp_path / "other").mkdir()
    refused(tmp_path / "other", "E25", "no lacy_data.json")

    def copy():
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(data.path, tmp_path / "copy")
        return tmp_path / "copy"

    path = copy()
    arrow = path / packed.ARROW_FILE
    arrow.write_bytes(arrow.read_bytes()[:-100])
    refused(path, "E25", "bytes instead of")
    arrow.unlink()
    refused(path, "E25", "is missing")
    path = copy()
    (path / packed.INFO_FILE).write_text('{"format": 1')
    refused(path, "E25", "cannot be read")
    for change, words in [
        ({"format": 1}, "format 1"),
        ({"rows": 3}, "says 3"),
        ({"context": 16}, "input_ids is fixed_size_list"),
        ({"unknown": 1}, "cannot be read"),
    ]:
        path = copy()
        stored = json.loads((path / packed.INFO_FILE).read_text())
        (path / packed.INFO_FILE).write_text(json.dumps({**stored, **change}))
        refused(path, "E25", words)


def rewrite(path, table):
    """Puts another table in the place of the Arrow file, with its size noted."""
    arrow = str(path / packed.ARROW_FILE)
    with pa.OSFile(arrow, "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table)
    stored = json.loads((path / packed.INFO_FILE).read_text())
    stored["files"] = {packed.ARROW_FILE: (path / packed.ARROW_FILE).stat().st_size}
    (path / packed.INFO_FILE).write_text(json.dumps(stored))


def test_columns_that_do_not_fit_are_refused(data):
    rows = len(data)
    ids = [[1] * 32] * rows
    rewrite(data.path, pa.table({"input_ids": ids, "marks": [[0] * 31] * rows, "segments": ids}))
    refused(data.path, "E20", f"{rows * 32} tokens but {rows * 31} marks")
    rewrite(data.path, pa.table({"input_ids": ids, "marks": ids, "segments": ids}))
    refused(data.path, "E25", "column input_ids is list")
    rewrite(data.path, pa.table({"input_ids": ids}))
    refused(data.path, "E25", "no column marks, segments")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_data_that_were_changed_at_equal_size_are_noticed(data, place):
    """The header is intact, so ``load`` opens them; training begins with ``verify``."""
    arrow = data.path / packed.ARROW_FILE
    data.verify()
    content = bytearray(arrow.read_bytes())
    content[int(place * len(content))] ^= 1
    arrow.write_bytes(content)
    with pytest.raises(LacyError, match="was changed after it was packed") as caught:
        PackedData.load(data.path).verify()
    assert caught.value.code == "E25"


def test_folders_without_digests_are_accepted(data):
    info = data.path / packed.INFO_FILE
    stored = json.loads(info.read_text())
    del stored["digests"]
    info.write_text(json.dumps(stored))
    PackedData.load(data.path).verify()
    info.write_text(json.dumps({**stored, "digests": [1]}))
    refused(data.path, "E25", "cannot be read")
    info.write_text("[" * 100_000)
    refused(data.path, "E25", "cannot be read")


def test_garbage_of_the_right_size_is_refused(data):
    arrow = data.path / packed.ARROW_FILE
    arrow.write_bytes(b"\xab" * arrow.stat().st_size)
    refused(data.path, "E25", packed.ARROW_FILE)
