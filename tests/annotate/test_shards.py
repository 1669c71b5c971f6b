"""Annotation of a corpus: stored in shards, resumed exactly, never mixed, never half written."""

import json
import os
import re
from dataclasses import replace

import pytest
import spacy

from lacy.annotate import Rules, SpacyAnnotator, annotate_documents
from lacy.annotate.shards import attach_marks, load_manifest
from lacy.errors import LacyError
from lacy.types import Document, Mark


class Digits:
    """Marks runs of digits; counts its calls; stops when told to."""

    name = "digits"

    def __init__(self, stop_after=None, version=1):
        self.asked = []
        self.stop_after = stop_after
        self.version = version

    def settings(self):
        return {"version": self.version, "sizes": (1, 2)}

    def annotate(self, texts):
        if self.stop_after is not None and len(self.asked) + len(texts) > self.stop_after:
            raise KeyboardInterrupt
        self.asked += texts
        return [
            [
                Mark(m.start(), m.end(), "NUMBER", "n\u2028é", "CARDINAL")
                for m in re.finditer(r"\d+", text)
            ]
            for text in texts
        ]


def documents(count=23):
    return [
        Document(f"d{i}", f"text {i} of\u2028 {i * i}", {"title": f"t{i}"}) for i in range(count)
    ]


def run(folder, annotator=None, docs=None, **more):
    settings = {"shard_size": 5, "batch_size": 2, "progress": False, **more}
    docs = documents() if docs is None else docs
    return annotate_documents(docs, annotator or Digits(), folder, **settings)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_marks_come_back_with_their_documents(tmp_path):
    manifest = run(tmp_path)
    assert manifest.complete and manifest.documents == 23
    assert manifest.reasons == {"NUMBER": 46}
    assert [shard.documents for shard in manifest.shards] == [5, 5, 5, 5, 3]
    joined = list(attach_marks(iter(documents()), tmp_path))
    assert [replace(d, marks=()) for d in joined] == documents()
    assert [d.text[m.start : m.end] for d in joined for m in d.marks][:4] == ["0", "0", "1", "1"]
    assert joined[3].marks[0].relation == "n\u2028é"
    assert joined[3].marks[0].label == "CARDINAL"
    saved = json.loads((tmp_path / "marks.json").read_text())
    assert saved["fingerprint"] == manifest.fingerprint == load_manifest(tmp_path).fingerprint


@pytest.mark.parametrize("stop_after", [0, 4, 5, 9, 11, 22])
def test_an_interrupted_annotation_resumes_after_the_last_shard(tmp_path, stop_after):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(broken, Digits(stop_after))
    second = Digits()
    run(broken, second)
    assert len(second.asked) == 23 - stop_after // 5 * 5
    assert files(broken) == files(whole)


def test_a_finished_annotation_is_not_done_again(tmp_path):
    run(tmp_path)
    again = Digits()
    run(tmp_path, again)
    assert again.asked == []
    more = documents(25)
    assert run(tmp_path, again, more).documents == 25
    assert again.asked == [d.text for d in more[23:]]
    assert len(list(attach_marks(more, tmp_path))) == 25


def test_a_shard_without_its_manifest_entry_is_written_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Digits(11))
    (tmp_path / "shard-00002.jsonl").write_text("half of a sh")
    run(tmp_path)
    assert len(list(attach_marks(documents(), tmp_path))) == 23


def test_different_settings_are_refused_and_nothing_changes(tmp_path):
    run(tmp_path)
    before = files(tmp_path)
    with pytest.raises(LacyError, match="version: 1 -> 2") as caught:
        run(tmp_path, Digits(version=2))
    assert caught.value.code == "E33"
    with pytest.raises(LacyError, match="shard_size: 5 -> 6"):
        run(tmp_path, shard_size=6)
    assert files(tmp_path) == before


def test_another_source_is_refused(tmp_path):
    run(tmp_path)
    changed = documents()
    changed[7] = replace(changed[7], text="other")
    for docs in (changed, documents(12)):
        with pytest.raises(LacyError) as caught:
            run(tmp_path, docs=docs)
        assert caught.value.code == "E34"
    with pytest.raises(LacyError, match=r"document 8 .'d7'. is not the one"):
        list(attach_marks(changed, tmp_path))
    with pytest.raises(LacyError, match="only 12 documents now, 23 were"):
        list(attach_marks(documents(12), tmp_path))
    with pytest.raises(LacyError, match="more than 23 documents"):
        list(attach_marks(documents(24), tmp_path))


def test_unfinished_or_damaged_marks_are_refused(tmp_path):
    with pytest.raises(LacyError, match=r"no marks\.json there"):
        list(attach_marks(documents(), tmp_path))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Digits(11))
    with pytest.raises(LacyError, match="stopped after 10 documents"):
        list(attach_marks(documents(), tmp_path))
    run(tmp_path)
    shard = tmp_path / "shard-00001.jsonl"
    whole = shard.read_text()
    for damage in (whole[:-9], whole + "{}\n", "", None):
        shard.unlink() if damage is None else shard.write_text(damage)
        with pytest.raises(LacyError, match=r"shard-00001\.jsonl is damaged") as caught:
            list(attach_marks(documents(), tmp_path))
        assert caught.value.code == "E37"
    for damage in ("{", "[]", "{}", '{"format": 9, "settings": {}, "shard_size": 5, "shards": []}'):
        (tmp_path / "marks.json").write_text(damage)
        with pytest.raises(LacyError) as caught:
            run(tmp_path)
        assert caught.value.code == "E37"


def test_marks_that_break_the_protocol_are_not_stored(tmp_path):
    class Wild(Digits):
        def annotate(self, texts):
            return [[Mark(0, 999, "NUMBER")] for _ in texts]

    with pytest.raises(LacyError) as caught:
        run(tmp_path, Wild())
    assert caught.value.code == "E31"
    assert not list(tmp_path.iterdir())


def test_titles_reach_annotators_that_use_them(tmp_path):
    class Titled(Digits):
        uses_subjects = True
        about = ()

        def annotate(self, texts, subjects):
            self.about += tuple(subjects)
            return super().annotate(texts)

    titled = Titled()
    run(tmp_path, titled)
    assert titled.about == tuple(f"t{i}" for i in range(23))


def test_no_documents(tmp_path):
    manifest = run(tmp_path, docs=[])
    assert manifest.complete and manifest.documents == 0
    assert list(attach_marks([], tmp_path)) == []


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "blank"
    spacy.blank("en").to_disk(folder)
    return folder


@pytest.mark.slow
def test_processes_give_the_same_marks(tmp_path, blank):
    annotator = SpacyAnnotator(blank, Rules(content=False))
    docs = [Document(str(i), f"On {i + 1} May 19{i:02d} came {i}.") for i in range(20)]
    one = run(tmp_path / "one", annotator, docs)
    two = run(tmp_path / "two", annotator, docs, n_process=2)
    assert one == two and one.reasons["DATE"] == 20
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.slow
def test_an_error_in_a_worker_keeps_its_type(tmp_path, blank):
    annotator = SpacyAnnotator(blank)
    annotator.source = str(tmp_path / "gone")  # the worker loads it anew
    with pytest.raises(LacyError) as caught:
        run(tmp_path / "marks", annotator, documents(2), n_process=2)  # one batch, one worker
    assert caught.value.code in {"E30", "E36"}


class Fatal(Digits):
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_dead_worker_is_a_clear_error(tmp_path):
    with pytest.raises(LacyError, match="worker process died") as caught:
        run(tmp_path, Fatal(), n_process=2)
    assert caught.value.code == "E36"


def test_a_loaded_pipeline_cannot_be_sent_to_workers(tmp_path):
    with pytest.raises(LacyError, match="loaded pipeline"):
        run(tmp_path, SpacyAnnotator(spacy.blank("en")), n_process=2)
