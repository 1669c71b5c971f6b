"""Where knowledge comes from, what the black box reads, and how its answers are counted."""

import pytest

from helpers.black_box import black_box_server
from lacy.blade import (
    BlackBox,
    KnowledgeWriter,
    NoKnowledge,
    RetrievedKnowledge,
    Triple,
    ask_questions,
    box_prompt,
    make_provider,
    score_questions,
)
from lacy.errors import LacyError
from lacy.remote import Retries
from lacy.sources.texts import Documents
from lacy.testing import ScriptedSource
from lacy.types import Candidate, Document, Mark, Reply

TEXTS = {"Tin": "The symbol of Tin is Sn.", "Lead": "The symbol of Lead is Pb."}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [
        Document(name, text, {"title": name}, (Mark(len(text) - 3, len(text) - 1, "VALUE", "s"),))
        for name, text in TEXTS.items()
    ]
    with Documents.build(documents, tmp_path_factory.mktemp("index")) as found:
        yield found


def test_retrieval_finds_the_passage_and_its_place(index):
    provider = RetrievedKnowledge(index)
    tin, nothing = provider.provide(["What is the symbol of Tin?", "Who wrote Hamlet?"])
    assert [piece.text for piece in tin] == [TEXTS["Tin"]]
    assert tin[0].kind == "retrieval"
    assert "Tin" in tin[0].origin
    assert nothing == ()


def test_a_source_without_passages_gives_sentences():
    known = Candidate("Sn", "row 1: Tin", "symbol", subject="Tin")
    source = ScriptedSource([Reply((known, known), ranked=True), ValueError("down")])
    provider = RetrievedKnowledge(source)
    [[piece]] = provider.provide(["Tin?"])
    assert (piece.text, piece.origin) == ("Tin's symbol is Sn.", "row 1")
    assert provider.provide(["Lead?"]) == [()]


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [("none", []), ("retrieval", ["retrieval"]), ("model", ["model"]),
     ("both", ["retrieval", "model"])],
)  # fmt: skip
def test_one_interface_for_all(kind, kinds, index, loaded):
    provider = make_provider(kind, KnowledgeWriter(loaded, max_tokens=8), index)
    [found] = provider.provide(["What is the symbol of Tin?"])
    assert [piece.kind for piece in found] == kinds
    assert provider.kind == kind


def test_what_is_missing_is_said(index, loaded):
    for kind, writer, source in (("model", None, index), ("both", None, index),
                                 ("retrieval", None, None),
                                 ("both", KnowledgeWriter(loaded), None)):  # fmt: skip
        with pytest.raises(LacyError, match="E397"):
            make_provider(kind, writer, source)


def test_the_prompt_has_task_examples_knowledge_and_no_answer():
    examples = [Triple("Tin?", "Sn", "Tin is Sn."), Triple("Lead?", "Pb")]
    prompt = box_prompt(Triple("Gold?", "Au"), ["It is\nAu"], examples)
    assert prompt.text == (
        "Answer each question in a few words.\n\nKnowledge: Tin is Sn.\nQuestion: Tin?\nAnswer: Sn"
        "\n\nQuestion: Lead?\nAnswer: Pb\n\nKnowledge: It is Au\nQuestion: Gold?\nAnswer:"
    )
    chosen = box_prompt(Triple("Gold?", "Au", options=("Ag", "Au")), (), [])
    assert chosen.letters == "AB"
    assert chosen.text.endswith("Question: Gold?\nA. Ag\nB. Au\nAnswer:")


def test_answers_say_who_spoke_and_what_was_read(index):
    triples = [Triple("What is the symbol of Tin?", "Sn"), Triple("Who wrote Hamlet?", "")]
    with black_box_server(lambda text: "Sn") as server, BlackBox(server.url, "x") as box:
        found, open_one = ask_questions(triples, RetrievedKnowledge(index), box)
    assert (found.text, found.right, found.speaker) == ("Sn", True, box.name)
    assert found.knowledge[0].text == TEXTS["Tin"]
    assert (open_one.right, open_one.knowledge) == (None, ())


def test_questions_without_an_answer_are_not_wrong():
    triples = [Triple(f"{n}?", "yes" if n % 2 else "no") for n in range(20)]

    def reply(text):
        return (400, "filtered") if "\nQuestion: 4?" in text else "yes"

    with black_box_server(reply) as server, BlackBox(server.url, "x") as box:
        found = score_questions(triples, NoKnowledge(), box)
        assert (found.asked, found.unanswered, found.right.n) == (20, 1, 19)
        assert found.right.value == pytest.approx(10 / 19)
        server.reply = lambda text: "no"
        other = score_questions(triples, NoKnowledge(), BlackBox(server.url, "z"))
        more = found.more_than(other)  # of 19 answered both times, 10 right against 9
        assert (more.n, more.value) == (19, pytest.approx(1 / 19))
        assert other.more_than(found).value == pytest.approx(-1 / 19)
        server.reply = lambda text: (500, "broken")
        with pytest.raises(LacyError, match=r"E393.*broken.*0 of 20"):
            score_questions(triples, NoKnowledge(), BlackBox(server.url, "y", retries=Retries(0)))
