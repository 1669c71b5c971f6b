"""The data loop: what happened and what users said becomes marks, lists and counts."""

import csv
import io
import json
import stat
from dataclasses import replace

import pytest

from helpers import pages
from helpers.records import SPANS, answer, verdict
from lacy.corpus import read
from lacy.records import RecordedAnswer
from lacy.tune.gaps import count_relations, disputed_csv, unanswered_csv
from lacy.tune.served import _draft, _marked
from lacy.types import Mark, Span

TEXT = "Geheim Mara was born in Ulm on 3 May 1900."
BASE = len("Geheim Mara")
OWN = [Mark(31, 41, "DATE")]
"""What an annotator finds in the model's own words."""


def lacy(*argv):
    return pages.lacy(*map(str, argv))


def judged(*verdicts, **how):
    return RecordedAnswer(answer(**how), list(verdicts))


def marked(*verdicts, marks=OWN, **how):
    draft = _draft(judged(*verdicts, **how))
    document = _marked(draft, marks)
    return {document.text[m.start : m.end]: m for m in document.marks}, document, draft.labels


def test_values_of_sources_are_marked_with_their_relation():
    found, document, labels = marked(marks=())
    assert document.text == TEXT and list(found) == ["Ulm"]
    assert found["Ulm"].relation == "birthplace" and document.meta == {"title": "Mara"}
    assert labels == {"borrowed": 1, "nothing": 1}


def test_without_verdicts_the_annotator_marks_own_words():
    found, _, labels = marked()
    assert list(found) == ["Ulm", "3 May 1900"] and found["3 May 1900"].reason == "DATE"
    assert labels == {"borrowed": 1, "nothing": 1}


def test_own_words_marked_as_wrong_are_a_value():
    found, _, labels = marked(verdict(start=20, end=25), marks=())
    assert list(found) == ["Ulm", "3 May"] and found["3 May"].reason == "VALUE"
    assert labels["wrong"] == 1
    # signs and spaces around it do not belong to it, cut words are completed,
    # and the annotator knows its kind
    found, _, _ = marked(verdict(start=19, end=31))
    assert found.keys() == {"Ulm", "3 May 1900"} and found["3 May 1900"].reason == "DATE"


def test_the_right_value_replaces_the_wrong_one():
    found, document, _ = marked(
        verdict(start=20, end=30, correct="12 June 1899"), marks=[Mark(31, 43, "DATE")]
    )
    assert document.text == "Geheim Mara was born in Ulm on 12 June 1899."
    assert list(found) == ["Ulm", "12 June 1899"]
    # of a source's value too; parts behind it move
    found, document, _ = marked(
        verdict(start=12, end=16, correct="Regensburg"),
        verdict(start=20, end=30, correct="1 May 1900"), marks=(),
    )  # fmt: skip
    assert document.text == "Geheim Mara was born in Regensburg on 1 May 1900."
    assert list(found) == ["Regensburg", "1 May 1900"]


def test_confirmed_words_are_not_marked_and_the_last_verdict_counts():
    right = verdict(what="right", start=20, end=30)
    found, _, labels = marked(right)
    assert list(found) == ["Ulm"] and labels["confirmed"] == 1
    assert list(marked(verdict(start=20, end=30), right)[0]) == ["Ulm"]
    assert list(marked(right, verdict(start=20, end=30))[0]) == ["Ulm", "3 May 1900"]


def test_a_confirmed_answer_keeps_the_values_of_its_sources():
    assert list(marked(verdict(what="right"))[0]) == ["Ulm"]


def test_a_long_passage_is_no_value():
    text = " the great city of all those kings and queens of old times in 1900"
    spans = [Span(text, "slm", 9)]
    year = Mark(BASE + text.index("1900"), BASE + len(text), "DATE")
    found, _, _ = marked(verdict(start=0, end=len(text)), spans=spans, marks=[year])
    assert list(found) == ["1900"]


def test_a_call_without_an_answer_at_a_value_is_a_gap():
    spans = [SPANS[0], replace(SPANS[2], text=" Ulm"), SPANS[3]]
    found, _, labels = marked(spans=spans, marks=[Mark(24, 27, "ENTITY")])
    assert list(found) == ["Ulm"] and labels == {"gap": 1}


def test_an_echoed_prompt_is_not_read_twice():
    spans = [Span("Geheim Mara", "prompt", 3), *SPANS]
    found, document, _ = marked(verdict(start=11 + 20, end=11 + 30), spans=spans, marks=())
    assert document.text == TEXT and list(found) == ["Ulm", "3 May 1900"]


def test_records_without_texts_make_no_training_text():
    assert _draft(judged(texts=False)) is None


def test_counts_by_relation():
    answers = [
        judged(verdict(start=13, end=16), verdict(start=20, end=30), verdict(what="right")),
        judged(texts=False),
    ]
    place, unknown, own = count_relations(answers)
    assert (place.relation, place.calls, place.answered, place.wrong) == ("birthplace", 2, 2, 1)
    assert unknown.unanswered == 2 and unknown.missing == {"not found": 2}
    assert (own.wrong, own.right) == (1, 1)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_lists_of_gaps_and_disputes():
    known = replace(SPANS[2], relation="award", subject="=Mara", missing="none fits")
    answers = [
        judged(verdict(start=13, end=16, correct="Bonn"), spans=[*SPANS[:2], known, SPANS[3]]),
        judged(spans=[*SPANS[:2], known, SPANS[3]], texts=False), judged(), judged(texts=False),
    ]  # fmt: skip
    text, count = unanswered_csv(answers)
    first, second = rows(text)
    assert count == 2 and first["subject"] == "'=Mara" and first["relation"] == "award"
    assert (first["count"], first["value"], first["missing"]) == ("2", "", "none fits")
    assert second["text_before"].endswith("born in Ulm") and second["model_wrote"].startswith("on")
    [disputed] = rows(disputed_csv(answers)[0])
    assert (disputed["source"], disputed["value"], disputed["correct"]) == ("book", "Ulm", "Bonn")


# ----------------------------------------------------------------------------- as it is typed


@pytest.fixture
def served(kept):
    """Records of twelve people: where each was born is borrowed, when is invented."""
    records = []
    for n in range(12):
        name = f"Mara Vell{n}"
        spans = [replace(SPANS[1], text=f" Ulm{n}"), *SPANS[2:]]
        records.append(answer(n, spans=spans, prompt=f"{name} was born in the old city of"))
        start = len(f" Ulm{n} on ")
        if n % 2:
            records.append(verdict(n, start=start, end=start + 10, correct=f"4 May 18{n:02}"))
    return kept(*records)


def test_the_loop_as_it_is_typed(served, raw_folder, articles, tmp_path, capsys):
    out = tmp_path / "data"
    flags = ["--pipeline", "bundled"]
    assert lacy("data", "loop", served, "--out", out, "--model", raw_folder, *flags) == 0
    shown = capsys.readouterr()
    assert "birthplace" in shown.out and "not found 12" in shown.out
    assert "12 of 12 answers are of other weights" in shown.err
    assert f"Next: lacy tune {raw_folder} --data {out} --replay ARTICLES" in shown.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    summary = json.loads((out / "loop.json").read_text())
    assert summary["labels"]["borrowed"] == 12 and summary["labels"]["wrong"] == 6
    documents = list(read(out / "marked.jsonl"))
    assert len(documents) == summary["documents"] == 12
    texts = [d.text for d in documents]
    assert any("4 May 1801" in text for text in texts)
    # the next step is typed as it is shown, with the articles of the first tuning
    from lacy.corpus import write_documents

    write_documents(articles, tmp_path / "first.jsonl")
    argv = ["tune", raw_folder, "--data", out, "--replay", tmp_path / "first.jsonl"]
    assert lacy(*argv, "--out", tmp_path / "next") == 0
    assert "Replay: 24 articles" in capsys.readouterr().err
    meta = json.loads((tmp_path / "next" / "lacy.json").read_text())["tune"]
    assert meta["articles"] == 36


def test_the_same_command_replaces_its_data_but_nothing_else(served, tmp_path, capsys):
    out, flags = tmp_path / "data", ["--pipeline", "bundled"]
    assert lacy("data", "loop", served, "--out", out, *flags) == 0
    first = (out / "marked.jsonl").read_bytes()
    assert lacy("data", "loop", served, "--out", out, *flags) == 0
    assert (out / "marked.jsonl").read_bytes() == first
    assert lacy("data", "loop", served, "--out", out, "--judged", *flags) == 0
    assert len((out / "marked.jsonl").read_text().splitlines()) == 6
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    assert lacy("data", "loop", served, "--out", tmp_path / "mine", *flags) == 2
    assert "E16" in capsys.readouterr().err and (tmp_path / "mine" / "letter.txt").exists()


def test_damaged_lines_are_named(served, tmp_path, capsys):
    [path] = served.glob("*.jsonl")
    path.write_bytes(b"{broken\n" + path.read_bytes())
    assert lacy("data", "loop", served, "--out", tmp_path / "d", "--pipeline", "bundled") == 0
    assert f"Skipped 1 lines: not valid JSON ({path.name}:1)" in capsys.readouterr().err


def test_records_without_texts_still_make_lists(kept, tmp_path, capsys):
    logs = kept(answer(texts=False), verdict(start=13, end=16))
    assert lacy("data", "loop", logs, "--out", tmp_path / "d") == 0
    shown = capsys.readouterr().out
    assert "--log-texts" in shown and "disputed.csv" in shown and "lacy tune" not in shown
    assert not (tmp_path / "d" / "marked.jsonl").exists()
    assert "birthplace" in (tmp_path / "d" / "disputed.csv").read_text()


def test_no_records(tmp_path, capsys):
    assert lacy("data", "loop", tmp_path / "none", "--out", tmp_path / "d") == 2
    assert "--log-calls" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert lacy("data", "loop", tmp_path / "empty", "--out", tmp_path / "d") == 3
    assert "E204" in capsys.readouterr().err
