"""Typed decisions over HTTP: the format, the limits, and other requests beside them."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from helpers import models
from helpers.serving import problem, serving
from helpers.waiting import until
from lacy.cascade import Engine
from lacy.decide import Decider, open_decider, yes_no, zero_shot
from lacy.serve import Keys, Limits

ASKED = {
    "billing": {"type": "noul", "instructions": "Is it about money?"},
    "team": {
        "type": "choice", "instructions": "Who answers?",
        "criteria": {"billing": "payments", "support": None, "sales": {"what": "new accounts"}},
    },
    "urgency": {"type": "score", "criteria": ["can wait", "this week", "today"]},
}  # fmt: skip
STATE = {"subject": "Charged twice", "lines": ["Please help.", 2]}


@pytest.fixture(scope="module")
def large():
    """A model with room for questions."""
    return Engine(models.llama(models.ALL["byte_level"], context=2048))


@pytest.fixture(scope="module")
def decides(large):
    with serving(large) as running:
        yield running


def ask(running, questions=ASKED, state=STATE, **body):
    return running.post("/v1/systemone", **{"model": "slm", "state": state,
                                            "questions": questions, **body})  # fmt: skip


def test_every_type_is_answered(decides, large):
    response = ask(decides)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"model", "answers", "usage"} and answer["model"] == "slm"
    billing, team, urgency = (answer["answers"][name] for name in ("billing", "team", "urgency"))
    assert set(billing) == {"type", "noul"} and 0 <= billing["noul"] <= 1
    assert set(team) == {"type", "choice", "confidence", "probabilities"}
    assert team["probabilities"].keys() == ASKED["team"]["criteria"].keys()
    assert sum(team["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert team["choice"] == max(team["probabilities"], key=team["probabilities"].get)
    assert urgency["legend"] == {"0": "can wait", "1": "this week", "2": "today"}
    levels = [urgency["probabilities"][level] for level in "012"]
    assert urgency["score"] == pytest.approx(levels[1] + 2 * levels[2], abs=1e-5)
    assert urgency["confidence"] == pytest.approx((3 * max(levels) - 1) / 2, abs=1e-5)
    assert answer["usage"]["input_tokens"] > 50 and answer["usage"]["output_tokens"] == 0
    # The same as in Python.
    decider = open_decider(large.model, large.tokenizer, call_id=large.call_id)
    [same] = decider.decide(json.dumps(STATE), [yes_no("Is it about money?")])
    assert same.to_data()["noul"] == pytest.approx(billing["noul"], abs=1e-4)


def test_shuffled_options_and_questions_give_the_same_answer(decides):
    criteria = dict(reversed(ASKED["team"]["criteria"].items()))
    turned = {"team": ASKED["team"] | {"criteria": criteria}}
    first, second = (ask(decides, asked).json()["answers"]["team"] for asked in (ASKED, turned))
    assert first["choice"] == second["choice"]
    for label, p in first["probabilities"].items():
        assert second["probabilities"][label] == pytest.approx(p, abs=1e-4)
    alone = ask(decides, {"team": ASKED["team"]}).json()["answers"]["team"]
    assert alone["probabilities"] == second["probabilities"]  # exactly


NOUL = {"type": "noul", "instructions": "b"}
BAD_QUESTIONS = [
    None, [], {}, {"type": "box"}, {"type": ["noul"]}, {"type": "noul"}, NOUL | {"sure": 1},
    NOUL | {"criteria": {"maybe": "c"}}, NOUL | {"criteria": "c"}, NOUL | {"instructions": 1},
    {"type": "choice"}, {"type": "choice", "criteria": {}}, {"type": "choice", "criteria": ["a"]},
    {"type": "choice", "criteria": {" ": None}}, {"type": "choice", "criteria": {"a": 1}},
    {"type": "choice", "criteria": {str(n): None for n in range(256)}},
    {"type": "score", "criteria": []}, {"type": "score", "criteria": {"a": "b"}},
    {"type": "score", "criteria": [str(n) for n in range(11)]},
    {"type": "score", "criteria": ["b", "b"]}, {"type": "score", "criteria": ["b", ""]},
    {"type": "score", "criteria": [None, "b"]},
]  # fmt: skip
BAD = [
    *(({"questions": {"first": NOUL, "a": bad}}, "E380", "questions.a") for bad in BAD_QUESTIONS),
    ({"questions": {}}, "invalid_body", "questions"),
    ({"questions": [NOUL]}, "invalid_body", "questions"),
    ({"questions": {str(n): NOUL for n in range(65)}}, "invalid_body", "questions"),
    ({"state": "word " * 1900}, "context_length_exceeded", "state"),
    ({"state": None}, "invalid_body", "state"),
    ({"assets": {"a": {"type": "image"}}}, "unsupported", "assets"),
    ({"images": ["aGk="]}, "unsupported", "images"),
    ({"stream": True}, "unsupported", "stream"),
    ({"model": "slm:often"}, "E61", "model"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "param"), BAD, ids=[f"{n}" for n in range(len(BAD))])
def test_what_cannot_be_decided_is_refused(decides, body, code, param):
    error = problem(ask(decides, **body), 400)
    assert (error["code"], error["param"]) == (code, param), error


def test_two_equal_names_are_refused(decides):
    """A JSON parser would drop the first one."""
    asked = '{"a": {"type": "choice", "criteria": {"b": null, "c": null, "b": "d"}}}'
    body = f'{{"model": "slm", "state": "x", "questions": {asked}}}'
    headers = {"Content-Type": "application/json"}
    response = httpx.post(decides.url + "/v1/systemone", content=body, headers=headers)
    assert "'b' twice" in problem(response, 400)["message"]


def test_half_a_character_is_refused(decides):
    headers = {"Content-Type": "application/json"}
    for state, question in (('"\\ud800"', '"b"'), ('"x"', '"\\ud800"'), ('["\\udc00"]', '"b"')):
        asked = f'{{"a": {{"type": "noul", "instructions": {question}}}}}'
        body = f'{{"model": "slm", "state": {state}, "questions": {asked}}}'
        response = httpx.post(decides.url + "/v1/systemone", content=body, headers=headers)
        assert "surrogate" in problem(response, 400)["message"]


def test_deep_states_and_unknown_models_are_refused(decides):
    deep = []
    for _ in range(70):
        deep = [deep]
    assert problem(ask(decides, state=deep), 400)["param"] == "state"
    assert problem(ask(decides, model="jev-latest"), 404)["code"] == "model_not_found"


def test_the_limit_of_tokens_is_that_of_the_whole_request(large):
    with serving(large, limits=Limits(decision_tokens=60)) as running:
        error = problem(ask(running), 400)
        assert error["code"] == "context_length_exceeded" and "60" in error["message"]
        short = {"a": {"type": "noul", "instructions": "b"}}
        assert ask(running, short, "x").status_code == 200


class Slow:
    """Features that wait for a signal."""

    width = 2

    def __init__(self):
        self.go, self.started = threading.Event(), threading.Event()

    def features(self, state, questions):
        self.started.set()
        assert self.go.wait(60)
        return [np.eye(len(question.options), 2) for question in questions]

    def tokens(self, state, questions):
        return 1

    def identity(self):
        return {"kind": "slow"}


def test_a_long_decision_delays_no_text_and_only_so_many_wait(large):
    slow = Slow()
    with (
        serving(large, decider=Decider(slow, zero_shot())) as running,
        ThreadPoolExecutor(20) as pool,
    ):
        one = {"a": {"type": "noul", "instructions": "b"}}
        answers = [pool.submit(ask, running, one) for _ in range(17)]
        assert slow.started.wait(60)
        assert running.complete(max_tokens=5).status_code == 200  # while it is decided
        [refused] = until(lambda: [answer for answer in answers if answer.done()])
        response = refused.result()
        assert problem(response, 429)["code"] == "busy" and int(response.headers["Retry-After"])
        slow.go.set()
        assert [answer.result().status_code for answer in answers].count(200) == 16
        assert ask(running, one).json()["answers"]["a"]["noul"] == pytest.approx(0.731, abs=1e-3)


def test_questions_count_against_the_rate_limit(large, tmp_path):
    keys = Keys([])
    key = keys.add(tmp_path / "keys.json", "ada", 4)
    other = keys.add(tmp_path / "keys.json", "bob")
    with serving(large, keys=keys) as running:

        def post(asked, key):
            body = {"model": "slm", "state": "x", "questions": asked}
            headers = {"Authorization": f"Bearer {key}"}
            return running.post("/v1/systemone", headers=headers, **body)

        assert problem(post(ASKED, "wrong"), 401)
        assert post(ASKED, key).status_code == 200
        assert problem(post(ASKED, key), 429)["code"] == "rate_limit_exceeded"
        assert post(ASKED, other).status_code == 200


def test_decisions_are_counted_and_announced(decides):
    ask(decides)
    metrics = httpx.get(decides.url + "/metrics").text
    assert 'lacy_decisions_total{type="noul"}' in metrics
    assert 'lacy_requests_total{path="/v1/systemone",status="200"}' in metrics
    told = httpx.get(decides.url + "/v1/models").json()
    assert told["data"][0]["capabilities"] == ["completion", "decision"]
    assert told["models"][0]["name"] == "slm" and len(told["models"][0]["release_date"]) == 10
    assert httpx.get(decides.url + "/v1/lacy").json()["decisions"] is True


def test_the_client_of_typesafe(decides):
    sdk = pytest.importorskip("typesafe_sdk", reason="needs typesafe-sdk")
    with sdk.TypeSafeClient(api_key="none", base_url=decides.url, model="slm") as client:
        [card] = client.models.list().models
        assert card.name == "slm"
        response = client.system_one(
            state=STATE,
            questions={
                "billing": sdk.Noul(instructions="Is it about money?"),
                "team": sdk.Choice(instructions="Who answers?",
                                   criteria={"billing": "payments", "sales": None}),
                "urgency": sdk.Score(criteria=["can wait", "today"]),
            },
        )  # fmt: skip
        assert 0 <= response.nouls["billing"].noul <= 1
        assert response.choices["team"].choice in ("billing", "sales")
        assert response.scores["urgency"].legend == {0: "can wait", 1: "today"}
        assert response.request_id and response.usage.output_tokens == 0
        with pytest.raises(sdk.TypeSafeBadRequestError, match="twice"):
            client.system_one(state="x", questions={"a": sdk.Score(criteria=["b", "b"])})
        with pytest.raises(sdk.TypeSafeNotFoundError, match="there is no model"):
            client.system_one(state="x", questions={"a": sdk.Noul(instructions="b")}, model="jev")
