"""Hints for questions to a model that only continues texts."""

import pytest

from lacy.cascade.hints import question_hint, sentence_start


@pytest.mark.parametrize(
    ("question", "start"),
    [
        ("When was Emil Quilodell born?", "Emil Quilodell was born"),
        ("Where was Ludwig van Beethoven born ?", "Ludwig van Beethoven was born"),
        ("Who is Ada?", "Ada is"),
        ("In which town was J. R. R. Tolkien born?", "J. R. R. Tolkien was born"),
        ("What is the Bank of England known for?", "The Bank of England is known for"),
        ("Some text.\nWhen was Zoë O'Brien born?", "Zoë O'Brien was born"),
        ("Where did Emil Quilodell study?", "Emil Quilodell studied"),
        ("Q: When was Emil Quilodell born?", "Emil Quilodell was born"),
        ("when was Emil Quilodell born", "Emil Quilodell was born"),
        ("Are you there?", ""),
        ("What is it?", ""),
        ("Emil Quilodell was born", ""),
    ],
)
def test_questions_become_starts_of_sentences(question, start):
    assert sentence_start(question) == start


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("who is emil quilodell", True),
        ("What year was Emil Quilodell born", True),
        ("Tell me where Emil Quilodell was born.", True),
        ("Q: When was Emil Quilodell born?\nA:", True),
        ("When Emil Quilodell was born", False),
        ("What he was known for", False),
        ("Who was he? He was born in Ulm. Listing", False),
        ("Where is Ulm? Ulm is in", False),
        ("Emil Quilodell, who was", False),
    ],
)
def test_questions_are_recognised_without_a_question_mark(prompt, asks):
    assert bool(question_hint(prompt, templated=False)) == asks


def test_only_a_question_to_a_model_without_template_gets_a_hint():
    question = "When was Emil Quilodell born?"
    assert "“Emil Quilodell was born”" in question_hint(question, templated=False)
    assert "continues texts" in question_hint("really?", templated=False)
    assert question_hint(question, templated=True) == ""
    assert question_hint("Emil Quilodell was born", templated=False) == ""
    assert question_hint("Was it? It was", templated=False) == ""
    assert question_hint("? " * 100_000, templated=False)
