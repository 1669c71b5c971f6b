"""What a question asks for, and how the statement that answers it begins and ends."""

import pytest

from lacy.cascade.answering import choose_answer
from lacy.cascade.passage_answers import whole_list
from lacy.cascade.questions import Question, asks_for_value, question_in
from lacy.cascade.relations import asks_for, fits, relation_words, value_kind
from lacy.types import Candidate, Reply


def chat(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("question", "subject", "opening"),
    [
        ("In what city was George Rankin born?", "George Rankin", "George Rankin was born"),
        ("What is Ada's religion?", "Ada", "Ada's religion is"),
        ("What is Ada's occupation?", "Ada", "Ada is"),
        ("What was the profession of Ada Lovelace?", "Ada Lovelace", "Ada Lovelace was"),
        ("What did Ada do for a living?", "Ada", "Ada was"),
        ("What genre is It's a Wonderful Life?", "It's a Wonderful Life", "The genre of It's a"),
        ("What is Opole the capital of?", "Opole", "Opole is the capital of"),
        ("Who is the author of the Iliad?", "Iliad", "The author of the Iliad is"),
        ("What is the ISO code for China?", "China", "The ISO code for China is"),
        ("What money is used in France?", "France", "The money used in France is"),
        (
            "Who was the head of Ada who retired in 1850?",
            "Ada",
            "The head of Ada who retired in 1850 was",
        ),
        ("Where did she die?", "Ada", "She died"),
        ("What sport does Ada play?", "Ada", "Ada plays"),
        ("What kind of work does Ada do?", "Ada", "Ada is"),
        ("What kind of music does Ada do?", "Ada", ""),
        ("Who founded Zynga?", "Zynga", ""),
        ("Tell me the capital of France.", "France", "The capital of France is"),
        ("Can you tell me when Ada Lovelace was born?", "Ada Lovelace", "Ada Lovelace was born"),
    ],
)
def test_a_question_becomes_the_beginning_of_its_answer(question, subject, opening):
    found = Question(question).opening(subject)
    assert found.startswith(opening) and bool(found) == bool(opening)


def test_a_question_for_the_subject_of_a_verb_is_completed_after_the_value():
    assert Question("Who founded Zynga?").closing() == "founded Zynga"
    assert Question("How many people live in Opole?").closing() == "people live in Opole"
    assert Question("When was Zynga founded?").closing() == ""


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("When was Ada Lovelace born?", True),
        ("in which city was Ada Lovelace born", True),
        ("Give me Ada's date of birth", True),
        ("Write a poem about Ada Lovelace.", False),
        ("Tell me about Ada Lovelace.", False),
        ("How do I boil an egg?", False),
        ("Why is the sky blue?", False),
        ("What is your name?", False),
        ("Is Paris in France?", False),
        ("", False),
        ("Who " * 1000, False),
    ],
)
def test_only_questions_for_a_value_ask_a_source(text, asks):
    assert asks_for_value(text) == asks


def test_follow_up_questions_are_completed_from_the_earlier_ones():
    first = ("When was Ada Lovelace born?", "She was born on 10 December 1815.")
    assert question_in(chat(*first, "And where?")).text == "Where was Ada Lovelace born?"
    other = question_in(chat(*first, "What about Mary Somerville?"))
    assert other.text == "When was Mary Somerville born?"
    she = question_in(chat(*first, "Where did she die?"))
    assert she.about("Ada Lovelace").text == "Where did Ada Lovelace die?"
    assert she.shown == "\n\n".join((*first, "Where did she die?"))
    assert not question_in(chat("Who is Ada Lovelace?")).asks
    assert question_in(chat("When was Ada born?", "In 1815.")) is None


def test_kinds_of_values_are_told_apart():
    values = ("7 November 1867", "the 1890s", "1867", "68 million", "183 cm", "Warsaw", "UTC+1")
    kinds = ["date", "date", "date", "number", "number", "name", "name"]
    assert [value_kind(value) for value in values] == kinds
    assert [value_kind(v) for v in ("ten", "Twelve seats", "Nine Inch Nails", "Tennis")] == [
        "number", "number", "name", "name",
    ]  # fmt: skip
    assert fits(Question("When was Ada born?"), ["Warsaw", "1815"])
    assert not fits(Question("Where was Ada born?"), ["10 December 1815"])
    assert not fits(Question("When was Ada born?"), ["London"])
    names = ("birthPlace", "birth_place", "place of birth", "FIFA code", "P19")
    words = ["birth place", "birth place", "place of birth", "fifa code", "P19"]
    assert [relation_words(name) for name in names] == words


def test_a_value_of_a_list_of_common_nouns_is_answered_as_the_whole_list():
    context = "Brent Huff is an American actor, writer and film director who lives in Rome."
    found = whole_list(Candidate(" writer", context=context))
    assert found.text == "actor, writer and film director"
    assert whole_list(Candidate(" Rome", context=context)).text == " Rome"


class Reader:
    """A backend that finds a continuation likely if its first word is in the text."""

    async def score_texts(self, texts, continuations):
        return [
            [-1.0 if c.split()[0] in text.split() else -9.0 for c in group]
            for text, group in zip(texts, continuations, strict=True)
        ]


def choose(question, *facts, relations=()):
    import asyncio

    found = [Candidate(f" {v}", f"{r}: {v}", r, subject="Ada") for r, v in facts]
    reply = Reply(tuple(found), True, relations=tuple(relations))
    return asyncio.run(choose_answer(Reader(), Question(question), reply))


def test_the_relation_that_a_question_names_is_chosen_whatever_its_value():
    facts = [("religion", "Jedi"), ("employer", "Analytical Ltd"), ("sport", "chess")]
    chosen = choose("What is the religion of Ada?", *facts)
    assert [value.text for value in chosen.values] == [" Jedi"]
    edited = choose("What is the religion of Ada?", ("religion", "chess"), *facts[1:])
    assert [value.text for value in edited.values] == [" chess"]


def test_no_value_is_chosen_where_no_relation_fits():
    facts = [("religion", "Jedi"), ("employer", "Analytical Ltd")]
    assert "no relation fits" in choose("What is the pet of Ada?", *facts).why
    assert "none of 2 relations" in choose("What is the color of Ada?", *facts).why
    assert "none of 2 relations" in choose("When was Ada born?", *facts).why
    assert "no particular fact" in choose("Who is Ada?", *facts).why


@pytest.mark.parametrize(
    ("question", "name", "asks"),
    [
        ("Who is the father of Ada?", "father", True),
        ("Who is the father of Ada?", "child", False),
        ("Where did Ada die?", "place_of_birth", False),
        ("Where did Ada die?", "place of death", True),
        ("What is Ada the capital of?", "capital", False),
        ("What is the capital of Ada?", "capital of", False),
        ("What type of music does Ada play?", "record label", False),
        ("What type of music does Ada play?", "genre", True),
        ("Which country was Ada created in?", "country of origin", True),
        ("Which country was Ada created in?", "creator", False),
        ("In which country was Ada born?", "place of birth", True),
        ("In which country was Ada born?", "place of death", False),
        ("In what city was Ada educated?", "educated at", None),
        ("In what city was Ada born?", "child", False),
        ("What country is Ada from?", "nationality", None),
        ("How high is Ada?", "height", True),
        ("Who wrote Ada?", "composer", True),
        ("Who is the author of Ada?", "composer", False),
        ("What is Ada's occupation?", "notable work", False),
        ("What kind of work does Ada do?", "employer", False),
        ("What kind of work does Ada do?", "occupation", True),
        ("Which pet has Ada?", "employer", None),
    ],
)
def test_words_of_a_question_name_relations_and_exclude_others(question, name, asks):
    assert asks_for(Question(question), "Ada", name) is asks


def test_a_related_relation_does_not_replace_one_that_no_subject_has():
    facts = [("mother", "Anne"), ("child", "Byron"), ("religion", "Jedi")]
    assert not choose("Who is the father of Ada?", *facts).values
    assert not choose("Where was Ada born?", ("place of death", "London"), *facts).values


def test_a_relation_that_shares_words_does_not_replace_the_one_that_is_named():
    facts = [("took highest office in", "1843"), ("religion", "Jedi")]
    question = "What is the highest office of Ada?"
    chosen = choose(question, *facts, relations=["highest office"])
    assert not chosen.values and chosen.unknown == "highest office"
    known = choose(question, *facts, ("highest office", "queen"))
    assert [value.text for value in known.values] == [" queen"]
    facts = [*facts, ("country of origin", "Peru")]
    chosen = choose("Which country was Ada created in?", *facts, relations=["country"])
    assert [value.text for value in chosen.values] == [" Peru"]
    many = [f"relation {n}" for n in range(90)]
    assert not choose(question, *facts, relations=[*many, "highest office"]).values


def test_a_relation_is_named_by_all_of_its_words():
    facts = [("leader after Ann", "Bob"), ("leader after Bob", "Cyd")]
    chosen = choose("Who became the leader of Ada after Bob?", *facts)
    assert [value.text for value in chosen.values] == [" Cyd"]
    facts = [("year created", "1924"), ("sold in", "1926")]
    chosen = choose("In what year was Ada sold to Bob?", *facts)
    assert [value.text for value in chosen.values] == [" 1926"]


def test_a_relation_with_another_number_is_not_asked_for():
    facts = [("head taking office in 1840", "Bob"), ("head taking office in 1850", "Cyd")]
    question = "Who was the head of Ada who took office in 1850?"
    assert [value.text for value in choose(question, *facts).values] == [" Cyd"]
    assert not choose(question, facts[0], ("religion", "Jedi")).values


def test_occupations_are_stated_as_what_someone_is():
    def small_words(value):
        return Question("What is Ada's occupation?").small_words("Ada is", value)

    assert small_words("playwright") == ("a", "an")
    assert "" in small_words("Minister of Finance")


def test_all_values_of_the_chosen_relation_are_listed():
    facts = [("child", "Byron"), ("child", "Annabella"), ("religion", "Jedi")]
    assert len(choose("Who is the child of Ada?", *facts).values) == 2
