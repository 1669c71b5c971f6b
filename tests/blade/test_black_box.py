"""The black box: answers are kept and never paid twice, caps hold, failures are no answers."""

import json

import pytest

from helpers.black_box import black_box_server
from helpers.scripted_server import scripted_server
from lacy.blade import BlackBox, BoxPrompt, Cap, open_black_box
from lacy.errors import LacyError
from lacy.remote import Retries
from lacy.sources import TokenPrice

PROMPTS = [BoxPrompt(f"Question {n}") for n in range(5)]
DOLLAR = TokenPrice(1e6, 1e6)
"""A dollar per token."""


def opened(server, **settings):
    return BlackBox(server.url, "x", retries=Retries(1, 0.0), **settings)


def test_the_same_question_is_never_paid_twice(tmp_path):
    with black_box_server(str.upper) as server:
        for _ in range(2):
            with opened(server, answers=tmp_path / "a.jsonl", price=DOLLAR) as box:
                found = box.ask([*PROMPTS, PROMPTS[0]])
                assert [one.text for one in found] == [*(p.text.upper() for p in PROMPTS),
                                                       "QUESTION 0"]  # fmt: skip
                assert box.spent.requests == 5 == len(server.bodies)
                assert box.spent.cost == box.spent.input_tokens + box.spent.output_tokens == 100
        assert all(one.stored for one in found)
        with opened(server, answers=tmp_path / "a.jsonl", style="text") as box:
            assert not box.ask(PROMPTS[:1])[0].stored  # asked in another way


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_cap_is_never_exceeded_and_a_higher_one_goes_on(tmp_path, concurrency):
    settings = {"answers": tmp_path / "a.jsonl", "concurrency": concurrency, "price": DOLLAR}
    with black_box_server(lambda text: "x") as server:
        cap = Cap(cost=130.0)
        with opened(server, cap=cap, **settings) as box, pytest.raises(LacyError, match="E392"):
            box.ask(PROMPTS)
        first = len(server.bodies)
        assert 0 < first < 5
        assert 0 < box.spent.cost <= cap.cost
        with opened(server, cap=Cap(requests=4), **settings) as box:
            with pytest.raises(LacyError, match=r"E392.*cap: 4 requests"):
                box.ask(PROMPTS)
            assert len(server.bodies) == 4
        with opened(server, **settings) as box:
            assert all(one.text == "x" for one in box.ask(PROMPTS))
            assert len(server.bodies) == 5


def test_a_cap_in_dollars_needs_a_price():
    with pytest.raises(LacyError, match=r"(?s)E12.*--price"):
        BlackBox("http://x/v1", "x", cap=Cap(cost=1.0))


@pytest.mark.parametrize("name", ["http://host/v1", "gpt", "host/v1#x", ""])
def test_an_address_needs_a_model(name):
    with pytest.raises(LacyError, match="E396"):
        open_black_box(name)


def test_a_failure_is_no_answer_and_is_asked_again(tmp_path):
    with black_box_server(lambda text: (400, "filtered") if "3" in text else "ok") as server:
        with opened(server, answers=tmp_path / "a.jsonl") as box:
            found = box.ask(PROMPTS)
            assert [bool(one.error) for one in found] == [False, False, False, True, False]
            assert "filtered" in found[3].error
        server.reply = lambda text: "now"
        with opened(server, answers=tmp_path / "a.jsonl") as box:
            assert [one.text for one in box.ask(PROMPTS)] == ["ok", "ok", "ok", "now", "ok"]


def test_a_server_that_never_answers_costs_bounded_time():
    with scripted_server() as server:
        server.replies = [(200, {}, {}, 1.0)]
        with BlackBox(server.url, "x", timeout=0.1, retries=Retries(1, 0.0)) as box:
            [found] = box.ask(PROMPTS[:1])
    assert "within 0.1 s" in found.error
    assert box.spent.requests == 0


@pytest.mark.parametrize(("style", "path"), [("chat", "chat/completions"), ("text", "completions")])
def test_the_likeliest_letter_is_the_answer(style, path):
    top = {"A": -2.0, " B": -0.3, "The": -0.1}
    if style == "chat":
        tokens = [{"token": t, "logprob": p} for t, p in top.items()]
        logprobs = {"content": [{"token": "The", "logprob": -0.1, "top_logprobs": tokens}]}
        choice = {"message": {"content": "The answer"}, "logprobs": logprobs}
    else:
        choice = {"text": "The", "logprobs": {"top_logprobs": [top]}}
    with scripted_server() as server:
        server.replies = [(200, {"choices": [{**choice, "finish_reason": "stop"}]})]
        with BlackBox(server.url, "x", style=style) as box:
            [found] = box.ask([BoxPrompt("Which?", 3, "ABC")])
        [(asked, _, body)] = server.seen
    assert found.text == "B"
    assert asked == f"/v1/{path}"
    assert body["logprobs"]
    assert ("prompt" in body) is (style == "text")


def test_no_answer_has_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key-1")
    refuse = black_box_server(lambda text: (401, "bad key sk-secret-key-1"))
    with refuse as server, opened(server, answers=tmp_path / "a.jsonl") as box:
        [found] = box.ask(PROMPTS[:1])
    assert "secret" not in found.error
    assert "secret" not in (tmp_path / "a.jsonl").read_text()


def test_a_line_of_the_file_has_text_and_cost(tmp_path):
    says = black_box_server(lambda text: "yes")
    with says as server, opened(server, answers=tmp_path / "a.jsonl") as box:
        box.ask(PROMPTS[:1])
    answer, spent = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert answer["answer"]["text"] == "yes"
    assert spent == {"key": "spent", "answer": answer["answer"]["spent"]}
