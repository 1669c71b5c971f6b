"""What ``check_marks`` counts and shows."""

import io

import pytest
from rich.console import Console

from lacy.annotate import check as module
from lacy.annotate.align import encode_many
from lacy.annotate.check import check_marks
from lacy.corpus import Encoded, PackedData, train_tokenizer
from lacy.types import Document, Mark, MarkFlag

TOKENIZER = train_tokenizer(["Köln is a city since 1945"] * 20, 300)


def shown(check):
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(check)
    return console.file.getvalue()


def documents():
    text = "Köln is a city since 1945"
    yield Document("good", text, marks=(Mark(0, 4, "ENTITY"), Mark(21, 25, "DATE")))
    yield Document("content", text, marks=(Mark(10, 14, "CONTENT"),))


def test_shares_are_those_of_the_encoded_tokens():
    check = check_marks(documents(), TOKENIZER)
    encoded = list(encode_many(documents(), TOKENIZER))
    marks = [mark for item in encoded for mark in item.marks[1:-1]]
    assert check.tokens == len(marks) and check.documents == 2 and check.unmarked == 1
    for flag in (MarkFlag.FACT, MarkFlag.START, MarkFlag.DATE, MarkFlag.ENTITY, MarkFlag.CONTENT):
        wanted = sum(bool(mark & flag) for mark in marks)
        assert wanted and check.flags[flag.name] == wanted
        assert check.shares[flag.name] == wanted / len(marks)
    assert check.sound and not check.straddles
    assert "FACT" in shown(check) and "25%" in shown(check) and "straddle" not in shown(check)


def test_tokens_that_straddle_an_edge_are_named():
    text = "Köln is a city"
    check = check_marks([Document("a", text, marks=(Mark(11, 14, "KEYWORD"),))], TOKENIZER)
    assert check.straddles == 1
    found = check.examples[0]
    assert (found.document, found.token.strip(), found.marked) == ("a", "city", "ity")
    assert text[found.start : found.end] == found.token
    assert "straddle" in shown(check) and "'ity'" in shown(check)


def test_tokens_over_two_marks_do_not_straddle():
    marks = (Mark(10, 12, "DATE"), Mark(12, 14, "DATE"))
    assert check_marks([Document("a", "Köln is a city", marks=marks)], TOKENIZER).straddles == 0


def test_marks_out_of_place_are_counted_not_fatal():
    marks = (
        Mark(0, 9, "DATE"),
        Mark(0, 3, "DATE"),
        Mark(2, 4, "DATE"),
        Mark(3, 4, "DATE"),
        Mark(1, 1, "DATE"),
    )
    check = check_marks([Document("a", "abc d", marks=marks)], TOKENIZER)
    assert (check.outside, check.blank, check.merged) == (1, 2, 1)
    assert not check.sound
    assert "outside their text" in shown(check)


def test_samples_are_parts_of_the_text_with_flags():
    check = check_marks(documents(), TOKENIZER, samples=1)
    ((name, pieces),) = check.samples
    assert name == "good"
    assert "".join(piece for piece, _ in pieces) == "Köln is a city since 1945"
    marked = "".join(piece for piece, flag in pieces if flag & MarkFlag.FACT)
    assert marked == "Köln1945"
    output = shown(check)
    assert "Köln is a city since 1945" in output and "[" not in output.split("good")[1]
    colours = next(module._sample_texts(check)).spans
    assert module.STYLES[MarkFlag.DATE] in {span.style for span in colours}


def test_text_that_looks_like_markup_is_shown_as_it_is():
    text = "Köln [bold]is[/bold] :smile: [/] a city"
    check = check_marks([Document("a", text, marks=(Mark(0, 4, "ENTITY"),))], TOKENIZER)
    assert text in shown(check)


def test_long_samples_are_cut(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_CHARACTERS", 10)
    check = check_marks(documents(), TOKENIZER)
    text = "".join(piece for piece, _ in check.samples[0][1])
    assert text.endswith("…") and len(text) < 20


def test_packed_data_gives_the_same_shares(tmp_path):
    group = [next(documents()) for _ in range(30)]
    data = PackedData.write(encode_many(group, TOKENIZER), TOKENIZER, 64, tmp_path / "data")
    packed, plain = check_marks(data, samples=2), check_marks(group, TOKENIZER)
    assert packed.flags == plain.flags
    assert packed.tokens == plain.tokens + 2 * len(group)  # begin and end
    assert packed.sound and packed.unmarked == 0
    assert len(packed.samples) == 2
    pieces = packed.samples[0][1]
    assert "".join(piece for piece, _ in pieces).startswith("Köln is a city since 1945Köln")
    assert ("1945", int(MarkFlag.FACT | MarkFlag.DATE)) in pieces
    assert "row with" in shown(packed)


@pytest.mark.parametrize(
    "flag",
    [
        MarkFlag.START,
        MarkFlag.DATE,
        MarkFlag.FACT,
        MarkFlag.FACT | MarkFlag.DATE | MarkFlag.CONTENT,
    ],
)
def test_contradicting_flags_are_counted(tmp_path, flag):
    fine = int(MarkFlag.FACT | MarkFlag.START | MarkFlag.DATE)
    bad = Encoded("a", [0, 5, 6, 7, 0], [0, int(flag), fine, int(MarkFlag.CONTENT), 0])
    check = check_marks(PackedData.write([bad], TOKENIZER, 16, tmp_path / "data"))
    assert check.inconsistent == 1 and not check.sound
    assert "contradicting" in shown(check)


def test_documents_need_a_tokenizer():
    with pytest.raises(ValueError, match="tokenizer"):
        check_marks(documents())


def test_nothing_to_check():
    check = check_marks([], TOKENIZER)
    assert check.tokens == 0 and check.shares["FACT"] == 0.0
    assert "0 tokens" in shown(check)
