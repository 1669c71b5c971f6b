"""Names in texts: symbols belong to a name, and part of a longer name does not match."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.sources.names import EntityLinker, NameIndex, normalize, subject_key
from lacy.sources.names.boundaries import is_complete_name, unify_characters

SIGNS = [
    "C", "C++", "C#", "C--", "F", "F#", "A", "A*", "B-", "Yahoo!", "Yahoo", "AC/DC", "K-9", "$5",
    "H&M", "AT&T", "Guns N' Roses", ".NET", "Node.js", "P!nk", "Ke$ha", "Panic! at the Disco",
    "M*A*S*H", "McDonald's", "McDonald", "Python 3.5", "Python 35", "E=mc²",
]  # fmt: skip
FRAMES = ["{} was founded in", "In 1990 {} was", "the maker of {}, in", "({}) was", "“{}” is", "{}"]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", SIGNS)
def test_a_name_with_symbols_is_found_among_others(name, frame):
    link, why = EntityLinker(SIGNS).find(frame.format(name))
    assert (link.name, link.stage, why) == (name, "exact", "")


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("C++", "C"), ("C++", "C#"), ("C++", "C+"), ("C++", "C++11"), ("C", "C++"), ("C", "C#"),
        ("C", "C♯"), ("C", "C--"), ("C", "C ++"), ("F#", "F"), ("F", "F♯"), ("A*", "A"),
        ("A", "A*"), ("A", "A+"), ("Yahoo!", "Yahoo"), ("Yahoo", "Yahoo!"), ("AC/DC", "AC"),
        ("AC", "AC/DC"), ("DC", "AC/DC"), ("AC/DC", "ACDC"), ("K", "K-9"), ("9", "K-9"),
        ("K-9", "K"), ("5", "$5"), ("$5", "5"), ("H", "H&M"), ("M", "H&M"), ("H&M", "HM"),
        ("R", "R & B"), (".NET", "NET"), ("NET", ".NET"), ("B", "B-"), ("Node", "Node.js"),
        ("Panic", "Panic! at the Disco"), ("McDonald", "McDonald's"), ("McDonald's", "McDonald"),
        ("GPT-35", "GPT-3.5"), ("Python 3", "Python 3.5"), ("Guns N", "Guns N' Roses"),
        ("Na", "Na⁺"), ("F", "F♭"), ("A", "A×B"), ("N", "№N"),
        ("Yahoo Incorporated", "Yahoo! Incorporated"), ("Incorporated", "Yahoo! Incorporated"),
    ],
)  # fmt: skip
def test_names_with_different_symbols_are_different(known, asked):
    linker = EntityLinker([known])
    assert linker.find(f"{asked} was founded in")[0] is None
    assert linker.resolve(asked)[0] is None


def test_trademarks_and_bullets_are_no_symbols():
    for text in ("Yahoo™ was", "Yahoo® is", "→Yahoo was", "■Yahoo was"):
        assert NameIndex(["Yahoo"]).find(text) == "Yahoo"


def test_a_symbol_may_be_a_variant():
    linker = EntityLinker(
        ["C#", "C++", "Guns N' Roses", "Smith & Wesson", "Node.js", "Jean-Luc Vell"]
    )
    for asked, name in (
        ("C＋＋", "C++"), ("Smith and Wesson", "Smith & Wesson"), ("Nodejs", "Node.js"),
        ("Jean Luc Vell", "Jean-Luc Vell"),
    ):  # fmt: skip
        link, _ = linker.resolve(asked)
        assert (link.name, link.stage) == (name, "normalised")
    for asked, name in (
        ("C♯", "C#"), ("Guns N’ Roses", "Guns N' Roses"), ("Jean‑Luc Vell", "Jean-Luc Vell"),
    ):  # fmt: skip
        for link in (linker.resolve(asked)[0], linker.find(f"{asked} was")[0]):
            assert (link.name, link.stage) == (name, "exact")


LONGER = [
    ("Ada Love", "Ada Love-Smith was"), ("Ada Love", "Ada Love‐Smith was"),
    ("Ada Love", "Ada Love–Smith was"), ("Ada Love", "Ada Love/Smith was"),
    ("Love", "Ada Love was"), ("La Mare", "De La Mare was"),
    ("Βελ", "Η Μάρα Βελ γεννήθηκε"), ("Ada Love", "Mary Ada Love was"),
    ("Ada Love", "M. Ada Love was"),
    ("Ada Love", "Ada Love Jr. was"), ("Ada Love", "Ada Love, Jr. was"),
    ("Paris", "Paris Hilton was"), ("Paris", "PARIS HILTON was"), ("Paris", "Paris, Texas was"),
    ("Texas", "Paris, Texas was"), ("Paris", "The University of Paris was"),
    ("Paris", "Paris–Nice was"), ("Paris", "#Paris was"), ("London", "Jack London was"),
    ("New York", "New York City FC was"), ("New York", "new york city fc was"),
    ("New York City", "New York City FC was"), ("York", "The Duke of York was"),
    ("Louis", "Louis XIV was"), ("Apollo", "Apollo 11 was"),
    ("Grand Prix", "The 1990 Grand Prix was"), ("Catherine", "Catherine of Aragon was"),
    ("Leonardo", "Leonardo da Vinci was"), ("Alexander", "Alexander the Great was"),
    ("Gogh", "Vincent van Gogh was"), ("Simon", "Simon & Garfunkel was"),
    ("Garfunkel", "Simon & Garfunkel was"), ("Trinidad", "Trinidad and Tobago was"),
    ("Paul", "St. Paul was"), ("Eliot", "T. S. Eliot was"), ("John F", "John F. Kennedy was"),
    ("Washington", "Washington D.C. was"), ("Halley", "Halley's Comet was"),
    ("Japan", "Yahoo! Japan was"), ("Mara Vell", "Mara Vell Foundation was"),
    ("Mara Vell", "The Mara Vell Prize was"), ("Humphry Ward", "Mrs. Humphry Ward was"),
    ("Ada Lovelace", "Mary Ada Lovelase was"), ("Neill", "O'Neill was"),
    ("Visual Basic", "Visual Basic .NET was"), ("C++", "Visual C++ was"), ("C++", "C++/CLI was"),
    ("Music", "C# Music was"), ("Pac-Man", "Ms. Pac-Man was"), ("Paris", "Paris (Texas) was"),
    ("Mercury", "Mercury (planet) was"), ("Congo", "The Republic of the Congo was"),
    ("Mexico", "New Mexico was"), ("Anna", "Anna Karenina was"), ("Greco", "El Greco was"),
    ("Анна", "Анна Каренина родилась"),
    ("NY", "I ♥ NY was"), ("George Bush", "George W. Bush was"), ("M", "3M was"),
    ("C", "Objective-C was"), ("C", "C/C++ was"), ("Cent", "50 Cent was"),
    ("京都", "東京都は"), ("山田", "山田太郎は"),
    ("マリ", "マリオは"), ("マリ", "マリ・キュリーは"),
    ("北京", "北京大学是"), ("हिन", "हिन्दी was"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "text"), LONGER)
def test_part_of_a_longer_name_is_not_linked(known, text):
    assert EntityLinker([known]).find(text)[0] is None
    assert NameIndex([known]).find(text) is None
    # Nor does who was named before, or is named next.
    link, _ = EntityLinker([known, "Tom Brill"]).find(
        f"Tom Brill died.\n\n{text} seen with Tom Brill"
    )
    assert link is None or link.name != known


def test_an_unknown_longer_name_is_reported():
    link, why = EntityLinker(["Paris"]).find("Paris Hilton was born in")
    assert link is None and why == "'Paris' may be part of a longer name in the text"
    linker = EntityLinker(["Paris", "New York"])
    assert linker.find("Paris Hilton left New York in")[0] is None
    assert linker.find("New York fell.\n\nParis Hilton was born in")[0] is None
    # Behind a preposition it is not whom the text is about.
    linker = EntityLinker(["Germany", "Mara Vell"])
    assert linker.find("In West Germany, Mara Vell was born in")[0].name == "Mara Vell"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Μάρα Βελ", "Η Μάρα Βελ γεννήθηκε το"), ("Μάρα Βελ", "Όταν η Μάρα Βελ"),
        ("Νίκος", "Ο Νίκος γεννήθηκε το"), ("Мария Велл", "В 1815 году Мария Велл"),
        ("Мария Велл", "Об этом Мария Велл"), ("Mara Vell", "När Mara Vell föddes"),
        ("Mara Vell", "Kiedy Mara Vell"), ("Mara Vell", "En 1815 Mara Vell"),
    ],
)  # fmt: skip
def test_sentences_in_other_languages(name, text):
    assert NameIndex([name]).find(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "Mara Vell was", "When Mara Vell was", "Dr. Mara Vell was", "Sir Mara Vell was",
        "President Mara Vell was", "*Mara Vell* was", "**Mara Vell** was", "“Mara Vell” was",
        "'Mara Vell' was", "(Mara Vell)", "<b>Mara Vell</b> was", "[[Mara Vell]] was",
        "| Mara Vell | 1900", "Mara Vell's house", "Mara Vell’s house", "Mara Vell's Nobel Prize",
        "MARA VELL WAS BORN", "Mara Vell Was Born", "Mara Vell’s Was", "mara vell was born in",
        "mara vell, a poet,", "On 3 May 1900 Mara Vell was", "In 1900, Mara Vell was",
        "Mara Vell (born 1900)", "# Mara Vell\nMara Vell was", "Mara Vell\nBorn in",
        "Is it Mara Vell? She", "Mara Vell! She", "Mara Vell... she", "Mara Vell—a poet—was",
        "Mara Vell--a poet--was", "Mara Vell – a poet", "Mara Vell and Tom Brill met",
        "Mara Vell, OBE, was", "Mara Vell OBE (born", "Mara Vell: a life", "He met Mara Vell. She",
        "Vell, Mara was", "Mara  Vell was", "Mara\nVell was", "Mara\u00a0Vell was",
        "Mara\u00adVell was", "Norway's Mara Vell was", "Mara Vell, Queen of Ulm, was",
    ],
)  # fmt: skip
def test_ordinary_words_do_not_extend_a_name(text):
    names = ["Mara Vell", "Mara\u00adVell"] if "\u00ad" in text else ["Mara Vell"]
    link, why = EntityLinker(names).find(text)
    assert link is not None, why


@pytest.mark.parametrize(
    "text",
    ["Paris is", "In Paris, Marie Curie", "The Paris metro", "Paris, the capital, is",
     "Paris, France's capital,", "the mayor of Paris", "Paris was", "However, Paris was"],
)  # fmt: skip
def test_ordinary_words_next_to_a_single_word_name(text):
    expected = None if "Curie" in text else "Paris"
    assert NameIndex(["Paris"]).find(text) == expected


def test_the_people_of_a_world_are_found_in_their_texts():
    from lacy.world import make_world

    world = make_world(200, seed=3)
    linker = EntityLinker(person.name for person in world.everyone)
    for document in world.documents():
        for mark in document.marks:
            link, _ = linker.find(document.text[: mark.start])
            assert (link.name, link.stage) == (document.meta["person"], "exact")


def test_spellings_of_one_subject():
    assert subject_key("Ada  Lovelace ") == subject_key("ADA Lovelace") != subject_key("Ada Love")
    assert subject_key("Zoe\u0308") == subject_key("Zoë")
    assert subject_key("O'Brien") == subject_key("O’Brien") and subject_key("C#") == subject_key(
        "C♯"
    )
    assert subject_key("Turkey") != subject_key("turkey") and subject_key("C") != subject_key("C#")


anything = st.one_of(st.text(max_size=30), st.text("abC+#-*!&'.,$ /\n’̈", max_size=20))


@settings(deadline=None)
@given(st.lists(anything, max_size=6), anything)
def test_every_name_found_is_complete(names, text):
    index = NameIndex(names)
    found = index.find(text)
    assert found is None or (found in names and found in set(index.names_in(text)))
    assert len(unify_characters(text)) == len(text)


@settings(deadline=None)
@given(anything, st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_is_complete_name_accepts_any_text(text, start, length, small):
    start = min(start, max(0, len(text) - 1))
    end = min(len(text), start + length + 1)
    assert is_complete_name(text, start, end, lower_case=small) in (True, False)


@given(anything)
def test_normalize_is_idempotent_with_symbols(name):
    assert normalize(normalize(name)) == normalize(name)
    assert '"' not in normalize(name) and "\x00" not in normalize(name)
