"""The spaCy annotator: the pipeline that comes with lacy, choosing one, saying what is missing."""

import json
import pickle

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from lacy.annotate import Annotator, Rules, SpacyAnnotator, spacy_rules
from lacy.errors import LacyError

TEXT = (
    "Ralph Earl (May 11, 1751 – August 16, 1801) was an American painter known for his portraits, "
    "of which at least 183 can be documented. Earl was born in Shrewsbury, Massachusetts."
)


@pytest.fixture(scope="module")
def bundled():
    return SpacyAnnotator("bundled")


def words(annotator, text, **more):
    return [
        text[m.start : m.end]
        for m in annotator.annotate([text], **more)[0]
        if m.reason != "CONTENT"
    ]


def test_the_bundled_pipeline_marks_a_biography_offline(bundled):
    assert isinstance(bundled, Annotator)
    assert bundled.inactive == {}
    found = words(bundled, TEXT)
    for value in ("May 11, 1751", "August 16, 1801", "American", "183", "Shrewsbury"):
        assert value in found
    assert "Earl" not in found and "Ralph Earl" not in found
    reasons = {TEXT[m.start : m.end]: m.reason for m in bundled.annotate([TEXT])[0]}
    assert reasons["May 11, 1751"] == "DATE" and reasons["183"] == "NUMBER"
    assert reasons["Shrewsbury"] == "ENTITY"


def test_the_bundled_pipeline_is_small_and_names_its_data():
    folder = spacy_rules.bundled_path()
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert max(sizes) < 4 * 2**20 and sum(sizes) < 5 * 10**6
    meta = json.loads((folder / "meta.json").read_text())
    assert {"CC BY-SA 3.0", "MIT"} == {s["license"] for s in meta["sources"]}
    assert meta["performance"]["teacher_marks"]["f1"] > 0.95
    assert not any(
        "/tmp" in path.read_text() for path in (folder / "config.cfg", folder / "meta.json")
    )


def test_batches_and_splitting_do_not_change_marks(bundled, monkeypatch):
    texts = [TEXT, "", " \n", "He met Ann Lee in 1920.", "x"]
    marks = bundled.annotate(texts)
    assert marks[1] == marks[2] == []
    assert marks == [bundled.annotate([text])[0] for text in texts]
    long = "\n".join(f"In 19{i:02d} she wrote book number {i}." for i in range(10, 60))
    whole = words(bundled, long)
    monkeypatch.setattr(spacy_rules.split_text, "__defaults__", (200,))
    assert words(bundled, long) == whole


@given(st.text("ab \n", max_size=60), st.integers(1, 9))
def test_split_texts_join_to_the_text(text, size):
    pieces = list(spacy_rules.split_text(text, size))
    assert "".join(piece for _, piece in pieces) == text
    assert all(text[at : at + len(piece)] == piece for at, piece in pieces)
    assert all(len(piece) <= size for _, piece in pieces)


def test_lone_surrogates_keep_their_offsets(bundled):
    assert bundled.annotate(["He met Ann Lee \ud800 in 1920."]) == bundled.annotate(
        ["He met Ann Lee \ufffd in 1920."]
    )


def test_a_pickled_annotator_gives_the_same_marks(bundled):
    copy = pickle.loads(pickle.dumps(bundled))
    assert copy.annotate([TEXT]) == bundled.annotate([TEXT])
    assert copy.settings() == bundled.settings()


def test_the_paper_s_pipeline_where_installed_else_ours(monkeypatch, capsys):
    monkeypatch.setattr(spacy_rules.util, "find_spec", lambda name: object())
    assert spacy_rules.choose_pipeline("auto")[0] == "en_core_web_sm"
    monkeypatch.setattr(spacy_rules.util, "find_spec", lambda name: None)
    name, reason = spacy_rules.choose_pipeline("auto")
    assert name.endswith("en_lacy_tiny") and "not installed" in reason
    said = []
    SpacyAnnotator("auto", notify=said.append)
    assert said == [f"annotating with {reason}"]
    SpacyAnnotator("auto")
    assert reason in capsys.readouterr().err


def test_entities_and_learned_spans_can_be_switched_off(bundled):
    [(doc, scores_TL)] = list(bundled.parse([TEXT]))
    assert "Massachusetts" in [entity.text for entity in doc.ents] and len(scores_TL) == len(doc)
    without = SpacyAnnotator("bundled", Rules(entities=False, learned=False))
    assert without.inactive == {}
    [(doc, scores_TL)] = list(without.parse([TEXT]))
    assert doc.ents == () and scores_TL is None


def test_marks_have_the_entity_s_type(bundled):
    labels = {TEXT[m.start : m.end]: m.label for m in bundled.annotate([TEXT])[0]}
    assert labels["May 11, 1751"] == "DATE" and labels["183"] == "CARDINAL"
    assert labels["American"] == "NORP" and labels["Massachusetts"] == "GPE"
    assert labels["portraits"] is None


def test_a_missing_pipeline_says_what_to_type():
    with pytest.raises(LacyError, match="not installed") as caught:
        SpacyAnnotator("en_no_such")
    assert caught.value.code == "E30"
    assert "python -m spacy download en_no_such" in str(caught.value)


def test_a_damaged_pipeline_is_an_error(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "p")
    (tmp_path / "p" / "config.cfg").write_text("[nlp")
    with pytest.raises(LacyError, match="does not load"):
        SpacyAnnotator(tmp_path / "p")


def test_spacy_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spacy", None)
    with pytest.raises(LacyError, match=r"lacy\[spacy\]") as caught:
        spacy_rules.load_pipeline("en")
    assert caught.value.code == "E11"


def test_a_blank_pipeline_reports_inactive_switches():
    annotator = SpacyAnnotator(spacy.blank("en"))
    assert set(annotator.inactive) == {"entities", "proper_nouns", "learned"}
    assert words(annotator, "Born in 1900 to two French farmers.") == ["1900", "two", "French"]


def test_components_that_no_rule_uses_are_disabled(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Red Hen"}])
    nlp.to_disk(tmp_path / "p")
    assert SpacyAnnotator(tmp_path / "p").nlp.pipe_names == ["entity_ruler"]
    without = SpacyAnnotator(tmp_path / "p", Rules(entities=False))
    assert without.nlp.pipe_names == []
    assert words(without, "At Red Hen.") == []
    assert words(SpacyAnnotator(tmp_path / "p"), "At Red Hen.") == ["Red Hen"]


def test_settings_name_pipeline_version_and_rules(bundled):
    settings = bundled.settings()
    assert settings["pipeline"] == "spacy:en_lacy_tiny-0.2.0"
    assert settings["rules"]["keywords"] is True
    assert settings != SpacyAnnotator("bundled", Rules(keywords=False)).settings()
