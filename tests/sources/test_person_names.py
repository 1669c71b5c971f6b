"""Names of people with other initials and suffixes."""

import asyncio

import pytest

from lacy.sources.names import PersonNames
from lacy.sources.texts import Documents
from lacy.types import Document, Mark, Request

KNOWN = ["Mary Ada Love", "John Blake Jr.", "Enos T. Throop", "J. R. R. Tolkien", "Ada King"]
KNOWN += ["Jan M. Roth", "Jan P. Roth", "Ramón Roth", "Plato"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What is John Blake, Jr.'s occupation?", "John Blake Jr."),
        ("Where was Enos Thompson Throop born?", "Enos T. Throop"),
        ("Where was Enos Throop born?", "Enos T. Throop"),
        ("Was J.R.R. Tolkien tall?", "J. R. R. Tolkien"),
        ("Ada M. King", "Ada King"),
        ("Ramon Roth", "Ramón Roth"),
        ("Jan P. Roth", "Jan P. Roth"),
        ("Where was John Blake born?", None),
        ("Where was John Blake Sr. born?", None),
        ("Where was Mary Love born?", None),
        ("Where was Ada Love born?", None),
        ("Where was Enos B. Throop born?", None),
        ("Where was Jan Roth born?", None),
        ("Where was Ada King-Smith born?", None),
        ("Where was Plato born?", None),
        ("", None),
    ],
)
def test_only_other_initials_and_suffix_signs_are_the_same_person(text, found):
    assert PersonNames(KNOWN).find(text) == found


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    texts = {
        "John Blake Jr.": "John Blake Jr. was a lawyer from Opole.",
        "Ramón Roth": "Ramon Roth Siso was born in Kiel.",
        "Ted King": "Ted King was a pilot in Rome. He was tall. He sang. Ted King was old. He went "
        "home. He slept. Born and raised in Ulm, he liked it. He ran. He sat.",
    }
    found = []
    for title, text in texts.items():
        marks = [Mark(at, at + len(place), "VALUE", "place") for place in
                 ("Opole", "Kiel", "Rome", "Ulm") if (at := text.find(place)) >= 0]  # fmt: skip
        found.append(Document(title, text, {"title": title}, tuple(marks)))
    with Documents.build(found, tmp_path_factory.mktemp("texts") / "kb") as built:
        yield built


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("In what city was John Blake, Jr. born?", ["Opole"]),
        ("In what city was Ramón Roth Siso born?", ["Kiel"]),
        ("In what city was Ted King born?", ["Ulm", "Rome"]),
        ("In what city was John Blakeson born?", []),
    ],
)
def test_a_question_finds_its_subject_and_the_passage_that_answers(source, question, found):
    [reply] = asyncio.run(source.ask([Request(question, question=question)]))
    assert [candidate.text.strip() for candidate in reply.candidates] == found
