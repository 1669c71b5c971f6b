"""All scores together on the real world, the real cascade and a real (untrained) small model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lacy.cascade import Never, Oracle, teacher_forced_signals
from lacy.corpus import train_tokenizer
from lacy.evaluate.closed_book import closed_book_recall, make_probes, most_frequent
from lacy.evaluate.facts import grade, score_facts
from lacy.evaluate.signals import fact_index, read_signals
from lacy.evaluate.world import evaluate_world, probe_closed_book
from lacy.model import build_model
from lacy.model.io import Loaded
from lacy.report.curves import Curve
from lacy.report.html import NextStep, render_html
from lacy.report.world_page import ShownCondition, world_page
from lacy.results import METRICS, as_data
from lacy.sources import Database
from lacy.types import Answer, MarkFlag, Span
from lacy.world import RELATIONS, make_world


@pytest.fixture(scope="module")
def world():
    return make_world(people=30, seed=1)


@pytest.fixture(scope="module")
def loaded(world):
    texts = [d.text for d in world.documents("train")]
    tokenizer = train_tokenizer(texts, 600)
    return Loaded(build_model("tiny", tokenizer, context=320, seed=0, layers=1), tokenizer)


@pytest.fixture(scope="module")
def documents(world):
    return list(world.documents("valid"))


def told(document):
    """A true text as an answer of the SLM alone."""
    name = document.meta["person"]
    return Answer((Span(name, "prompt"), Span(document.text[len(name) :], "slm", 9)), True)


def test_true_texts_are_all_right(world, documents):
    kept = [d for d in documents if d.text.startswith(d.meta["person"])]
    assert len(kept) > 10
    scores = score_facts([told(d) for d in kept], [d.meta["person"] for d in kept], world)
    assert scores["facts_right"].value == 1.0
    assert scores.right == sum(len(d.marks) for d in kept)
    assert scores.wrong == 0


def test_texts_about_someone_else_are_mostly_wrong(world, documents):
    names = [d.meta["person"] for d in documents]
    graded = [
        grade(Answer((Span(d.text, "slm", 9),)), other, world)
        for d, other in zip(documents, names[1:] + names[:1], strict=True)
    ]
    assert sum(g.right for g in graded) < 0.1 * sum(len(g.verdicts) for g in graded)


def test_probes_of_the_world(world, documents):
    found = make_probes(documents, lambda d: d.meta["person"])
    assert len(found) > 100
    assert all(world.truth(p.subject)[p.relation] == p.value for p in found)
    answers = {p.prompt: f" {p.value}, and so on" for p in found}
    frequent = most_frequent(p.facts for p in world.people("train"))
    knows = closed_book_recall(found, lambda prompts: [answers[p] for p in prompts], frequent)
    silent = closed_book_recall(found, lambda prompts: ["" for _ in prompts], frequent)
    assert (knows.start.value, knows.anywhere.value, silent.start.value) == (1.0, 1.0, 0.0)
    assert 0 < knows.chance.value < 0.2


def test_signals_agree_with_the_slow_computation(loaded, documents):
    """Token by token from the full logits, with the same values of the same facts."""
    few = documents[:3]
    for document, reading in zip(few, read_signals(loaded, few), strict=True):
        ids = loaded.tokenizer(document.text, add_special_tokens=False)["input_ids"]
        end = loaded.tokenizer.eos_token_id
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[end, *ids]])).logits[0]
        plain = logits[:, :-1].log_softmax(-1)
        targets = [*ids, end]
        assert reading.loss == pytest.approx(
            [-float(plain[t, x]) for t, x in enumerate(targets)], abs=1e-4
        )
        margin = logits[:, -1] - logits[:, :-1].amax(-1)
        assert reading.margin == pytest.approx(margin.numpy(), abs=1e-4)
        spoken = [
            loaded.tokenizer.decode(
                [x for x, f in zip(targets, reading.fact, strict=True) if f == k]
            )
            for k in range(len(document.marks))
        ]
        marked = [document.text[m.start : m.end] for m in document.marks]
        assert [s.strip() for s in spoken] == marked
        assert reading.relations == tuple(m.relation for m in document.marks)
        assert np.array_equal(reading.is_fact, reading.fact >= 0)


def test_starts_are_the_first_tokens_of_facts(loaded, documents):
    for reading in read_signals(loaded, documents[:5]):
        first = np.flatnonzero((reading.fact >= 0) & (np.diff(reading.fact, prepend=-1) != 0))
        assert np.array_equal(np.flatnonzero(reading.marks & MarkFlag.START), first)


def test_sigmoid_gate_reads_the_call_logit_alone(loaded, documents, monkeypatch):
    monkeypatch.setattr(loaded.model.config, "lacy_gate", "sigmoid", raising=False)
    [reading] = read_signals(loaded, documents[:1])
    [found] = teacher_forced_signals(loaded, documents[:1])
    with torch.no_grad():
        ids = torch.tensor([[loaded.tokenizer.eos_token_id, *found.targets.tolist()[:-1]]])
        call = loaded.model(ids).logits[0, :, -1]
    assert reading.margin == pytest.approx(call.numpy(), abs=1e-5)
    assert reading.p_call == pytest.approx(call.sigmoid().numpy(), abs=1e-5)


def test_facts_beyond_the_context_are_left_out(loaded, documents):
    index = fact_index(documents[0], loaded.tokenizer, 20)
    assert len(index) == 20


def test_evaluate_world(world, loaded, tmp_path):
    database = Database(world.to_sqlite(tmp_path / "truth.sqlite"))
    policies = {
        "alone": Never(),
        "database": "budget=0.3",
        "oracle": Oracle(world.expects_value),
    }
    result = evaluate_world(
        loaded, world, database, policies, people=6, max_new_tokens=12, batch_size=6
    )
    assert set(result.conditions) == {"alone", "database", "oracle"}
    alone, called = result.conditions["alone"], result.conditions["database"]
    assert alone.facts["call_rate"].value == 0.0
    assert called.facts["call_rate"].value > 0.0
    assert called.facts["calls_per_answer"].n == 6
    assert result.calls is not None and result.calls.at_rate is not None
    realised = called.facts["call_rate"].value
    assert result.calls.at_rate.call_rate.value == pytest.approx(realised, abs=0.01)
    assert result.language_loss is not None
    assert result.language_loss.value == pytest.approx(np.log(600), rel=0.1)  # untrained: uniform
    assert result.bits is not None and result.bits.facts > 30
    assert result.bits.per_fact.value == pytest.approx(0.0, abs=1.0)
    assert result.closed_book is not None and result.closed_book.start.value < 0.05
    json.dumps(as_data(result), allow_nan=False)
    named = {(r.metric, r.conditions.get("condition", "")): r for r in result.results()}
    assert named["recall", "database"].value == called.facts["recall"].value
    assert named["recall", "database"].conditions["policy"] == called.policy
    assert named["closed_book_recall", ""].value == result.closed_book.start.value
    assert named["stored_bits", ""].unit == METRICS["stored_bits"].unit


def test_parts_can_be_left_out(world, loaded):
    result = evaluate_world(
        loaded, world, policies=["never"], people=2, max_new_tokens=2, read=False, probe=False
    )
    assert (result.calls, result.bits, result.closed_book, result.language_loss) == (None,) * 4
    json.dumps(as_data(result), allow_nan=False)


def test_every_relation_has_bits(world):
    bits = {relation: world.values.bits(relation) for relation in RELATIONS}
    assert all(value > 3 for value in bits.values())
    assert {r for p in world.people() for r in p.facts} <= set(bits)


def test_the_package_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, lacy.evaluate; assert not {'torch', 'jinja2', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def measured(world, loaded, tmp_path_factory):
    database = Database(world.to_sqlite(tmp_path_factory.mktemp("world") / "truth.sqlite"))
    policies = {"alone": Never(), "oracle": Oracle(world.expects_value)}
    return evaluate_world(
        loaded,
        world,
        database,
        policies,
        people=4,
        max_new_tokens=24,
        batch_size=4,
        call_rate=0.2,
    )


def test_page_of_a_world(measured):
    alone, called = (
        ShownCondition("plain", "alone", "Plain, alone"),
        ShownCondition("lacy", "oracle", "LaCy + database"),
    )
    results = {"plain": measured, "lacy": measured}
    data = world_page(
        results,
        [alone, called],
        best=called,
        baseline=alone,
        series={"LaCy": [called], "plain": [alone]},
        training=[Curve("LaCy", [0, 1], [3.0, 2.0])],
        setup={"seed": "0"},
        next_steps=[NextStep("lacy demo", "again")],
    )
    assert [table.title for table in data.tables][:4] == [
        "Facts right and their cost",
        "Does the model call in the right places?",
        "Calls on true texts",
        "What the model knows by itself",
    ]
    facts, calls, operating, held = data.tables[:4]
    oracle = measured.conditions["oracle"]
    assert facts.rows[1].cells[2] is oracle.facts["call_rate"]
    assert [row.strong for row in facts.rows] == [False, True]
    assert measured.calls is not None and measured.closed_book is not None
    assert [row.name for row in calls.rows] == [
        "plain: entropy of the next word",
        "plain: gap between its two best words",
        "lacy: CALL margin",
    ]
    assert calls.rows[2].cells[0] is measured.calls.separation["margin"].value_start
    assert measured.calls.at_rate is not None
    assert operating.rows[0].cells[1] is measured.calls.at_rate.precision
    assert held.rows[0].cells[0] is measured.closed_book.start
    assert data.side_by_side[1].answer is oracle.answers[0]  # the first person asked, nobody picked
    assert len(data.figures) == 2
    html = render_html(data)
    assert html.count("<svg") == 3
    assert str(oracle.subjects[0]) in html


def test_page_without_signals(measured):
    from dataclasses import replace

    bare = replace(measured, calls=None, bits=None, closed_book=None, language_loss=None)
    pick = ShownCondition("plain", "alone", "Plain")
    data = world_page({"plain": bare}, [pick], best=pick, baseline=pick)
    assert not data.figures
    assert "Facts right" in render_html(data)


def test_a_model_with_a_short_context_is_probed_where_possible():
    world = make_world(20, 0)
    texts = list(world.documents("valid"))
    tokenizer = train_tokenizer((d.text for d in texts), 300)
    facts = sum(len(document.marks) for document in texts)
    counts = []
    for context in (24, 96, 1024):
        model = build_model("tiny", tokenizer, context=context, seed=0)
        counts.append(probe_closed_book(Loaded(model, tokenizer), world, texts).probes)
    assert 0 <= counts[0] < counts[1] < counts[2] <= facts
