"""Stored judge labels: the text comes back clean, the values are found where they stand."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.annotate.judge_labels import LabelReport, parse_labels, read_labels
from lacy.errors import LacyError
from lacy.types import Mark

DATA = Path(os.environ.get("LACY_SHARED_DATA", "../shared/data"))


def look(value, relation="Relation", entity="Someone"):
    return f"[dblookup('{entity}', '{relation}') -> {value}]"


def found(annotated):
    report = LabelReport()
    text, marks = parse_labels(annotated, report)
    return text, [(text[m.start : m.end], m.relation) for m in marks], report


def test_a_value_beside_its_lookup():
    text, values, report = found(f"He was born on {look('May 11, 1751', 'Birth')} May 11, 1751.")
    assert text == "He was born on May 11, 1751."
    assert values == [("May 11, 1751", "Birth")]
    assert (report.lookups, report.at_once, report.verbatim_share) == (1, 1, 1.0)


@pytest.mark.parametrize(
    ("annotated", "text", "values", "counter"),
    [
        (f"a {look('x y')} z and x y", "a z and x y", ["x y"], "later"),
        (f"born {look('May 8, 1980')} 8 May 1980)", "born 8 May 1980)", ["8 May 1980"],
         "reordered"),
        (f"is {look('Actor')} an actor", "is an actor", ["actor"], "other_case"),
        (f"by {look('Ann Lee, Bo Ray')} Ann Lee and Bo Ray", "by Ann Lee and Bo Ray",
         ["Ann Lee", "Bo Ray"], "in_parts"),
        (f"in {look('Stargard')}, Poland", "in Stargard, Poland", ["Stargard"], "restored"),
        (f"was {look('doubled output')} larger", "was larger", [], "lost"),
        (f"in {look('Ohio')} Iowa, not Ohioan", "in Iowa, not Ohioan", [], "lost"),
        (f"\u201cfricative {look('[ɣ]')} [ɣ]", "\u201cfricative [ɣ]", ["[ɣ]"], "at_once"),
        ("so [dblookup('No", "so ", [], "broken"),
        ("so [dblookup('No\nnext line", "so \nnext line", [], "broken"),
        ("(born ( [dblookup(\"O'Neil\", 'Year') -> 1900] 1900)", "(born (1900)", ["1900"],
         "at_once"),
        (f"{look('')} nothing", "nothing", [], "lost"),
        (f"{look('One')} {look('One', 'Other')} One", "One", ["One"], "overlapping"),
    ],
)  # fmt: skip
def test_values_are_found_verbatim_reordered_or_in_parts(annotated, text, values, counter):
    clean, marked, report = found(annotated)
    assert (clean, [value for value, _ in marked]) == (text, values)
    assert getattr(report, counter) == 1


@pytest.mark.parametrize(
    ("annotated", "text", "values"),
    [
        ("b. [dblookup('Sinéad O'Connor', 'Birth') -> 19] 19.", "b. 19.", ["19"]),
        ("b. [dblookup(\"Sinéad O'Connor\", \"Birth\") -> 19] 19.", "b. 19.", ["19"]),
        ("b. [dblookup('\"Weird Al\" Yankovic', 'In') -> Ulm] Ulm.", "b. Ulm.", ["Ulm"]),
        ("b. [dblookup('Ida, Countess of Roon', 'Title, full') -> X] X.", "b. X.", ["X"]),
        ("b. [dblookup('Ann', 'Bo', 'Year') -> 19] 19.", "b. 19.", ["19"]),
        ("b. [dblookup(\u2018Ann\u2019, \u201cYear\u201d) \u2192 19] 19.", "b. 19.", ["19"]),
        ("b. [dblookup('Ann [Lee] (poet)', 'Year') -> 19] 19.", "b. 19.", ["19"]),
        ("b. [dblookup('A -> B', 'In -> out') -> C -> D] C -> D.", "b. C -> D.", ["C -> D"]),
        ("b. [dblookup('Ann', 'Year')] -> 19] 19.", "b. 19.", ["19"]),
        (f"b. {look('Count [sic] of Roon')} Count [sic] of Roon.", "b. Count [sic] of Roon.",
         ["Count [sic] of Roon"]),
        (f"b. {look('Weird [title')} Weird [title.", "b. Weird [title.", ["Weird [title"]),
        (f"b. {look('x] y')} x] y.", "b. x] y.", ["x] y"]),
        (f"b. {look('one' + chr(10) + 'two')} one two.", "b. one two.", ["one two"]),
        (f"b. {look('“Ulm”')} Ulm.", "b. Ulm.", ["Ulm"]),
        ("b. [dblookup('Ann', 'In') -> 'Ulm'] Ulm.", "b. Ulm.", ["Ulm"]),
        ("b. [dblookup('Ann', 'In') -> 'Ulm'], Poland", "b. Ulm, Poland", ["Ulm"]),
        ("b. [dblookup('Ann', 'Song') -> \"Joy\"] \"Joy\".", "b. \"Joy\".", ['"Joy"']),
        # What cannot be read takes nothing along that it did not hold.
        (f"a [dblookup(no) -> x] b {look('c')} c", "a b c", ["c"]),
        (f"a [dblookup('no {look('c')} c", "a c", ["c"]),
        (f"a [dblookup('no', 'yes') -> {look('c')} c", "a c", ["c"]),
        ("a b [dblookup", "a b ", []),
        ("a\n\nb [dblookup('Ann', 'Ye\n\nc d] e", "a\n\nb \n\nc d] e", []),
    ],
)  # fmt: skip
def test_lookups_that_contain_brackets_and_quotes(annotated, text, values):
    clean, marked, _ = found(annotated)
    assert (clean, [value for value, _ in marked]) == (text, values)


words = st.text("abcdefgéß", min_size=1, max_size=6)


@given(st.lists(st.tuples(words, st.booleans()), min_size=1, max_size=15))
def test_labelled_words_come_back_exactly(items):
    annotated = " ".join(f"{look(w, 'r')} {w}" if fact else w for w, fact in items)
    text, marks = parse_labels(annotated)
    assert text == " ".join(word for word, _ in items)
    expected, at = [], 0
    for word, fact in items:
        if fact:
            expected.append(Mark(at, at + len(word), "VALUE", "r"))
        at += len(word) + 1
    assert marks == expected


@given(st.text("[]()'->, dblookup\nabc", max_size=80))
def test_any_annotated_text_is_parsed(text):
    clean, marks = parse_labels(f"x {text} [dblookup('a', 'b') -> c] c {text}")
    assert all(0 <= m.start < m.end <= len(clean) for m in marks)


def test_files_of_every_format(tmp_path):
    example = {"annotated_text": f"X is {look('red', 'Colour')} red.", "text": "The X\n\nX is red."}
    for name, content in {
        "lmlm.json": json.dumps({"examples": [example, {"other": 1}, example]}),
        "list.json": json.dumps([example, example]),
        "lines.jsonl": json.dumps(example) + "\n\n" + json.dumps(example) + "\n",
    }.items():
        (tmp_path / name).write_text(content)
        documents = list(read_labels(tmp_path / name))
        assert [d.text for d in documents] == ["X is red.", "X is red."]
        assert documents[0].marks == (Mark(5, 8, "VALUE", "Colour"),)
        assert documents[0].meta == {"title": "The X"}
        assert len({d.id for d in documents}) == 2
        assert len(list(read_labels(tmp_path / name, limit=1))) == 1


@pytest.mark.parametrize(
    ("content", "code"), [(None, "E13"), ("{", "E32"), ("[1]", "E32"), ('{"examples": 3}', "E32")]
)
def test_unusable_label_files_are_an_error(tmp_path, content, code):
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LacyError) as caught:
        list(read_labels(path))
    assert caught.value.code == code


@pytest.mark.skipif(
    not DATA.is_dir(), reason="needs real labels: set LACY_SHARED_DATA to a folder that holds them"
)
def test_published_labels():
    report = LabelReport()
    documents = list(read_labels(DATA / "judge/lmlm_dwiki_830.json", report=report))
    assert (len(documents), report.lookups, report.broken) == (830, 7136, 0)
    assert report.verbatim_share > 0.75
    assert report.lost < 0.09 * report.lookups
    assert not any("dblookup" in document.text for document in documents)
