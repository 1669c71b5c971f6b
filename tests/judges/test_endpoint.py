"""A language model behind a server as a judge, against a real HTTP server that plays replies."""

import math
import re

import pytest

from helpers.scripted_server import scripted_server
from helpers.verdicts import verdict_server
from lacy.errors import LacyError
from lacy.judges import NO_PASSAGES, Claim, EndpointJudge, open_judge, read_verdict
from lacy.judges.endpoint import UNREADABLE, verification_prompt
from lacy.judges.verdicts import true_probability
from lacy.remote import Retries

PASSAGES = ("<s>Ada was born in London.</s>", "Ada wrote notes.")


def reply(text, **choice):
    message = {"role": "assistant", "content": text}
    return (200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]})


def claims(*texts):
    return [Claim(text, "Ada", PASSAGES) for text in texts]


def judge_of(server, **options):
    retries = Retries(count=1, first_wait=0.01)
    return EndpointJudge(server.url, "m", key_variable=None, retries=retries, **options)


def token(*alternatives):
    top = [{"token": word, "logprob": math.log(p)} for word, p in alternatives]
    return {"content": [{"token": "x", "logprob": -1.0, "top_logprobs": top}]}


@pytest.mark.parametrize(
    ("text", "later", "first", "original"),
    [
        ("True", True, True, True),
        ("false.", False, False, False),
        ("It could be true, but it is False.", False, True, False),
        ("False? No: true", True, False, True),
        ("True, false, true", True, True, False),  # the original compares the first places
        ("<think>false</think> True", True, True, True),
        ("untrue", None, None, True),  # the original finds "true" in any word
        ("The context does not say.", None, None, False),
        ("There is no information.", None, None, False),
        ("Yes.", None, None, True),
        ("", None, None, True),
    ],
)
def test_rules_for_verdicts(text, later, first, original):
    found = [read_verdict(text, rule) for rule in ("later", "first", "original")]
    assert found == [later, first, original]


def test_verdicts_come_from_the_text_and_scores_from_log_probabilities():
    with scripted_server() as server:
        server.replies = [
            reply("True", logprobs=token((" True", 0.6), ("true", 0.1), ("False", 0.2)))
        ]
        [judgment] = judge_of(server).judge(claims("Ada was born."))
        assert judgment.supported is True
        assert judgment.score == pytest.approx(0.7 / 0.9)
        server.replies = [reply("False.")]
        [judgment] = judge_of(server).judge(claims("Ada was born."))
        assert (judgment.supported, judgment.score) == (False, 0.0)


def test_probabilities_in_the_format_of_completions():
    assert true_probability({"logprobs": {"top_logprobs": [{" False": math.log(0.5)}]}}) == 0.0
    assert true_probability({"logprobs": {"top_logprobs": [{"a": 0.0}, None]}}) is None
    assert true_probability({"logprobs": None}) is None
    assert true_probability({}) is None


def test_the_prompt_has_the_best_passage_last():
    [claim] = claims("Ada was born in London.")
    prompt = verification_prompt(claim)
    places = [
        prompt.index(part) for part in ("Ada wrote notes.", "Ada was born in London.", "Statement:")
    ]
    assert places == sorted(places) and "<s>" not in prompt
    long = Claim("F", "Ada", tuple(f"{k} " + "x" * 10_000 for k in range(5)))
    assert len(verification_prompt(long)) < 25_000 and "0 xxx" in verification_prompt(long)


def test_answers_that_cannot_be_read_and_failures_are_judgments_that_say_so():
    with scripted_server() as server:
        server.replies = [reply("Maybe"), reply("True"), (500, {"error": {"message": "no"}})]
        judge = judge_of(server, concurrency=1)
        found = judge.judge([*claims("a", "b", "c"), Claim("d", "Ada", ())])
    assert [judgment.why for judgment in found[:2]] == [UNREADABLE, ""]
    assert re.match("the judge failed: HTTP 500.*after 2 tries", found[2].why)
    assert found[3].why == NO_PASSAGES
    assert judge.asked == 4  # two answers, and one failure that was tried twice


def test_a_server_that_is_gone_is_not_asked_for_ever():
    with scripted_server() as server:
        server.replies = [(503, {})]
        judge = judge_of(server, concurrency=2)
        found = judge.judge(claims(*map(str, range(200))))
    assert all(judgment.supported is None for judgment in found)
    assert "in a row failed" in found[-1].why
    assert judge.asked < 40


def test_order_and_number_of_answers_do_not_depend_on_concurrency():
    texts = [f"Fact {k} of {k * 7919 % 100}." for k in range(60)]
    oracle = {text: k % 3 == 0 for k, text in enumerate(texts)}
    with verdict_server(oracle, latency=0.002) as server:
        for concurrency in (1, 7, 64):
            judge = EndpointJudge(server.url, "m", key_variable=None, concurrency=concurrency)
            found = judge.judge(claims(*texts))
            assert [judgment.supported for judgment in found] == list(oracle.values())
            assert judge.asked == len(texts)


def test_names():
    judge = open_judge("http://localhost:9/v1#m", concurrency=3)
    assert isinstance(judge, EndpointJudge) and judge.name == "http://localhost:9/v1#m"
    with pytest.raises(LacyError, match="E216"):
        open_judge("http://localhost:9/v1")
    with pytest.raises(LacyError, match="E216"):
        open_judge("nobody")
