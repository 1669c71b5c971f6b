"""The oracle on free text: it asks where the model itself would name something."""

import re

import pytest

from lacy.cascade import Budget, Engine
from lacy.errors import LacyError
from lacy.evaluate.articles import evaluate_articles, oracle_rate
from lacy.evaluate.lookahead import look_ahead, own_places
from lacy.testing import ScriptedSource, scripted
from lacy.types import Answer, Document, Mark, Span, call_rate

VALUE = re.compile(r"\b(?:[12]\d{3}|[A-Z]\w+(?: [A-Z]\w+)*)\b")
STORY = " was born in Paris in 1888, the son of Abel Poe."


def extract(texts):
    return [
        [Mark(m.start(), m.end(), "DATE" if m.group().isdigit() else "ENTITY") for m in found]
        for found in map(VALUE.finditer, texts)
    ]


def speak(text):
    """The story about anybody; it goes on after whatever was put in place of its own values."""
    said = re.sub(r"^Ann \w+", "", text)
    for own, other in (("Paris", "Oslo|Lima"), ("1888", "1901|1902"), ("Abel Poe", "Eve Lee")):
        said = re.sub(rf"\b(?:{other})\b", own, said)
    return STORY[len(said) :][:1] if STORY.startswith(said) else ""


def source():
    return ScriptedSource({"born in": " Oslo", "in Oslo in": " 1901", "son of": " Eve Lee"})


def engine(policy):
    return Engine(scripted(speak, lambda text: True), source(), policy)


def test_calls_occur_wherever_the_model_would_name_something():
    answers = look_ahead(engine, ["Ann Aoe", "Ann Boe"], [None, None], extract)
    for answer in answers:
        borrowed = [span.text for span in answer.spans if span.asked]
        assert borrowed == [" Oslo", " 1901", " Eve Lee"]
        assert answer.calls == 3
        assert answer.text.endswith(" was born in Oslo in 1901, the son of Eve Lee.")


def test_unanswered_entities_stay_the_models_own():
    def knows_little(policy):
        return Engine(scripted(speak), ScriptedSource({"son of": " Eve Lee"}), policy)

    (answer,) = look_ahead(knows_little, ["Ann Aoe"], [None], extract)
    assert answer.text == "Ann Aoe was born in Paris in 1888, the son of Eve Lee."
    assert answer.calls == 3  # two of them in vain


@pytest.mark.parametrize(("rate", "calls"), [(0.0, 0), (0.05, 1), (0.2, 2), (1.0, 3)])
def test_a_budget_is_spent_from_the_beginning(rate, calls):
    (answer,) = look_ahead(engine, ["Ann Aoe"], [None], extract, rate=rate)
    asked = [span.text for span in answer.spans if span.asked]
    assert asked == [" Oslo", " 1901", " Eve Lee"][:calls]


def test_rounds_end():
    (answer,) = look_ahead(engine, ["Ann Aoe"], [None], extract, rounds=1)
    assert answer.calls == 1


def test_places_by_hand():
    spans = (Span("Ann Aoe", "prompt"), Span(" saw Ann Aoe in", "slm"), Span(" Oslo", "book"))
    answer = Answer((*spans, Span(" and Rome in 1888", "slm")), True)
    (marks,) = extract([answer.text])
    first = "Ann Aoe saw Ann Aoe in Oslo and"
    assert own_places(answer, marks) == {first, first + " Rome in"}
    content = [Mark(m.start, m.end, "CONTENT") for m in marks]
    assert own_places(answer, content) == set()


def test_an_oracle_among_the_conditions_over_articles():
    def article(name, town, year):
        text = f"{name} was born in {town} in {year}."
        return Document(name, text, {"title": name})

    articles = [article("Ann Aoe", "Oslo", "1901"), article("Ann Boe", "Lima", "1902")]
    loaded = scripted(speak, lambda text: False)
    conditions = evaluate_articles(
        loaded, articles, extract, ["never", "oracle=0.1", "oracle"], abstain=None
    ).conditions
    rates = [call_rate(condition.answers) for condition in conditions.values()]
    assert rates == sorted(rates) and rates[0] == 0 < rates[1] < rates[2]
    assert conditions["oracle"].policy == "oracle"
    assert conditions["oracle"].scores["borrowed_entities_right"].value == 1.0
    assert (
        conditions["oracle"].scores["entities_right"].value
        > conditions["never"].scores["entities_right"].value
    )


def test_an_oracle_s_share():
    assert [oracle_rate(p) for p in ("oracle", "oracle=0.22", "oracle=0")] == [1.0, 0.22, 0.0]
    assert oracle_rate("budget=0.22") is None and oracle_rate(Budget(0.22)) is None
    for wrong in ("oracle=much", "oracle=2", "oracle=nan"):
        with pytest.raises(LacyError) as caught:
            oracle_rate(wrong)
        assert caught.value.code == "E61" and wrong in str(caught.value)
