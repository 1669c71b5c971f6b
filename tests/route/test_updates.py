"""Further cases: from files and from users' verdicts, without the old texts."""

import numpy as np
import pytest

from helpers.routing import outcome_cases, topic_cases
from lacy.errors import LacyError
from lacy.records import RecordLog, UserVerdict, record_answer
from lacy.route import (
    RouteCase,
    RouterSettings,
    add_cases,
    cases_from_records,
    fit_router,
    open_router,
)

TFIDF = RouterSettings(head="tfidf")


@pytest.fixture
def folder(tmp_path):
    fit_router(topic_cases(), TFIDF).save(tmp_path / "r")
    return tmp_path / "r"


def test_no_further_cases_give_the_same_router(folder, tmp_path):
    add_cases(folder, []).save(tmp_path / "again")
    for file in folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_a_router_learns_from_further_cases(folder):
    text = "Which deck has a rope by the port?"
    assert open_router(folder).choose([text])[0].route == "boats"
    more = [RouteCase(f"{text} {n}", "birds", source=f"source-{n % 3}") for n in range(40)]
    router = add_cases(folder, more)
    assert router.choose([text])[0].route == "birds"
    assert router.made["cases"] == open_router(folder).made["cases"] + 40


def test_a_new_case_replaces_the_old_one_of_its_text(folder):
    old = topic_cases()[0]
    router = add_cases(folder, [RouteCase(old.text, "sums", source=old.source)])
    before = open_router(folder).made
    assert router.made["cases"] == before["cases"]
    assert router.made["cases_per_route"]["sums"] == before["cases_per_route"]["sums"] + 1


def test_a_new_route_needs_enough_cases(folder):
    with pytest.raises(LacyError, match="E371"):
        add_cases(folder, [RouteCase("Buy it", "shop")])
    shop = [RouteCase(f"Buy {n} lamps", "shop", source=f"source-{n % 2}") for n in range(20)]
    assert add_cases(folder, shop).choose(["Buy 40 lamps"])[0].route == "shop"


def test_cases_that_do_not_fit_are_an_error(folder, tmp_path):
    with pytest.raises(LacyError, match="it learned from classes, and these are outcomes"):
        add_cases(folder, outcome_cases(9))
    fit_router(topic_cases(), RouterSettings(head="tfidf", keep_vectors=False)).save(tmp_path / "s")
    with pytest.raises(LacyError, match="it keeps no inputs"):
        add_cases(tmp_path / "s", [])


def test_further_outcomes_keep_the_scores_of_other_models(tmp_path):
    cases = outcome_cases()
    fit_router(cases, TFIDF).save(tmp_path / "r")
    router = add_cases(tmp_path / "r", [RouteCase(c.text, None, {"small": 1.0}) for c in cases])
    scores = router.scores([case.text for case in cases[:9]])
    assert np.all(scores > 0.9)  # small is now always right, and large still is
    assert router.made["cases_per_route"] == {"large": router.made["cases"],
                                              "small": router.made["cases"]}  # fmt: skip


def test_verdicts_of_users_are_cases(tmp_path):
    log = RecordLog(tmp_path / "records", texts=True)
    about = {"time": 0.0, "fingerprint": "f", "policy": "never", "unit": "word", "finish": "stop"}
    for number, model in enumerate(("small", "large", "small")):
        log.add(record_answer([], texts=True, prompt=f"Question {number}", subject=None,
                                id=f"a{number}", choice=0, model=model, **about))  # fmt: skip
    log.add(UserVerdict("a0", 0, 1.0, "wrong"))
    log.add(UserVerdict("a0", 0, 2.0, "right"))
    log.add(UserVerdict("a1", 0, 1.0, "wrong"))
    log.close()
    found = cases_from_records(tmp_path / "records")
    assert [(case.text, dict(case.scores)) for case in found] == [
        ("Question 0", {"small": 1.0}), ("Question 1", {"large": 0.0})]  # fmt: skip


def test_the_mean_cost_is_that_of_old_and_further_cases(tmp_path):
    cases = [RouteCase(f"text {n}", None, {"a": n % 2, "b": 1.0}, {"a": 1.0, "b": 2.0})
             for n in range(8)]  # fmt: skip
    router = fit_router(cases, RouterSettings(head="length"))
    router.set_costs({"b": 5.0})
    router.save(tmp_path / "r")
    more = [RouteCase(f"more {n}", None, {"a": 1.0}, {"a": 3.0, "b": 9.0}) for n in range(2)]
    assert add_cases(tmp_path / "r", more).costs == {"a": 1.4, "b": 5.0}


def test_verdicts_on_two_models_for_one_prompt_are_one_case(tmp_path):
    log = RecordLog(tmp_path / "records", texts=True)
    about = {"time": 0.0, "fingerprint": "f", "policy": "never", "unit": "word", "finish": "stop"}
    for model, verdict in (("small", "wrong"), ("large", "right")):
        log.add(record_answer([], texts=True, prompt="Who?", subject=None, id=model, choice=0,
                              model=model, **about))  # fmt: skip
        log.add(UserVerdict(model, 0, 1.0, verdict))
    log.close()
    [case] = cases_from_records(tmp_path / "records")
    assert dict(case.scores) == {"small": 0.0, "large": 1.0}
