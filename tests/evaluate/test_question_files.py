"""Files of questions: PopQA and EntityQuestions as they are, folders, and their own facts."""

import json

import pytest

from lacy.errors import LacyError
from lacy.evaluate import (
    ENTITY_QUESTIONS,
    evaluate_own_facts,
    read_questions,
    with_own_facts,
)
from lacy.evaluate.questions import TestQuestion as Asked
from lacy.testing import scripted

POPQA = {
    "id": 1, "subj": "Ann Bell", "prop": "occupation", "obj": "smith", "s_pop": 7,
    "s_aliases": '["A. Bell"]', "question": "What is Ann Bell's occupation?",
    "possible_answers": '["smith", "blacksmith"]',
}  # fmt: skip


def write(folder, **files):
    for name, rows in files.items():
        (folder / f"{name}.dev.json").write_text(json.dumps(rows))
    return folder


def test_a_line_of_popqa(tmp_path):
    path = tmp_path / "popqa.jsonl"
    path.write_text(json.dumps(POPQA) + "\n")
    [found] = read_questions(path)
    assert (found.subject, found.relation, found.popularity) == ("Ann Bell", "occupation", 7.0)
    assert found.answers == ("smith", "blacksmith")
    assert with_own_facts([found])[0].facts == (("occupation", "smith"),)


def test_a_folder_of_entity_questions_alternates_its_relations(tmp_path):
    born = [{"question": f"Where was {n} Bell born?", "answers": ["Oslo"]} for n in ("Ann", "Bo")]
    works = [{"question": "Who is Ann Bell's child?", "answers": ["Cy", "Di"]}]
    (tmp_path / "README.md").write_text("no questions")
    found = read_questions(write(tmp_path, P19=born, P40=works))
    assert [(q.subject, q.relation) for q in found] == [
        ("Ann Bell", "place of birth"), ("Ann Bell", "child"), ("Bo Bell", "place of birth"),
    ]  # fmt: skip


def test_all_24_relations_have_a_template():
    assert len(ENTITY_QUESTIONS) == 24
    assert all(template.count("{}") == 1 for _, template in ENTITY_QUESTIONS.values())


def test_other_words_and_other_files_give_no_subject(tmp_path):
    odd = [{"question": "Ann Bell, born where?", "answers": ["Oslo"]}]
    [found] = read_questions(write(tmp_path, P19=odd))
    assert (found.subject, found.relation) == ("", "place of birth")
    (tmp_path / "P19.dev.json").rename(tmp_path / "other.json")
    [found] = read_questions(tmp_path)
    assert found.relation == "" and with_own_facts([found]) == []


def test_an_empty_folder_and_questions_about_nothing_are_errors(tmp_path):
    with pytest.raises(LacyError, match="E187"):
        read_questions(tmp_path)
    with pytest.raises(LacyError, match="E236"):
        evaluate_own_facts(None, [Asked("Who?", ("I",))], "never")


ASKED = [
    Asked(f"Where was {n} born?", (p,), n, "place of birth")
    for n, p in [("Ann Bell", "Oslo"), ("Bob Hill", "Rome"), ("Ann Bell", "Oslo")]
]


def test_empty_answers_and_repeated_questions_are_counted():
    silent = scripted(lambda text: "", lambda text: False, context=300)
    found = evaluate_own_facts(silent, ASKED, "threshold=0", max_new_tokens=24)
    assert list(found.conditions) == ["alone", "own facts", "own facts, edited"]
    scores = {(r.metric, r.conditions["condition"]): r.value for r in found.results()}
    assert scores["answers_empty", "alone"] == 1.0 and scores["questions_repeated", "alone"] == 1


@pytest.mark.slow
def test_a_real_model_follows_its_facts_and_their_edits(smollm2_loaded):
    found = evaluate_own_facts(smollm2_loaded, ASKED[:2], "entropy=4", max_new_tokens=16)
    for name in ("own facts", "own facts, edited"):
        assert found.conditions[name].scores["answers_right"].value == 1.0
    edited = [answer.continuation for answer in found.conditions["own facts, edited"].answers]
    assert edited == ["Ann Bell was born in Rome.", "Bob Hill was born in Oslo."]
