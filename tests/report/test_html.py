"""The page: everything shown, nothing let through, nothing asked of a network."""

from __future__ import annotations

import math
import re
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.worlds import TinyWorld, answer
from lacy.evaluate.facts import grade
from lacy.report.curves import Curve, line_plot
from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    Passage,
    TableRow,
    bar_variables,
    format_figure,
    format_interval,
    render_html,
    write_html,
)
from lacy.report.passages import passage_parts
from lacy.results import Score
from lacy.types import Answer, Span

HOSTILE = "<script>alert(1)</script> ]]> --> </style> & \" ' {{ 7*7 }} \u202e ولدت \x00\x1b"
VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text, and whether everything is closed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


WORLD = TinyWorld()
ANSWER = Answer(
    (
        Span("Ann", "prompt", 1),
        Span(" [born=", "slm", 3),
        Span("1901", "database", 2, "margin 3.1 > 0.4", "row 7", 3.1, asked=True),
        Span("] [town=", "slm", 2),
        Span("Rome", "slm", 1, "source had no answer", margin=0.5, asked=True),
        Span("]", "slm", 1),
    ),
    True,
)
VERDICTS = grade(ANSWER, "Ann", WORLD).verdicts


@cache
def curve(text):
    return line_plot([Curve(text, [0, 1], [2, 1])], x_label="x", y_label="y")


def data(text="A title", passage=None):
    shown = passage or Passage(text, ANSWER, VERDICTS, text)
    share, count = Score(0.985, 0.97, 1.0, 1_200), Score(7.1, 6.8, 7.4, 120, "calls per answer")
    figure = PageFigure(text, curve(text), text)
    return HtmlPage(
        title=text,
        lede=text,
        headlines=[Headline(text, share, text, Score(0.31, 0.2, 0.4, 120))],
        side_by_side=[shown, shown, shown],
        tables=[
            PageTable(text, [text, "calls"], [TableRow(text, [share, count], text, True)], text)
        ],
        figures=[figure],
        passages=[shown],
        setup={text: text},
        notes=[text],
        next=[NextStep(text, text)],
    )


def test_parts_add_up_and_name_speaker_and_reason():
    found = passage_parts(ANSWER, VERDICTS)
    assert "".join(piece.text for piece in found) == ANSWER.text
    marked = [(p.text, p.speaker, p.verdict) for p in found if p.notes]
    assert marked == [("1901", "borrowed", "right"), ("Rome", "guess", "wrong")]
    borrowed, asked = (dict(p.notes) for p in found if p.notes)
    assert borrowed["speaker"] == "database"
    assert borrowed["why"] == "margin 3.1 > 0.4"
    assert borrowed["evidence"] == "row 7"
    assert asked["why"] == "source had no answer"
    assert asked["margin"] == "+0.50"
    assert asked["verdict"] == "wrong: town is Oslo"


def test_white_space_is_never_marked():
    [_, space, word, end] = passage_parts(answer("Ann", (" Oslo ", "database")))
    assert (space.text, space.notes) == (" ", ())
    assert (word.text, word.speaker) == ("Oslo", "borrowed")
    assert (end.text, end.notes) == (" ", ())


def test_plain_words_are_one_part():
    found = passage_parts(answer("Ann", *[(f" word{i}", "slm") for i in range(9)]))
    assert [p.speaker for p in found] == ["prompt", "own"]


spans = st.lists(
    st.tuples(st.text(max_size=8), st.sampled_from(["slm", "db"]), st.booleans()), max_size=6
)


@given(spans)
@settings(max_examples=80, deadline=None)
def test_no_character_is_lost_or_doubled(parts):
    made = answer("Ann", *[(text, who, 1, asked) for text, who, asked in parts])
    assert "".join(p.text for p in passage_parts(made)) == made.text


def test_page_shows_what_it_was_given():
    page = Page(render_html(data("Visible words")))
    text = " ".join(" ".join(page.text).split())
    for expected in (
        "Visible words", "98.5%", "97.0 to 100.0", "n = 1,200", "31.0%", "7.1",
        "6.8 to 7.4", "1 right, 1 wrong", "row 7", "margin 3.1 > 0.4", "three ways",
        "wrong: town is Oslo", "source had no answer",
    ):  # fmt: skip
        assert expected in text
    assert not page.open  # every tag is closed
    assert sum(tag == "svg" for tag, _ in page.tags) == 1


def test_hostile_texts_stay_texts():
    html = render_html(data(HOSTILE))
    page = Page(html)
    assert not {"script", "img", "iframe", "object", "link"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "alert(1)" in "".join(page.text)  # shown, not run
    assert "{{ 7*7 }}" in "".join(page.text)  # nor run by the template
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", html)
    assert not page.open


def test_hostile_spans_and_evidence_stay_texts():
    made = Answer(
        (Span(HOSTILE, "prompt"), Span(HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE, 1.0, asked=True))
    )
    page = Page(render_html(data("t", Passage(HOSTILE, made))))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not page.open


def test_texts_of_any_direction_are_kept_apart():
    html = render_html(data())
    assert '<p class="text" dir="auto">' in html
    assert "unicode-bidi: isolate" in html


def test_page_needs_no_network_and_no_scripts():
    html = render_html(data())
    page = Page(html)
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert not addresses
    assert "url(http" not in html and "@import" not in html
    policy = next(attributes for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy["content"].startswith("default-src 'none'")


def test_marked_words_can_be_reached_by_keyboard():
    page = Page(render_html(data()))
    marks = [
        attributes for tag, attributes in page.tags if tag == "mark" and "tabindex" in attributes
    ]
    assert len(marks) == 8  # two in each of four passages
    assert all(attributes["tabindex"] == "0" for attributes in marks)


def test_ids_are_unique():
    page = Page(render_html(data()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_light_dark_phone_and_print():
    html = render_html(data())
    for part in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print", "viewport"):
        assert part in html


def test_same_data_same_bytes():
    assert render_html(data()) == render_html(data())


def test_an_empty_page_is_valid():
    page = Page(render_html(HtmlPage("Nothing yet")))
    assert not page.open
    assert "section" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.9853, "share", "98.5%"),
        (0.99131, "AUROC", "0.991"),
        (7.123, "calls per answer", "7.12"),
        (123.4, "seconds", "123"),
        (12345.6, "tokens", "12,346"),
        (0.00123, "gap", "0.00123"),
        (math.nan, "share", "–"),
        (math.inf, "gap", "–"),
    ],
)
def test_formatted_values(value, unit, shown):
    assert format_figure(value, unit) == shown


def test_formatted_intervals():
    assert format_interval(Score(0.5, 0.25, 0.75, 9)) == "25.0 to 75.0"
    assert format_interval(Score(0.5, math.nan, math.nan, 1)) == ""
    assert bar_variables(Score(0.5, 0.25, 0.75, 9)) == "--low: 25.0%; --high: 75.0%; --value: 50.0%"
    assert bar_variables(Score(5.0, 4.0, 6.0, 9, "calls")) == ""
    assert bar_variables(Score(math.nan, math.nan, math.nan, 0)) == ""


def test_written_as_one_file(tmp_path):
    write_html(tmp_path / "out" / "report.html", data())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == render_html(data())
