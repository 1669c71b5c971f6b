"""Other spellings of names: what is linked, what is not, and the reasons given."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.sources.names import EntityLinker, NameIndex, normalize
from lacy.sources.names.linking import THRESHOLD
from lacy.sources.names.spelling import similarity

NAMES = [
    "Ada Lovelace",
    "J. R. R. Tolkien",
    "Zoë O'Connell-Łuczak",
    "Curie, Marie",
    "Paris, Texas",
    "World War I",
    "1990 Grand Prix",
    "Margaret Thornbury",
    "Margaret Thornburg",
    "Wilhelmina",
    "山田太郎",
]


@pytest.fixture(scope="module")
def linker():
    return EntityLinker(NAMES)


@pytest.mark.parametrize(
    ("text", "name", "stage"),
    [
        ("Ada Lovelace was born", "Ada Lovelace", "exact"),
        ("ADA LOVELACE was born", "Ada Lovelace", "normalised"),
        ("ada lovelace was born", "Ada Lovelace", "normalised"),
        ("Lovelace, Ada was born", "Ada Lovelace", "normalised"),
        ("In Bath, Ada  LOVELACE’s house", "Ada Lovelace", "normalised"),
        ("J.R.R. Tolkien wrote", "J. R. R. Tolkien", "normalised"),
        ("JRR Tolkien wrote", "J. R. R. Tolkien", "normalised"),
        ("Zoe OConnell Luczak met", "Zoë O'Connell-Łuczak", "normalised"),
        ("Marie Curie found", "Curie, Marie", "normalised"),
        ("Paris Texas is", "Paris, Texas", "normalised"),
        ("Ada Lovelase was born", "Ada Lovelace", "similar"),
        ("When Ada Lovelase was born", "Ada Lovelace", "similar"),
        ("Ada Lovelase was born.\n\nLater in", "Ada Lovelace", "similar"),
        ("Wilhelmina was", "Wilhelmina", "exact"),
    ],
)
def test_other_spellings_are_linked(linker, text, name, stage):
    link, why = linker.find(text)
    assert (link.name, link.stage, why) == (name, stage, "")


@pytest.mark.parametrize(
    "text",
    [
        "Nobody was born",
        "Oda Lovelace was born",  # another first letter
        "Ada May Lovelase was born",  # another count of words
        "World War II began",
        "1991 Grand Prix was",
        "Ada. Lovelace was",  # two sentences
        "so ada lovelace was Born",  # small letters in a text that has capitals
        "Tom Brill met Ada Lovelase in",  # whom it names first is not known
        "Margaret Thornberry was",
        "the wilhelmina was",
        "",
        " \n\n ",
    ],
)
def test_doubtful_names_are_not_linked(linker, text):
    assert linker.find(text)[0] is None


def test_an_ambiguous_name_is_reported(linker):
    link, why = linker.find("Margaret Thornburk was born")
    assert link is None
    assert why == ("'Margaret Thornburk' may mean 'Margaret Thornburg' or 'Margaret Thornbury'")
    link, why = EntityLinker(["Zoe Bell", "Zoë Bell"]).resolve("ZOE BELL")
    assert link is None and why == "'ZOE BELL' may mean 'Zoe Bell' or 'Zoë Bell'"


def test_a_link_notes_the_mention_and_the_name(linker):
    link, _ = linker.resolve("Ada Lovelase")
    assert link.note == "'Ada Lovelase' read as 'Ada Lovelace', similarity 0.92"
    assert linker.resolve("ADA LOVELACE")[0].note == "'ADA LOVELACE' read as 'Ada Lovelace'"
    assert linker.resolve("Ada Lovelace")[0].note == ""
    assert linker.resolve("Ada Void") == (None, "")


def test_without_fuzzy_only_exact_names_are_linked():
    linker = EntityLinker(NAMES, fuzzy=False)
    assert linker.find("ADA LOVELACE was") == (None, "") == linker.resolve("Ada Lovelase")
    assert linker.find("Ada Lovelace was")[0].name == "Ada Lovelace"


@pytest.mark.parametrize(
    ("one", "other", "much"),
    [
        ("ada lovelace", "ada lovelace", 1.0),
        ("ada lovelace", "ada lovelase", 1 - 1 / 12),
        ("ada lovelace", "ada lvoelace", 1 - 1 / 12),
        ("ada lovelace", "ada lovelacee", 1 - 1 / 13),
        ("ada lovelace", "ada lvelase", 1 - 2 / 12),
        ("ada lovelace", "ada live", 0.0),
        ("ada lovelace", "ida lovelace", 0.0),
        ("ada lovelace", "adb lovelace", 0.0),
        ("louis xiv of france", "louis xvi of france", 0.0),
        ("", "", 1.0),
    ],
)
def test_similarity(one, other, much):
    assert similarity(one, other) == pytest.approx(much) if one else True
    assert similarity(one, other) == similarity(other, one) if one else True


odd = st.one_of(st.text(max_size=30), st.text("abAB .,'-()\n\"", max_size=20))


@settings(deadline=None)
@given(st.lists(odd, max_size=8), odd)
def test_any_text_is_linked_to_a_known_name_or_none(names, text):
    linker = EntityLinker(names)
    for link, why in (linker.find(text), linker.resolve(text)):
        if link is not None:
            assert link.name in names and why == ""
            assert link.stage != "similar" or THRESHOLD <= link.similarity < 1
    exact = NameIndex(names).find(text)
    if exact is not None:  # nothing else changes what was found before
        assert linker.find(text)[0].name == exact
        assert linker.find(text)[0].stage == "exact"


@given(odd)
def test_normalize_is_idempotent(name):
    assert normalize(normalize(name)) == normalize(name)


letters = st.text("abcdefgh", min_size=5, max_size=9)


def test_words_of_roman_digits_are_no_numbers():
    linker = EntityLinker(["Nemanja Vidicc", "Henry XVIII"])
    assert linker.resolve("Nemanja Viddicc")[0].name == "Nemanja Vidicc"
    assert linker.resolve("Henry XXVIII")[0] is None


@settings(deadline=None)
@given(letters, letters, st.integers(0, 20), st.sampled_from("abcdefgh"))
def test_one_typo_in_a_long_name_is_accepted(first, last, at, letter):
    name = f"{first} {last}".title()
    at = at % len(name)
    if name[at].isspace() or at in (0, len(first) + 1):
        return  # first letters and the count of words must be right
    wrong = name[:at] + letter + name[at + 1 :]
    link, _ = EntityLinker([name, "Somebody Else"]).resolve(wrong)
    expected = wrong == name or 1 - 1 / len(name) >= THRESHOLD
    assert (link is not None and link.name == name) == expected
