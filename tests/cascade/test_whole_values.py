"""Values stay whole where two speakers meet, and none is stated twice."""

import re
import sqlite3

import pytest
import torch

from helpers import models
from lacy.cascade import Engine
from lacy.cascade.token_beginnings import tokens_beginning_with
from lacy.cascade.whole_values import fitting_candidates, new_candidates
from lacy.corpus import TokenText
from lacy.sources import Database, ScriptedSource
from lacy.testing import scripted
from lacy.types import Candidate


def texts(candidates):
    return [candidate.text for candidate in candidates]


def candidates(*values):
    return [Candidate(value) for value in values]


def places(text):
    return text.endswith((" in", " on"))


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "facts.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [("Ada", "country", "Spain"), ("Ada", "citizenship", "Spain"), ("Ada", "year", 2010)]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    db.close()
    with Database(path) as database:
        yield database


def test_what_a_text_states_is_not_offered_again():
    assert texts(new_candidates("Born in Oslo, in", candidates(" Oslo", " Rome"))) == [" Rome"]
    assert texts(new_candidates("Born in Oslofjord, in", candidates(" Oslo"))) == [" Oslo"]
    assert texts(new_candidates("The Zürich's in", candidates(" Zurich", " !"))) == [" !"]


def test_no_fact_is_borrowed_twice(database):
    def speak(text):
        return "n" if text.endswith(" i") else "in" if text.endswith(" ") else " in"

    loaded = scripted(speak, places)
    answer = Engine(loaded, database, "threshold=0", abstain=None, max_new_tokens=24).generate(
        ["Ada lived in"]
    )[0]
    assert answer.text.count("Spain") == 1 and answer.text.count("2010") == 1
    assert any("the text already states all 3 values" in span.reason for span in answer.spans)


def test_a_question_may_name_the_value_that_answers_it(database):
    loaded = scripted(lambda text: "", lambda text: text.endswith("A:"))
    engine = Engine(loaded, database, "threshold=0", abstain=None, max_new_tokens=9)
    prompt = "Is Ada from Spain or Mars, since 2010? A:"
    ids = engine.token_text.encode(prompt)
    sequence = engine.sequence(0, prompt, "Ada", 9, ids)
    engine.run([sequence])
    assert sequence.answer().continuation in (" Spain", " 2010")


@pytest.mark.parametrize(
    "own", ["s and", "th", "7", ",000", ".5", "-2012", "– 15", " - 15", "/’15"]
)
def test_the_slm_adds_nothing_to_a_borrowed_number(own):
    def speak(text):
        return own[len(text.rpartition("2010")[2]) :] if "2010" in text else " x"

    loaded = scripted(speak, places)
    source = ScriptedSource([" 2010"])
    answer = Engine(loaded, source, "threshold=0", max_new_tokens=12).generate(["It was in"])[0]
    after = answer.text.partition("2010")[2]
    assert not after[:1].isalnum()
    assert not (after[:1] in ".," and after[1:2].isdigit())
    assert after[:1] not in ("-", "/")
    assert not re.match(r"\s?[-–/]\s?’?\d", after)


def test_other_units_may_continue_a_word():
    loaded = scripted(lambda text: "s" if text.endswith("2010") else "", places)
    engine = Engine(loaded, ScriptedSource([" 2010"]), "threshold=0", unit="word", max_new_tokens=8)
    assert engine.generate(["It was in"])[0].text == "It was in 2010s"


def test_only_a_whole_number_completes_a_number_that_the_slm_has_begun():
    values = candidates(" 1893", "3", " March", "rd")
    assert texts(fitting_candidates("born in 189", b"7", values)) == ["3"]
    assert texts(fitting_candidates("born in 189", b" and", values)) == [" 1893", " March", "rd"]
    assert texts(fitting_candidates("1,", b"000", values)) == ["3"]
    assert texts(fitting_candidates("born in", b" 1", values)) == [" 1893", " March"]


def test_a_call_inside_a_number_returns_the_whole_number_or_nothing(tmp_path):
    path = tmp_path / "facts.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.execute("INSERT INTO fact VALUES ('Ada', 'born', '1893'), ('Ada', 'died', '1950')")
    db.close()
    loaded = scripted(lambda text: "7" if text[-1].isdigit() else ".", lambda text: text[-1] == "9")
    with Database(path) as database:
        engine = Engine(loaded, database, "threshold=0", abstain=None, max_new_tokens=3)
        completed, refused = engine.generate(["Ada, born in 189", "Ada, born in 179"])
    assert completed.text.startswith("Ada, born in 1893")
    assert refused.text.startswith("Ada, born in 1797")
    assert "completes the word or number" in refused.spans[1].reason


def test_a_whole_word_is_not_the_beginning_of_a_value():
    values = candidates("ctor", " actor", ", actor")
    assert texts(fitting_candidates("Ada is a", b" very", values)) == [" actor", ", actor"]
    assert texts(fitting_candidates("Ada is a", b"c", values)) == ["ctor", " actor", ", actor"]
    assert texts(fitting_candidates("東", b"\xe4", candidates("京"))) == ["京"]


@torch.no_grad()
def test_a_borrowed_name_is_not_continued_by_a_capital():
    loaded = models.llama(models.ALL["byte_level"])
    text = TokenText(loaded.tokenizer)
    names = tokens_beginning_with(text, len(loaded.tokenizer), "names").tolist()
    words = {text.bytes_of(n).decode(errors="ignore") for n in names}
    assert {"a", "Z", "7"} <= words and not words & {" ", " a", ".", ","}
    loaded.model.lm_head.weight[text.encode_continuation(" A")[0]] = 9.0
    source = ScriptedSource([" Oslo"])
    for seed in range(4):
        engine = Engine(loaded, source, "always", calls_in_row=1, temperature=3.0, seed=seed)
        (answer,) = engine.generate(["Ada saw"], max_new_tokens=24)
        for _, after in zip(range(9), answer.text.split(" Oslo")[1:], strict=False):
            assert not after[:1].isalnum() and not after[:2].strip()[:1].isupper()
