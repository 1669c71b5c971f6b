import pytest
import spacy

from lacy.errors import LacyError
from lacy.factscore import ClauseSplitter, open_facts
from lacy.factscore.clauses import PIPELINES
from lacy.factscore.verbs import past_tense

PARSER = next((name for name in PIPELINES if spacy.util.is_package(name)), None)
needs_parser = pytest.mark.skipif(PARSER is None, reason="no spaCy pipeline with a parser")


@pytest.fixture(scope="module")
def splitter():
    return ClauseSplitter()


CASES = {
    "place and date of a participle": (
        "Ada Lovelace was an English mathematician born on December 10, 1815, in London, England.",
        [
            "Ada Lovelace was an English mathematician.",
            "Ada Lovelace was born on December 10, 1815.",
            "Ada Lovelace was born in London, England.",
        ],
    ),
    "members of a list share their adjective": (
        "She is an American actress and singer.",
        ["She is an American actress.", "She is an American singer."],
    ),
    "joined verbs share subject and negation": (
        "He played for the full duration of the game but did not score any goals or make any"
        " assists.",
        [
            "He played for the full duration of the game.",
            "He did not score any goals.",
            "He did not make any assists.",
        ],
    ),
    "-ing clauses in the past": (
        "She began her career as a singer, signing with Motown Records in 1993.",
        [
            "She began her career.",
            "She began her career as a singer.",
            "She signed with Motown Records.",
            "She signed with Motown Records in 1993.",
        ],
    ),
    "relative clauses": (
        "He married Anna Bell, who was a painter.",
        ["He married Anna Bell.", "Anna Bell was a painter."],
    ),
    "appositions": (
        "He lost to his former team, the Dallas Cowboys.",
        ["He lost to his former team.", "His former team was the Dallas Cowboys."],
    ),
    "years of life": (
        "Jean Roux (12 May 1703 - 1763) was a French engraver.",
        [
            "Jean Roux was born on 12 May 1703.",
            "Jean Roux died in 1763.",
            "Jean Roux was a French engraver.",
        ],
    ),
    "quoted titles stay whole": (
        'His films include "King of New York," "The Abyss," and "The Straight Story."',
        [
            'His films include "King of New York".',
            'His films include "The Abyss".',
            'His films include "The Straight Story".',
        ],
    ),
    "years of titles": (
        'He appeared in "A Bronx Tale" (1993).',
        ['"A Bronx Tale" was released in 1993.', 'He appeared in "A Bronx Tale".'],
    ),
    "one name with an ampersand": (
        "He is known for his role in the Fast & Furious franchise.",
        ["He is known for his role.", "He is known for his role in the Fast & Furious franchise."],
    ),
    "examples stand for themselves": (
        "She has been featured in publications such as Vogue and Elle.",
        [
            "She has been featured in publications.",
            "She has been featured in Vogue.",
            "She has been featured in Elle.",
        ],
    ),
    "whose": (
        "Kerser, whose real name is Scott Froml, is an Australian rapper.",
        ["Kerser is an Australian rapper.", "Kerser's real name is Scott Froml."],
    ),
    "where": (
        "He moved to London, where he worked as a waiter.",
        ["He moved to London.", "He worked as a waiter in London."],
    ),
    "phrases that connect sentences": (
        "In addition to her acting career, she has also worked as a model.",
        ["She has worked as a model."],
    ),
    "no clause": ("A long list of films.", ["A long list of films."]),
}


@needs_parser
@pytest.mark.parametrize(("sentence", "facts"), CASES.values(), ids=CASES)
def test_facts(splitter, sentence, facts):
    assert splitter.facts(sentence) == facts


@needs_parser
def test_any_text_gives_facts_of_its_own_words(splitter):
    sentences = [
        "", "!", "(", "« »", "He", "He he he and and, and (born (born in 1815).", '"A" "B" "C".',
        "A " * 300, "and, " * 200, "彼は東京で生まれた。", "x" * 5000, "Wow! \u0000 No.",
    ]  # fmt: skip
    found = splitter.facts_of(sentences)
    assert len(found) == len(sentences)
    assert all(facts is not None and len(facts) < 40 for facts in found)


@needs_parser
def test_many_sentences_give_what_each_gives_alone(splitter):
    sentences = [sentence for sentence, _ in CASES.values()]
    assert splitter.facts_of(sentences) == [splitter.facts(sentence) for sentence in sentences]


def test_past_tense():
    words = {"appear": "appeared", "sign": "signed", "become": "became", "study": "studied",
             "play": "played", "serve": "served", "transfer": "transferred"}  # fmt: skip
    assert {word: past_tense(word) for word in words} == words


def test_pipelines_without_a_parser_are_refused(monkeypatch):
    with pytest.raises(LacyError, match="E224"):
        ClauseSplitter("no_such_pipeline")
    monkeypatch.setattr("lacy.factscore.clauses.PIPELINES", ("no_such_pipeline",))
    with pytest.raises(LacyError, match=r"E224.*none is installed"):
        open_facts("clauses")


@pytest.mark.parametrize("name", ["claues", "http://localhost:1/v1", ""])
def test_unknown_makers(name):
    with pytest.raises(LacyError, match="E228"):
        open_facts(name)


def test_given_facts_need_no_maker():
    assert open_facts("given") is None
