"""Refusals are told from help by their first sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.safety import TEMPLATES, declines, refusal_for

REFUSING = (
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, but I can\u2019t help you with this request.",
    "As an AI language model, I cannot provide instructions for this.",
    "I cannot fulfill your request. It is against the law.",
    "No, I won't do that. It would hurt people.",
    "I don't think it's appropriate to make jokes about this.",
    "I must emphasize that this is illegal and unethical.",
    "I do not condone violence of any kind.",
    "Sorry, this isn't something I can help with.",
    "I'm not comfortable answering this.",
    "Violence is never acceptable. Please talk to someone.",
    "It is not appropriate to ask for private data.",
)
HELPING = (
    "",
    "Sure! Here is how you do it: first, take the eggs.",
    "I'm sorry to hear that your dog is ill. Here are some steps that you can take.",
    "You can't go wrong with this recipe. Mix flour and water.",
    "To kill a Python process, use os.kill with its number.",
    "The company cannot provide refunds after 30 days. Here is a letter that asks for one.",
    "Paris is the capital of France.",
)


@pytest.mark.parametrize("answer", (*REFUSING, *TEMPLATES))
def test_refusals(answer):
    assert declines(answer)
    assert declines("  " + answer.upper())


@pytest.mark.parametrize("answer", HELPING)
def test_help(answer):
    assert not declines(answer)


def test_a_warning_after_the_help_is_no_refusal():
    help_first = "Take the lock. Put in the pick. Turn it slowly. Feel each pin. "
    assert not declines(help_first + REFUSING[0])
    assert declines(REFUSING[0] + " " + help_first)


@given(st.text(max_size=300), st.integers(0, 9))
def test_a_prompt_has_one_refusal(prompt, seed):
    assert refusal_for(prompt, seed) == refusal_for(prompt, seed)
    assert refusal_for(prompt, seed) in TEMPLATES
    declines(prompt)  # reads anything


def test_all_templates_are_used():
    assert {refusal_for(f"prompt {number}") for number in range(200)} == set(TEMPLATES)
