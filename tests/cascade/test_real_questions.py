"""SmolLM2 answers questions about Marie Curie from a database and from documents, everywhere."""

import contextlib
import io
import sqlite3

import pytest

from helpers.pages import lacy
from helpers.serving import serving
from lacy.cascade import Engine
from lacy.evaluate import ask
from lacy.sources import Database
from lacy.sources.texts import Documents
from lacy.types import Document

pytestmark = pytest.mark.slow

FACTS = {
    "date of birth": "7 November 1867",
    "place of birth": "Warsaw",
    "date of death": "4 July 1934",
    "place of death": "Passy",
    "occupation": "physicist",
    "spouse": "Pierre Curie",
    "educated at": "University of Paris",
}
TEXT = (
    "Marie Curie (7 November 1867 – 4 July 1934) was a Polish and French physicist and chemist. "
    "She was born in Warsaw and died in Passy."
)


def write_database(path, facts):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [("Marie Curie", *fact) for fact in facts.items()]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    return path


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return write_database(tmp_path_factory.mktemp("facts") / "facts.sqlite", FACTS)


def engine_of(loaded, source, **settings):
    return Engine(loaded, source, "entropy=4", max_new_tokens=32, **settings)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was Marie Curie born?", "Marie Curie was born on 7 November 1867."),
        ("In what city was Marie Curie born?", "Marie Curie was born in Warsaw."),
        ("Who was Marie Curie married to?", "Marie Curie was married to Pierre Curie."),
    ],
)
def test_a_database_answers(smollm2_loaded, database, question, answer):
    with Database(database) as source:
        found = ask(engine_of(smollm2_loaded, source), question)
    assert found.continuation == answer and found.finished
    [value] = [span for span in found.spans if span.speaker == "facts.sqlite"]
    assert "Marie Curie · " in value.evidence and "the question asks for" in value.reason


def test_an_edited_fact_is_followed_and_a_missing_one_is_not_replaced(smollm2_loaded, tmp_path):
    edited = FACTS | {"place of birth": "Opole"}
    with Database(write_database(tmp_path / "edited.sqlite", edited)) as source:
        answer = ask(engine_of(smollm2_loaded, source), "Where was Marie Curie born?")
    assert answer.continuation == "Marie Curie was born in Opole."
    del edited["date of birth"], edited["date of death"]
    with Database(write_database(tmp_path / "gaps.sqlite", edited)) as source:
        engine = engine_of(smollm2_loaded, source, unknown="I don't know.")
        answer = ask(engine, "When was Marie Curie born?")
    assert answer.continuation == "I don't know." and answer.finished


@pytest.mark.parametrize(
    "message",
    [
        "Could you answer this question: Where was Marie Curie born?",
        "Context: I am writing about Marie Curie. Answer with a short factual phrase.\n"
        "Question: Where was she born?",
        "Question: Where was Ada Lovelace born?\nAnswer: London\n\n"
        "Question: Where was Marie Curie born?\nAnswer:",
        "Complete the sentence with the missing fact: Marie Curie was born in ____.",
    ],
)
def test_a_question_in_a_frame_is_answered(smollm2_loaded, database, message):
    with Database(database) as source:
        answer = ask(engine_of(smollm2_loaded, source), message)
    assert answer.continuation.endswith("was born in Warsaw.")


def test_as_many_values_are_listed_as_fit(smollm2_loaded, tmp_path):
    path = write_database(tmp_path / "many.sqlite", {})
    names = ["Ève Denise Curie Labouisse", "Irène Joliot-Curie", "Jacques Curie"]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        rows = [("Marie Curie", "child", name) for name in names]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    with Database(path) as source:
        engine = Engine(smollm2_loaded, source, "entropy=4", max_new_tokens=24)
        answer = ask(engine, "Who is Marie Curie's child?")
    assert names[0] in answer.continuation and names[2] not in answer.continuation


def test_documents_answer(smollm2_loaded, tmp_path):
    texts = [Document("curie", TEXT, {"title": "Marie Curie"})]
    with Documents.build(texts, tmp_path / "index") as source:
        engine = engine_of(smollm2_loaded, source)
        answer = ask(engine, "Where was Marie Curie born?")
    assert answer.continuation == "Marie Curie was born in Warsaw."
    [value] = [span for span in answer.spans if span.evidence]
    assert value.text == " Warsaw" and "curie" in value.evidence


def test_a_literal_call_token_in_a_question_is_text(smollm2_loaded, database):
    with Database(database) as source:
        engine = engine_of(smollm2_loaded, source)
        answer = ask(engine, "When was Marie Curie <CALL> born?")
    assert all(span.tokens == 0 or span.text != "<CALL>" for span in answer.spans)


def test_any_openai_client_gets_the_answer(smollm2_loaded, database):
    openai = pytest.importorskip("openai")
    with Database(database) as source, serving(engine_of(smollm2_loaded, source)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        [model] = client.models.list().data
        turns = [{"role": "system", "content": "You are brief."}]
        turns += [{"role": "user", "content": "When was Marie Curie born?"}]
        chat = client.chat.completions.create(model=model.id, messages=turns)
        first = chat.choices[0].message.content
        assert first == "Marie Curie was born on 7 November 1867."
        turns += [{"role": "assistant", "content": first}]
        turns += [{"role": "user", "content": "And where?"}]
        response = client.responses.create(model=model.id, input=turns)
        assert response.output_text == "Marie Curie was born in Warsaw."
        stream = client.chat.completions.create(model=model.id, messages=turns, stream=True)
        parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(parts) == "Marie Curie was born in Warsaw."


def test_lacy_chat_answers_and_keeps_the_subject(smollm2, database, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("When was Marie Curie born?\nAnd where?\n"))
    options = ["--source", str(database), "--policy", "entropy=4", "--max-new-tokens", "24"]
    assert lacy("chat", str(smollm2), *options) == 0
    printed = capsys.readouterr().out
    assert "Marie Curie was born on 7 November 1867." in printed
    assert "Marie Curie was born in Warsaw." in printed
