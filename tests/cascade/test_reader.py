"""The SLM reads a source's sentences before it ranks the source's values."""

import asyncio
import math
import sqlite3

import pytest
import torch

from helpers import models
from lacy.cascade import Engine
from lacy.cascade.choice import ValueChoice
from lacy.cascade.rank import tokenize_candidates
from lacy.cascade.reader import BLOCK, sentences_of
from lacy.model import without_call
from lacy.sources import Database, ScriptedSource, fact_sentence
from lacy.sources.texts import Documents
from lacy.testing import scripted
from lacy.types import Candidate, Document, Mark, Reply, Request

TOKENIZER = models.ALL["byte_level"]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "facts.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [
            ("Ada", "birth_place", "Paris"),
            ("Ada", "deathPlace", "Oslo"),
            ("Ada", "DATE", "3"),
        ]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    db.close()
    with Database(path) as database:
        yield database


def engine_of(loaded, **settings):
    return Engine(loaded, None, "threshold=0", **settings)


@torch.no_grad()
def slow_likelihood(loaded, ids, tokens, ends):
    logits = loaded.model(input_ids=torch.tensor([ids + list(tokens)])).logits[0].double()
    called = logits.clone()
    logits[:, -1] = -torch.inf
    logp = torch.log_softmax(logits, -1)
    total = sum(float(logp[len(ids) - 1 + n, t]) for n, t in enumerate(tokens))
    last = called[len(ids) + len(tokens) - 1]
    return total + float(torch.logsumexp(last[ends], -1) - torch.logsumexp(last, -1))


def test_likelihoods_after_reading_equal_the_slow_ones():
    loaded = models.llama(TOKENIZER)
    engine = engine_of(loaded)
    reader, text = engine.reader, engine.token_text
    options = tokenize_candidates([Candidate(" Oslo"), Candidate(" 12 May")], text, 99)
    sequence = engine.sequence(0, "Ada lived in", None, 20)
    size = len(loaded.tokenizer)
    ends = [n for n in range(size - 1) if not text.bytes_of(n)[:1].isalnum()]
    ends = [n for n in ends if not b"\xc3" <= text.bytes_of(n)[:1] < b"\xe0"]
    for said in ("Ada's home is Oslo.", "Ada's home is Oslo.", "Ada was there on 12 May."):
        for more in ("", " a town"):  # the second time, only the new tokens are read
            sequence.ids += text.encode_continuation(more) if more else []
            expected = [0, *text.encode(said + "\n\n"), *sequence.ids[1:]]
            scores = reader.score(sequence, said, [option.tokens for option in options])
            for option, score in zip(options, scores, strict=True):
                slow = slow_likelihood(loaded, expected, option.tokens, ends)
                assert score == pytest.approx(slow, abs=1e-3)


def test_the_beginning_of_a_long_text_is_left_out():
    loaded = models.llama(TOKENIZER, context=2048)
    engine = engine_of(loaded)
    sequence = engine.sequence(0, "a b " * 400, None, 20)
    ids = engine.reader._ids(sequence, "Ada.", 8)
    read = len(ids)
    assert 2 * BLOCK <= read <= 3 * BLOCK + 10
    assert ids[-50:] == sequence.ids[-50:]
    tight = engine_of(models.llama(TOKENIZER, context=40))
    sequence = tight.sequence(0, "a b ", None, 2)
    assert 25 < len(tight.reader._ids(sequence, "Ada is here. " * 20, 8)) <= 32


def test_a_database_states_its_facts_in_sentences(database):
    (reply,) = asyncio.run(database.ask([Request("Ada lived in", subject="Ada")]))
    engine = engine_of(models.llama(TOKENIZER))
    said = sentences_of(reply.candidates, engine.token_text, 999)
    assert said == "Ada's death place is Oslo.\nAda's birth place is Paris."
    assert fact_sentence("Ada", "DATE", "3") == fact_sentence("Ada", "_", "3") == ""


def test_documents_are_read_best_passage_last(tmp_path):
    texts = ["Ada lived in Oslo & sang. ", "She was 3. ", "She left. ", "Ada saw Rome."]
    text = "".join(texts)
    marks = [Mark(text.index(v), text.index(v) + len(v), "ENTITY") for v in ("Oslo", "Rome")]
    Documents.build([Document("1", text, {"title": "Ada"}, tuple(marks))], tmp_path).close()
    with Documents(tmp_path) as index:
        (reply,) = asyncio.run(index.ask([Request("Ada saw", subject="Ada")]))
    engine = engine_of(models.llama(TOKENIZER))
    said = sentences_of(reply.candidates, engine.token_text, 999)
    assert said == "Ada lived in Oslo & sang. She was 3. She left.\nAda saw Rome."
    assert sentences_of(reply.candidates, engine.token_text, 1) == "Ada saw Rome."
    assert sentences_of([Candidate("x")], engine.token_text, 9) == ""


def reads(text):
    """An SLM that copies the word after "is" from what it reads, where it would say a place."""
    fact = text.rpartition("place is ")[2].partition(".")[0]
    begun = text.rpartition(" lived in")[2]
    wanted = f" {fact}" if "place is " in text else " nothing"
    return wanted[len(begun) :] if text.rpartition(" lived in")[1] else ""


def test_the_slm_chooses_what_it_has_read():
    candidates = [
        Candidate(" Rome", context="Ada's place is Rome.", kind="place"),
        Candidate(" Oslo", kind="other"),
    ]
    source = ScriptedSource([Reply(tuple(candidates), ranked=True)])
    loaded = scripted(reads, lambda text: text.endswith(" in"))
    answer = Engine(loaded, source, "threshold=0", max_new_tokens=6).generate(["Ada lived in"])[0]
    assert answer.text.startswith("Ada lived in Rome")
    assert "of 2 values this one fits best (score -0.1)" in answer.spans[1].reason
    alone = Engine(loaded, source, "threshold=0", max_new_tokens=6, read=0)
    assert "none of 2 values fits" in alone.generate(["Ada lived in"])[0].spans[1].reason


STORY = "Ada saw Rome, a large city. She left."
OFFERED = (Candidate(" Rome", context=STORY), Candidate(" Oslo", context=STORY))
ANSWERED = Reply(OFFERED, ranked=True)


def copies(text):
    """An SLM that copies from what it reads; where it reads nothing, it writes dashes."""
    said, _, written = text.rpartition("\n\n")
    begins = [n for n in range(len(written)) if written[n:] in said]
    return said.split(written[begins[0] :], 1)[1] if begins else "-"


def spans_of(**settings):
    source = ScriptedSource([ANSWERED], name="story")
    loaded = scripted(copies, lambda text: text.endswith("saw"))
    engine = Engine(loaded, source, "threshold=0", max_new_tokens=30, **settings)
    (answer,) = engine.generate(["Ada saw"])
    return [(s.text, s.speaker, s.reason.partition("; ")[2] or s.reason) for s in answer.spans[1:]]


def test_the_slm_writes_after_reading_until_the_sentence_ends():
    (value, after, alone) = spans_of()
    assert value[:2] == (" Rome", "story")
    assert after == (", a large city. ", "slm", "written after reading story")
    assert set(alone[0]) == {"-"} and alone[1:] == ("slm", "")
    (value, alone) = spans_of(read_until="value")
    assert value[:2] == (" Rome", "story") and set(alone[0]) == {"-"} and alone[2] == ""


def test_after_a_call_without_an_answer_the_slm_writes_what_it_has_read():
    refused = spans_of(abstain=1.0)
    assert refused[0] == (" ", "slm", "none of 2 values fits")
    assert refused[1] == ("Rome, a large city. ", "slm", "written after reading story")
    assert set("".join(text for text, *_ in spans_of(abstain=1.0, read_until="value"))) == {"-"}


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_next_words_after_reading_equal_the_slow_ones(name):
    loaded = models.REAL[name] if name in models.REAL else models.llama(TOKENIZER)
    engine = engine_of(loaded)
    prompts = ["Ada lived in", "She", "Ada saw Rome and"]
    texts = [engine.sequence(n, prompt, None, 20) for n, prompt in enumerate(prompts)]
    encode = engine.token_text.encode_continuation

    def check(*places):
        found_RV = engine.reader.next_logits([texts[n] for n in places])
        for n, found_V in zip(places, found_RV, strict=True):
            read = engine.token_text.encode(texts[n].sentences + "\n\n")
            ids = [*texts[n].ids[: texts[n].implied], *read, *texts[n].ids[texts[n].implied :]]
            with torch.no_grad():
                logits_V = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
            expected_V = without_call(logits_V, engine.call_id)
            torch.testing.assert_close(found_V, expected_V, atol=2e-4, rtol=1e-4)

    for text, said in zip(texts, ("Ada's home is Oslo.", STORY, STORY), strict=True):
        text.read(said)
    check(0, 1)
    for more in (" a", " b", " c"):  # texts join, leave, grow at different speeds, and come back
        for n, text in enumerate(texts):
            text.ids += encode(more)[: 1 if n else 2]
        check(1, 2)
        check(2, 0)
    texts[0].read("Another sentence.")
    check(0, 1, 2)
    engine.reader.score(texts[1], STORY, [tuple(encode(" Oslo"))])  # takes it out of the batch
    check(2, 1)
    check(2, 1)  # nothing new to read
    texts[2].ended = True
    del texts[0]
    check(0)
    assert len(engine.reader._copies._members()) == 1


def test_probabilities_of_a_choice_leave_room_for_none_of_them():
    choice = ValueChoice((1.0, 0.5), none=-2.0)
    logps = choice.log_probabilities([(-1.0, 2.0), (-4.0, 0.0)])
    total = 1 + math.exp(-4) + math.exp(-2)
    assert logps == pytest.approx([-math.log(total), -4 - math.log(total)])
    assert ValueChoice().log_probabilities([(-math.inf, 0.0)]) == [-math.inf]


def test_gains_of_relations_cancel_what_is_likely_anyway():
    engine = engine_of(models.llama(TOKENIZER))
    reader, text = engine.reader, engine.token_text
    options = [
        Candidate("a", kind="home"),
        Candidate("b", kind="work"),
        Candidate("c", kind="DATE"),
    ]
    sequence = engine.sequence(0, "Long ago. Ada lived in", None, 20)
    home, work, other = reader.relation_gains(sequence, options)
    assert other == pytest.approx((home + work) / 2)
    names = [tuple(text.encode_continuation(" home")), tuple(text.encode_continuation(" work"))]
    asked = reader._likelihoods('The sentence "Ada lived in ..." gives its', names)
    before = reader._likelihoods("The sentence gives the person's", names)
    assert [home, work] == pytest.approx([a - b for a, b in zip(asked, before, strict=True)])
    assert reader.relation_gains(sequence, options[2:]) == [0.0]


def test_who_reads():
    loaded = models.llama(TOKENIZER)
    assert engine_of(loaded).reader is not None
    assert engine_of(loaded, read=0).reader is None
    loaded.meta.update(training={"step": 3}, preset="1m")
    assert engine_of(loaded).reader is None
    loaded.meta.update(preset=None)  # lacy continued the training of another model
    assert engine_of(loaded).reader is not None


def test_each_token_after_reading_takes_one_pass_for_all_texts(monkeypatch):
    monkeypatch.setattr("lacy.cascade.hidden_copies.MOST_KEPT", 30)  # only one text fits
    loaded = models.llama(TOKENIZER)
    engine = engine_of(loaded)
    texts = [engine.sequence(n, f"Ada {n} lived in", None, 20) for n in range(4)]
    fed = []
    loaded.model.register_forward_pre_hook(
        lambda _, args, given: fed.append(given["input_ids"].numel()), with_kwargs=True
    )

    def step(chosen):
        del fed[:]
        engine.reader.next_logits(chosen)
        for text in chosen:
            text.ids.append(70)
        return fed

    for text in texts:
        text.read(STORY)
    assert sum(step(texts)) > 60
    assert step(texts) == [4] and step(texts[:2]) == [2]
    assert sum(step(texts)) > 2 + 15  # of the two that were set apart, one was kept
