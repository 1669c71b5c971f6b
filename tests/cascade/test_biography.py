"""The notation of encyclopedias: life dates, definitions, and places with their regions."""

import pytest

from lacy.cascade.biography import definition_in, places_in, spelled_out


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("Ada (1815 – 1852) was", "Ada (born 1815; died 1852) was"),
        ("Ada (5 May 1815–6 June 1852) was", "Ada (born 5 May 1815; died 6 June 1852) was"),
        (
            "Ada (10 May 1815, Opole, Poland – 27 June 1852 in Kiel) was",
            "Ada (born 10 May 1815 in Opole, Poland; died 27 June 1852 in Kiel) was",
        ),
        (
            "Ada (Genoa, Italy, 1666 – Madrid, 1724) was",
            "Ada (born in Genoa, Italy, 1666; died in Madrid, 1724) was",
        ),
        (
            "Ada (née King; 10 May 1815 – 27 June 1852) was",
            "Ada (née King; born 10 May 1815; died 27 June 1852) was",
        ),
        ("Ada (born 1815 in Opole) is", "Ada (born 1815 in Opole) is"),
        ("Ada (reigned 1203–1222) was", "Ada (reigned 1203–1222) was"),
        ("Ada was a poet.", "Ada was a poet."),
        ("x" * 500 + " (1815 – 1852)", "x" * 500 + " (1815 – 1852)"),
    ],
)
def test_life_dates_are_spelled_out(passage, expected):
    assert spelled_out(passage) == expected


@pytest.mark.parametrize(
    ("passage", "subject", "verb", "article", "words"),
    [
        (
            "Ada King (1815 – 1852) was an English writer and Liberal Party politician.",
            "Ada King", "was", "an", "English writer and Liberal Party politician",
        ),
        (
            "Ada King: Augusta Ada (born 1950; see below) is a former singer, dancer and actress "
            "who lives in Rome.", "Ada King", "is", "a", "former singer, dancer and actress",
        ),
        (
            "Ada King is a singer and acting coach, making her first film.", "Ada King",
            "is", "a", "singer and acting coach",
        ),
        (
            "Ada King is a news anchor for WCVB-TV. He is tall.", "Ada King",
            "is", "a", "news anchor for WCVB-TV",
        ),
        (
            "A. B. King was one of the best known painters of Opole.", "A. B. King",
            "was", "one of the", "best known painters of Opole",
        ),
    ],
)  # fmt: skip
def test_a_definition_says_what_someone_is(passage, subject, verb, article, words):
    found = definition_in(passage, subject)
    assert (found.verb, found.article, found.words) == (verb, article, words)


@pytest.mark.parametrize(
    "passage",
    [
        "Her father was a sailor.",
        "Ada King lived in Opole. Her father was a sailor.",
        "Ada King is the Prime Minister.",
        "Ada King lives in Opole.",
        "",
    ],
)
def test_sentences_about_something_else_define_nothing(passage):
    assert definition_in(passage, "Ada King") is None


def test_places_come_with_the_regions_that_contain_them():
    text = "Born in Vinga, Arad County in May 1990, she lives near St. Louis. In Rome, Ada sang."
    assert [place for _, place in places_in(text)] == ["Vinga, Arad County", "St. Louis"]
    assert [place for _, place in places_in("from Kiel, Idukki district, Kerala is")] == [
        "Kiel, Idukki district, Kerala"
    ]
