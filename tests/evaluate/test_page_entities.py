"""Recall against a page: which of its entities a text states, in any spelling, by length."""

import pytest

from helpers.worlds import answer
from lacy.evaluate import article_counts
from lacy.evaluate.article_counts import counts_by_length
from lacy.evaluate.entities import ArticleText, find_numbers
from lacy.evaluate.page_entities import PageEntities, end_of_words
from lacy.evaluate.page_problems import is_english, page_problems
from lacy.results import ratio_scores
from lacy.types import Document, Mark

PAGE = (
    "Ann Bell (27 July 1942 – 1999) was a painter. Her husband Bob Hill sold 1,234 works to the "
    "University of Oslo. Hill died in 2001."
)


def marks_of(text, *found):
    """Marks of texts, with labels: (text, label)."""
    place, marks = 0, []
    for part, label in found:
        place = text.index(part, place)
        reason = {"DATE": "DATE", "CARDINAL": "NUMBER"}.get(label, "ENTITY")
        marks.append(Mark(place, place + len(part), reason, label=label))
        place += len(part)
    return marks


PAGE_MARKS = marks_of(
    PAGE, ("Ann Bell", "PERSON"), ("27 July 1942", "DATE"), ("1999", "DATE"),
    ("Bob Hill", "PERSON"), ("1,234", "CARDINAL"), ("University of Oslo", "ORG"),
    ("Hill", "PERSON"), ("2001", "DATE"),
)  # fmt: skip


def stated(text, *found, prompt="Ann Bell"):
    page = PageEntities(PAGE, PAGE_MARKS, ArticleText(prompt))
    return page.stated(text, marks_of(text, *found))


def test_the_prompts_entities_and_repeated_names_do_not_count():
    assert len(PageEntities(PAGE, PAGE_MARKS, ArticleText("Ann Bell"))) == 6
    assert len(PageEntities(PAGE, PAGE_MARKS, ArticleText("Ann Bell (27 July 1942"))) == 5
    assert len(PageEntities("", [], ArticleText(""))) == 0


@pytest.mark.parametrize(
    ("text", "found", "number"),
    [
        ("July 27, 1942", [("July 27, 1942", "DATE")], 1),
        ("1942-07-27", [], 1),
        ("1942", [("1942", "DATE")], 0),  # the page says more
        ("on 3 May 1999", [("3 May 1999", "DATE")], 1),
        ("1234 works", [("1234", "CARDINAL")], 1),
        ("the painter Bob Hill", [("Bob Hill", "PERSON")], 1),
        ("married to Hill", [("Hill", "PERSON")], 1),
        ("on a Hill", [], 0),  # not a person
        ("Oslo", [("Oslo", "GPE")], 0),  # a part of another kind of name
        ("the university of oslo", [], 1),
        ("", [], 0),
    ],
)
def test_spellings(text, found, number):
    assert stated(text, *found) == number


def test_a_last_word_that_the_prompt_has_stands_for_nobody():
    page = "Ann Bell was a sister of Cyd Bell."
    marks = marks_of(page, ("Ann Bell", "PERSON"), ("Cyd Bell", "PERSON"))
    found = PageEntities(page, marks, ArticleText("Ann Bell"))
    assert len(found) == 1
    assert found.stated("Bell sang.", marks_of("Bell sang.", ("Bell", "PERSON"))) == 0


def test_numbers_with_scales():
    assert find_numbers("5 million") == find_numbers("5,000,000") == {5e6}
    assert find_numbers("3.5 billion people") == {3.5e9}
    assert find_numbers("5 millions of it") == {5.0}


def fake(texts):
    """Names are words with a capital."""
    import re

    return [
        [Mark(m.start(), m.end(), "ENTITY") for m in re.finditer(r"[A-Z]\w+", text)]
        for text in texts
    ]


def test_saying_little_and_saying_much_show_in_precision_and_recall():
    reference = "Ann met Bob and Cyd and Dee and Eve"
    short = answer("Ann met", (" Bob", "slm"))
    much = answer("Ann met", (" Bob and Fox and Cyd and Gus and Dee and Eve", "slm"))
    scores = [ratio_scores(article_counts([text], [reference], fake)) for text in (short, much)]
    assert [s["entities_right"].value for s in scores] == [1.0, pytest.approx(4 / 6)]
    assert [s["page_recall"].value for s in scores] == [0.25, 1.0]
    assert [s["entity_f1"].value for s in scores] == [pytest.approx(2 / 5), pytest.approx(8 / 10)]


def test_the_first_words_of_a_text_are_scored_alone():
    reference = "Ann " + " ".join(f"met Nr{n} " for n in range(60))
    text = answer("Ann", (" met Nr1" + " met Zoe" * 30, "slm"))
    counts, shorter = counts_by_length([text], [reference], fake)
    assert list(shorter) == [25, 50]
    assert shorter[25]["entities"].tolist() == counts["entities"].tolist() == [2]
    assert shorter[25]["page_stated"].tolist() == [1]
    assert end_of_words(text, 2) == len("Ann met Nr1") and end_of_words(text, 999) == len(text.text)
    assert end_of_words(answer("Ann"), 5) == 3


def test_empty_texts_and_unknown_subjects_are_counted():
    texts = [
        answer("Ann"),
        answer("Ann", (" sings", "slm", 1, True)),
        answer("Ann", (" Bob", "db")),
    ]
    found = article_counts(texts, ["Ann", "Ann", "Ann"], fake)
    assert found["empty"].tolist() == [1, 0, 0] and found["unknown"].tolist() == [0, 1, 0]


FRENCH = (
    "Marie Curie, née le 7 novembre 1867 à Varsovie et morte le 4 juillet 1934 à Passy, est une "
    "physicienne et chimiste polonaise, naturalisée française par son mariage."
)


def test_problems_of_pages_are_counted_and_none_is_dropped():
    texts = [("Ann", PAGE), ("ann", "other"), ("", ""), (None, FRENCH), ("Bob", FRENCH)]
    pages = [Document(str(n), text, {"title": t}) for n, (t, text) in enumerate(texts)]
    assert page_problems(pages) == {
        "articles_repeated": 1, "articles_empty": 1, "articles_foreign": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "english"),
    [
        (PAGE, True), (FRENCH, False), ("Ann Bell, Oslo, 1901", True), ("", True),
        ("玛丽·居里是一位波兰裔法国籍物理学家和化学家" * 9, False),
    ],
)  # fmt: skip
def test_english(text, english):
    assert is_english(text) is english


def test_a_page_of_a_megabyte():
    page = f"{PAGE} " * (1_000_000 // len(PAGE) + 1)
    text = answer("Ann Bell", (" married Bob Hill of Rome.", "slm"))
    counts = article_counts([text], [page], fake)
    assert counts["page_entities"][0] == 6 and counts["page_stated"][0] == 2
