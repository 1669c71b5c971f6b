import pytest

from lacy.factscore import abstains, checked_facts, fact_sentences
from lacy.factscore.asked_facts import fact_messages, parse_facts
from lacy.factscore.facts import check_dates, without_stumps

SENTENCE = "She was born on 10 May 1980 and won two medals in 1999."


def test_made_up_dates_are_dropped_and_cut_ones_completed():
    facts = ["She was born on 10 May 198.", "She won 2 medals.", "She won medals in 1999.",
             "She was born in June."]  # fmt: skip
    kept = ["She was born on 10 May 1980.", "She won medals in 1999."]
    assert check_dates(SENTENCE, facts, fall_back=False) == kept
    assert check_dates(SENTENCE, facts) == kept


def test_as_in_the_original_all_facts_stay_if_a_date_is_missing():
    facts = ["She won 2 medals.", "She won medals in 1999."]
    assert check_dates(SENTENCE, facts) == facts
    assert check_dates(SENTENCE, facts, fall_back=False) == facts[1:]


def test_stumps_are_dropped_only_if_another_fact_contains_them():
    facts = ["She was born.", "She was born in Rome.", "She was appointed.", "He is known."]
    assert without_stumps(facts) == facts[1:]


@pytest.mark.parametrize(
    ("settings", "facts", "counts"),
    [
        ({}, ("A is b.", "C is d."), {"repeated facts": 2}),
        ({"repeats": "keep"}, ("A is b.", "a is B.", "C is d.", "C is d."), {}),
    ],
)
def test_repeats(settings, facts, counts):
    made = checked_facts(["S.", "S."], [["A is b.", "a is B."], ["C is d.", "C is d."]],
                         date_check="off", **settings)  # fmt: skip
    assert (made.facts, dict(made.counts)) == (facts, counts)


def test_sentences_without_facts_are_counted():
    made = checked_facts(["S.", "T."], [None, ["T is u."]])
    assert made.facts == ("T is u.",)
    assert made.counts == {"sentences without facts: their maker failed": 1}


def test_sentences_that_frame_a_text_state_nothing():
    text = "Sure, I can help with that! Ada was born in 1815. Please let me know more."
    assert fact_sentences(text) == ["Ada was born in 1815."]
    assert fact_sentences("Here are some facts. Here are two cats.") == ["Here are two cats."]


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ("- A is b.\n- C is d", ["A is b.", "C is d."]),
        (
            "Here are the facts:\n\n1. A is b.\n2) C is d.\n\nHope this helps!",
            ["A is b.", "C is d."],
        ),
        ('["A is b.", "C is d."]', ["A is b.", "C is d."]),
        ("```\n* **A** is b.\n* C is d.\n```", ["A is b.", "C is d."]),
        ("<think>\n- no\n</think>\n• A is b.", ["A is b."]),
        ("A is b.\nC is d.", ["A is b.", "C is d."]),
        ("- none", []),
        ("None.", []),
        ("I'm sorry, I cannot help with that", None),
        ("", None),
        ("[1, 2", None),
    ],
)
def test_answers_of_models(answer, facts):
    assert parse_facts(answer) == facts


def test_the_prompt_ends_with_the_sentence_and_its_examples_can_be_parsed():
    messages = fact_messages("Ada was born.")
    assert messages[-1] == {"role": "user", "content": "Sentence: Ada was born."}
    replies = [one["content"] for one in messages if one["role"] == "assistant"]
    assert all(parse_facts(reply) is not None for reply in replies)


ABSTENTIONS = {
    "": "lacy generic perplexity_ai none",
    "I'm sorry, but I cannot find any reliable information about Ada.": "lacy generic",
    "Could you please provide more context?": "lacy generic",
    "There is no information about Ada in the search results. [1]": "lacy perplexity_ai",
    "The search results do not provide\n\nmore. Ada was born in 1815.": "lacy perplexity_ai",
    "Ada Lee is not mentioned in any of the provided search results.": "lacy",
    "I do not have information on Ada Lee.": "lacy",
    "Unfortunately, I don't know who Ada Lee is.": "lacy",
    "Ada was born in 1815.\n\nThere is no information about her death.": "",
    "Ada Lee was not mentioned in the book. She is a writer.": "",
    "I'm Still Here is a film by Ada Lee.": "",
    "There is a street named after Ada.": "",
}


@pytest.mark.parametrize(("text", "rules"), ABSTENTIONS.items())
def test_abstentions(text, rules):
    every = ["lacy", "generic", "perplexity_ai", "none"]
    assert [rule for rule in every if abstains(text, rule)] == rules.split()
