"""Many questions at a time, and probabilities of words in their answers."""

import math

import pytest

from helpers.black_box import black_box_server
from lacy.remote import OpenAIClient, ask_many, word_probabilities, word_probability


def test_conversations_and_texts_are_asked_in_one_go():
    chat = [{"role": "user", "content": "a"}]
    with black_box_server(str.upper) as server:
        client = OpenAIClient(server.url, "x", concurrency=2)
        found = dict(ask_many(client, [chat, "b", chat], max_tokens=3))
    assert {place: answer.text for place, answer in found.items()} == {0: "A", 1: "B", 2: "A"}
    assert sum("prompt" in body for body in server.bodies) == 1
    assert all(body["max_tokens"] == 3 for body in server.bodies)


def test_probabilities_of_words_add_up_to_one():
    top = {"A": math.log(0.4), " b": math.log(0.1), "B": math.log(0.1), "x": math.log(0.3)}
    choice = {"logprobs": {"top_logprobs": [{"x": -0.1}, top]}}
    assert word_probabilities(choice, ("a", "b", "c")) == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert word_probability(choice, "a", "b") == pytest.approx(2 / 3)
    assert word_probabilities(choice, ("q",)) is None
    assert word_probabilities({}, ("a",)) is None
