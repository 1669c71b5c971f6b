"""Texts about someone whose name merely contains the requested words give no answer."""

import asyncio

import pytest

from lacy.sources.texts import Documents
from lacy.types import Document, Mark, Request

TEXTS = [
    ("C++", "C++ was designed by Bjarne Stroustrup in Murray Hill.", "Bjarne Stroustrup"),
    ("Ada Love-Smith", "Ada Love-Smith was born in Kelfield in that year.", "Kelfield"),
    ("Paris", "Paris was founded in Gaul by the river.", "Gaul"),
    ("Apollo", "Apollo was worshipped in Delphi.", "Delphi"),
    ("New York City FC", "New York City FC plays in the Bronx every week.", "Bronx"),
    ("", "Mary Ada Love was born in Roston a while ago.", "Roston"),
    ("Yahoo!", "Yahoo! was founded in Sunnyvale long ago.", "Sunnyvale"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    documents = []
    for number, (title, text, value) in enumerate(TEXTS):
        start = text.index(value)
        marks = (Mark(start, start + len(value), "VALUE", "place"),)
        documents.append(Document(str(number), text, {"title": title} if title else {}, marks))
    with Documents.build(documents, tmp_path_factory.mktemp("texts") / "kb") as built:
        yield built


def texts(source, text, subject=None):
    [reply] = asyncio.run(source.ask([Request(text, subject=subject)]))
    return [candidate.text.strip() for candidate in reply.candidates]


@pytest.mark.parametrize(
    ("text", "found"),
    [(text.partition(value)[0], [value]) for _, text, value in TEXTS]
    + [("Ada Love‐Smith was born in", ["Kelfield"])]
    + [
        (text, [])
        for text in (
            "C# was designed by", "C was designed by", "Ada Love was born in",
            "Paris Hilton was founded in", "Apollo 11 was worshipped in", "New York plays in",
            "New York City plays in", "Yahoo was founded in",
        )
    ],
)  # fmt: skip
def test_only_complete_names_match(source, text, found):
    assert texts(source, text) == found


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("C++", ["Bjarne Stroustrup"]), ("C", []), ("C#", []), ("Ada Love", []),
        ("Love-Smith, Ada", ["Kelfield"]), ("Paris Hilton", []), ("New York", []), ("Yahoo", []),
    ],
)  # fmt: skip
def test_only_complete_explicit_subjects_match(source, subject, found):
    assert texts(source, "It was founded in", subject) == found


MORE = [
    ("Henry VIII", "Henry VIII was born in Greenwich.", "Greenwich"),
    ("GPT-3", "GPT-3 was released in June.", "June"),
    ("iPhone 4S", "iPhone 4S was released in October.", "October"),
    ("Ada Vell", "Ada Vell was born in Kelfield.", "Kelfield"),
    ("ADA VELL", "ADA VELL died in Roston.", "Roston"),
    ("Mo O’Brien", "Mo O’Brien died in Selby.", "Selby"),
    ("Mo O'Brien", "Mo O'Brien was born in Quorn.", "Quorn"),
    ("", "Bridges are built of steel in Ulm.", "Ulm"),
    ("", "In that year gold was found in Fenton.", "Fenton"),
]


@pytest.fixture(scope="module", params=["fts5", "tantivy"])
def more(request, tmp_path_factory):
    documents = []
    for number, (title, text, value) in enumerate(MORE):
        start = text.index(value)
        marks = (Mark(start, start + len(value), "VALUE", "place"),)
        documents.append(Document(str(number), text, {"title": title} if title else {}, marks))
    place = tmp_path_factory.mktemp("more") / "kb"
    with Documents.build(documents, place, engine=request.param) as built:
        yield built


@pytest.mark.parametrize(
    "text",
    [
        "Henry was born in", "When was Henry born? He was born in", "GPT was released in",
        "GPT-4 was released in", "The GPT-4 was released in", "iPhone was released in",
        "iPhone 4 was released in", "Vell was born in", "Henry ruled. He was born in",
        "Zorblax was born in",
    ],
)  # fmt: skip
def test_single_word_names_match(more, text):
    assert texts(more, text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Henry VIII was born in", ["Greenwich"]), ("GPT-3 was released in", ["June"]),
        ("Bridges are built of steel in", ["Ulm"]), ("Gold was found in", ["Fenton"]),
        ("A bridge is built of steel in", ["Ulm"]),
    ],
)  # fmt: skip
def test_a_capitalised_first_word_may_be_no_name(more, text, found):
    assert texts(more, text)[: len(found)] == found


@pytest.mark.parametrize("name", ["Ada Vell", "ADA VELL", "Mo O'Brien", "Mo O’Brien"])
def test_documents_of_all_spellings_are_searched(more, name):
    both = {"Kelfield", "Roston"} if name.endswith(("Vell", "VELL")) else {"Selby", "Quorn"}
    assert set(texts(more, f"{name} was born in")) == both
    assert set(texts(more, "It was in", name)) == both
