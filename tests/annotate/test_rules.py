"""Each switch does what its help says, and the marks keep the protocol on any text."""

from dataclasses import replace

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from lacy.annotate import Rules
from lacy.annotate.grammar.values import whole_values
from lacy.annotate.proposals import word_list
from lacy.annotate.protocol import validated_marks
from lacy.annotate.rules import mark

BLANK = spacy.blank("en")
BARE = replace(Rules().only(), unmark_seen=False, unmark_subject=False, unmark_edges=False,
               content=False)  # fmt: skip


def doc(*tagged, ents=None):
    """A document from ``word/POS`` pieces; without a slash the tag is X."""
    pairs = [(piece.rsplit("/", 1) if "/" in piece[1:] else (piece, "X")) for piece in tagged]
    return Doc(BLANK.vocab, [w for w, _ in pairs], pos=[t for _, t in pairs], ents=ents)


def marked(parsed, rules, **more):
    text = parsed.text
    return [(text[m.start : m.end], m.reason) for m in mark(parsed, rules, **more)]


def only(*switches, **more):
    return replace(BARE.only(*switches), **more)


def test_entities_of_the_wanted_types():
    parsed = doc("The", "Nile", "in", "May", "has", "two", "banks",
                 ents=["O", "B-LOC", "O", "B-DATE", "O", "B-CARDINAL", "O"])  # fmt: skip
    assert marked(parsed, only("entities")) == [
        ("Nile", "ENTITY"),
        ("May", "DATE"),
        ("two", "NUMBER"),
    ]
    rules = only("entities", entity_types=("DATE",))
    assert marked(parsed, rules) == [("May", "DATE")]


def test_an_entity_ruler_is_a_recogniser():
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ORG", "pattern": "Red Hen Press"}])
    assert marked(nlp("At Red Hen Press."), only("entities")) == [("Red Hen Press", "ENTITY")]


@pytest.mark.parametrize(
    "text",
    ["12 March 1879", "12th of March", "March 12, 1879", "March 1879", "Sept. 3", "1879-03-12",
     "1870s", "late 1870s", "19th century", "1879–81", "1879", "Tuesday", "January", "2023"],
)  # fmt: skip
def test_written_dates(text):
    assert marked(BLANK.make_doc(f"So {text} it was"), only("dates")) == [(text, "DATE")]


@pytest.mark.parametrize("text", ["may", "march", "May", "12", "1,879", "18790", "x1879", "3000"])
def test_no_dates(text):
    assert all(value.reason != "DATE" for value in whole_values(f"So {text} it was"))


def test_numbers_in_digits_and_words():
    parsed = doc("two/NUM", "of/ADP", "3,000/NUM", "B12/PROPN", "one/PRON", "first/ADJ", "km/NOUN")
    found = [("two", "NUMBER"), ("3,000 B12", "NUMBER"), ("first", "NUMBER")]
    assert marked(parsed, only("numbers")) == found


def test_proper_nouns_join_over_short_words():
    parsed = doc("University/PROPN", "of/ADP", "the/DET", "Arts/PROPN", "and/CCONJ", "Ann/PROPN",
                 "of/ADP", "course/NOUN")  # fmt: skip
    found = [("University of the Arts", "ENTITY"), ("Ann", "ENTITY")]
    assert marked(parsed, only("proper_nouns")) == found
    inside = only("proper_nouns", unmark_inside=True)
    assert [word for word, _ in marked(parsed, inside)] == ["University", "Arts", "Ann"]


def test_keywords_with_the_nouns_before_a_profession():
    parsed = doc("an/DET", "American/ADJ", "basketball/NOUN", "player/NOUN", "and/CCONJ",
                 "polish/NOUN", "President/NOUN", "painter/NOUN")  # fmt: skip
    assert marked(parsed, only("keywords")) == [
        ("American", "KEYWORD"),
        ("basketball player", "KEYWORD"),
        ("polish President painter", "KEYWORD"),
    ]


def test_learned_spans_by_threshold():
    parsed = doc("a", "b", "c", "d", "e")
    scores = np.array(
        [[0.1, 0.1, 0.8], [0.6, 0.1, 0.3], [0.1, 0.6, 0.3], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]],
        dtype=np.float32,
    )
    half = only("learned", learned_threshold=0.5)
    assert marked(parsed, half, scores_TL=scores) == [("b c", "VALUE"), ("d", "VALUE")]
    low = only("learned", learned_threshold=0.39)
    assert marked(parsed, low, scores_TL=scores)[-1] == ("d e", "VALUE")
    assert marked(parsed, low) == []


def test_overlapping_proposals_become_one_value():
    parsed = doc("the", "2013/NUM", "NBA/PROPN", "Draft/PROPN",
                 ents=["B-EVENT", "I-EVENT", "I-EVENT", "I-EVENT"])  # fmt: skip
    rules = only("entities", "dates", "numbers", "proper_nouns", unmark_edges=True)
    assert marked(parsed, rules) == [("2013 NBA Draft", "ENTITY")]


def test_edges_are_trimmed():
    parsed = doc("the", "Nile", ",", "ever", ents=["B-LOC", "I-LOC", "I-LOC", "O"])
    assert marked(parsed, only("entities")) == [("the Nile ,", "ENTITY")]
    assert marked(parsed, only("entities", unmark_edges=True)) == [("Nile", "ENTITY")]
    lone = doc("the", ents=["B-LOC"])
    assert marked(lone, only("entities", unmark_edges=True)) == []


SEEN = ("Ann/PROPN", "Lee/PROPN", "met/VERB", "Bo/PROPN", "in/ADP", "1900/NUM", ";/PUNCT",
        "Lee/PROPN", "saw/VERB", "Bo/PROPN", "Lee/PROPN", "in/ADP", "1900/NUM")  # fmt: skip


def test_capitalised_words_are_names_not_function_words():
    rules = only("proper_nouns", "dates", unmark_edges=True)
    parsed = doc("Will/PROPN", "Lee/PROPN", "may/AUX", "go/VERB", "in/ADP", "May/X", "1900/NUM")
    assert marked(parsed, rules) == [("Will Lee", "ENTITY"), ("May 1900", "DATE")]
    assert marked(doc("The/PROPN", "Hague/PROPN"), rules) == [("Hague", "ENTITY")]


def test_repeated_names_are_unmarked_but_not_numbers():
    on = only("proper_nouns", "dates", unmark_seen=True)
    words = [word for word, _ in marked(doc(*SEEN), on)]
    assert words == ["Ann Lee", "Bo", "1900", "Bo Lee", "1900"]
    off = [word for word, _ in marked(doc(*SEEN), only("proper_nouns", "dates"))]
    assert off == ["Ann Lee", "Bo", "1900", "Lee", "Bo Lee", "1900"]


def test_the_subject_is_unmarked():
    rules = only("proper_nouns", unmark_subject=True)
    assert [w for w, _ in marked(doc(*SEEN), rules)] == ["Bo", "Bo Lee"]  # the text's first name
    assert [w for w, _ in marked(doc(*SEEN), rules, subject="Bo Lee")] == ["Ann Lee"]
    placed = doc("In/ADP", "Rome/PROPN", "Ann/PROPN", "met/VERB", "the/DET", "Ann/PROPN")
    assert [w for w, _ in marked(placed, rules)] == ["Rome Ann", "Ann"]
    placed = doc("The/DET", "Nile/PROPN", "meets/VERB", "Ann/PROPN")
    assert [w for w, _ in marked(placed, rules)] == ["Ann"]
    headed = Doc(BLANK.vocab, ["Bo", "\n\n", "Ann", "met", "Bo"], [False, False, True, True, False],
                 pos=["PROPN", "SPACE", "PROPN", "VERB", "PROPN"])  # fmt: skip
    assert [w for w, _ in marked(headed, rules)] == ["Ann"]


def test_content_words_are_outside_the_facts():
    parsed = doc("Bo/PROPN", "saw/VERB", "red/ADJ", "hens/NOUN", "in/ADP", "Rome/PROPN")
    rules = only("proper_nouns", content=True, unmark_subject=True)
    assert marked(parsed, rules, subject="Ann") == [
        ("Bo", "ENTITY"),
        ("saw red hens", "CONTENT"),
        ("Rome", "ENTITY"),
    ]
    assert marked(parsed, rules, subject="Bo")[0] == ("Bo saw red hens", "CONTENT")


def test_switches_are_all_switches():
    assert set(Rules.switches()) == {
        "entities", "numbers", "dates", "proper_nouns", "keywords", "learned",
        "unmark_seen", "unmark_subject", "unmark_edges", "unmark_inside", "content",
    }  # fmt: skip


def test_word_lists_are_lists_of_single_words():
    for name in ("professions", "nationalities", "titles", "joiners", "function_words"):
        assert len(word_list(name)) > 20
        assert all(word == word.strip().lower() and " " not in word for word in word_list(name))


tags = st.sampled_from(["PROPN", "NOUN", "NUM", "ADP", "DET", "PUNCT", "VERB", "X"])
words = st.one_of(
    st.sampled_from(
        ["May", "12", "1879", "the", "of", "Lee", "painter", "French", "\n", ",", "two"]
    ),
    st.text(min_size=1, max_size=4).filter(lambda word: word.strip() != ""),
)
iob = st.sampled_from(["O", "B-PERSON", "I-PERSON", "B-DATE"])
switches = st.fixed_dictionaries({name: st.booleans() for name in Rules.switches()})


@settings(max_examples=150)
@given(
    st.lists(st.tuples(words, tags, iob, st.booleans()), max_size=14), switches, st.text(max_size=5)
)
def test_any_text_gives_valid_marks(tokens, state, subject):
    text_words, pos, ents, spaces = zip(*tokens, strict=True) if tokens else ((), (), (), ())
    ents = ["B" + e[1:] if e[0] == "I" and (i == 0 or ents[i - 1] != "B-PERSON") else e
            for i, e in enumerate(ents)]  # fmt: skip
    parsed = Doc(BLANK.vocab, list(text_words), list(spaces), pos=list(pos), ents=ents)
    scores = np.full((len(parsed), 3), 1 / 3, dtype=np.float32)
    marks = mark(parsed, Rules(**state), scores_TL=scores, subject=subject or None)
    assert validated_marks([parsed.text], [marks], "rules") == [marks]
    if not state["content"]:
        assert all(found.reason != "CONTENT" for found in marks)


def test_an_entity_is_cut_down_to_its_value():
    """Entity recognisers include qualifiers, which the grammar of values leaves out."""
    text = "At least 183 portraits and nearly 40% of the rest were made in about 1450."
    doc = spacy.blank("en")(text)
    doc.ents = [
        doc.char_span(*place, label=label)
        for place, label in (((0, 12), "CARDINAL"), ((27, 37), "PERCENT"), ((63, 73), "DATE"))
    ]
    found = {text[m.start : m.end]: m.label for m in mark(doc, Rules(content=False))}
    assert found == {"183": "CARDINAL", "40%": "PERCENT", "1450": "DATE"}


def test_an_ampersand_between_capitals_is_part_of_a_name():
    [found] = mark(spacy.blank("en")("they use AT&T lines"), Rules(content=False))
    assert (found.start, found.end, found.reason) == (9, 13, "ENTITY")
