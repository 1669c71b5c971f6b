"""Facts right, wrong and missing: counted by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.worlds import Claim, TinyWorld, answer
from lacy.evaluate.facts import COUNTS, grade, judge, person_counts, same_value, score_facts
from lacy.results import as_data

WORLD = TinyWorld()


def verdicts(text, name="Ann"):
    graded = judge(WORLD.claims(text), WORLD.truth(name))
    return [v.right for v in graded.verdicts], graded.missing


def test_right_wrong_missing():
    assert verdicts("[born=1901] [town=Rome]") == ([True, False], ("prize",))


def test_repeating_a_claim_does_not_count():
    assert verdicts("[born=1901] [born=1901]") == ([True], ("town", "prize"))


def test_a_contradiction_is_wrong_even_if_the_second_claim_is_true():
    assert verdicts("[born=1900] [born=1901]") == ([False, False], ("town", "prize"))
    assert verdicts("[born=1901] [born=1900] [born=1901]") == ([True, False], ("town", "prize"))


def test_a_fact_that_a_person_lacks_is_wrong():
    assert verdicts("[prize=Star]", "Bob") == ([False], ("born", "town"))
    graded = judge(WORLD.claims("[prize=Star]"), WORLD.truth("Bob"))
    assert graded.verdicts[0].truth is None


def test_an_unknown_person_has_no_facts():
    assert verdicts("[born=1901]", "Zoe") == ([False], ())


def test_values_match_up_to_case_and_space():
    assert same_value(" New  York", "new york")
    assert not same_value("New York", "New Yorker")


def test_claims_given_in_the_prompt_do_not_count():
    graded = grade(answer("Ann [born=1901]", (" [town=Rome]", "slm")), "Ann", WORLD)
    assert [v.relation for v in graded.verdicts] == ["town"]


def test_a_claim_belongs_to_the_speaker_of_its_first_character():
    told = answer(
        "Ann", (" [town=", "slm"), ("Os", "database"), ("lo] [born=", "slm"), ("1900]", "slm")
    )
    graded = grade(told, "Ann", WORLD)
    assert [(v.borrowed, v.right) for v in graded.verdicts] == [(True, True), (False, False)]


def test_scores_by_hand():
    answers = [
        answer("Ann", (" [born=1901] [town=", "slm", 5), ("Oslo", "database", 2), ("]", "slm", 1)),
        answer("Bob", (" [town=Oslo]", "slm", 3), (" x", "slm", 1, True), finished=False),
    ]
    scores = score_facts(answers, ["Ann", "Bob"], WORLD)
    assert scores["facts_right"].value == pytest.approx(2 / 3)
    assert scores["recall"].value == pytest.approx(2 / 5)
    assert scores["f1"].value == pytest.approx(2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5))
    assert (scores.right, scores.wrong, scores.missing) == (2, 1, 2)
    assert scores["facts_per_answer"].value == pytest.approx(1.5)
    assert scores["calls_per_answer"].value == pytest.approx(1.0)
    assert scores["calls_per_fact"].value == pytest.approx(2 / 3)
    assert scores["call_rate"].value == pytest.approx(3 / 12)
    assert scores["finished"].value == pytest.approx(0.5)
    assert scores["own_right"].value == pytest.approx(1 / 2)
    assert scores["borrowed_right"].value == pytest.approx(1.0)
    assert scores["borrowed"].value == pytest.approx(1 / 3)
    assert scores.by_relation["town"].value == pytest.approx(1 / 2)
    assert scores["facts_right"].n == 2
    json.dumps(as_data(scores), allow_nan=False)


def test_an_empty_answer_has_no_precision_and_no_recall():
    scores = score_facts([answer("Ann", (" nothing", "slm"))] * 2, ["Ann", "Bob"], WORLD)
    assert as_data(scores["facts_right"])["value"] is None
    assert scores["recall"].value == 0.0
    assert scores["f1"].value == 0.0


def test_several_answers_about_one_person_are_one_unit():
    answers = [answer("Ann", (" [born=1901]", "slm")), answer("Ann", (" [born=1900]", "slm"))]
    scores = score_facts(answers, ["Ann", "Ann"], WORLD)
    assert scores["facts_right"].n == 1
    assert scores["facts_right"].value == 0.5


def test_no_answers_at_all():
    scores = score_facts([], [], WORLD)
    assert scores["facts_right"].n == 0
    json.dumps(as_data(scores), allow_nan=False)


def test_answers_without_subjects_are_refused():
    with pytest.raises(ValueError, match="subjects"):
        score_facts([answer("Ann")], [], WORLD)


def test_counts_align_people_for_pairing():
    given = [("Bob", "1902"), ("Ann", "1900")]
    answers = [answer(n, (f" [born={y}]", "slm")) for n, y in given]
    graded = [grade(a, n, WORLD) for a, (n, _) in zip(answers, given, strict=True)]
    people, table = person_counts(answers, ["Bob", "Ann"], graded)
    assert people == ["Ann", "Bob"]
    columns = dict(zip(COUNTS, table.T.tolist(), strict=True))
    assert (columns["right"], columns["claims"]) == ([0, 1], [1, 1])


claims = st.lists(
    st.tuples(st.sampled_from(["born", "town", "prize", "pet"]), st.sampled_from("abc")), max_size=8
)


@given(claims, st.dictionaries(st.sampled_from(["born", "town", "prize"]), st.sampled_from("abc")))
@settings(max_examples=100, deadline=None)
def test_counts_always_add_up(said, truth):
    graded = judge([Claim(r, v, i, i + 1) for i, (r, v) in enumerate(said)], truth)
    mentioned = {r for r, _ in said}
    assert graded.right <= len(mentioned & set(truth))
    assert len(graded.missing) == len(set(truth) - mentioned)
    assert mentioned == {v.relation for v in graded.verdicts}
    assert graded.right + len(graded.missing) <= graded.facts
