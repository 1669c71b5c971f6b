"""A scorecard: measured once, continued after a stop, written and read back; comparisons."""

import json
import math

import numpy as np
import pytest

from helpers.raw import raw_llama, raw_tokenizer, save_raw
from lacy.errors import LacyError
from lacy.model import Loaded, load_model
from lacy.results import (
    AnswerStore,
    Result,
    UnitCounts,
    answer_key,
    ratio_scores,
    results_of,
    wilson,
)
from lacy.scorecard import (
    ScorecardInputs,
    Section,
    compare,
    measure_sections,
    read_scorecard,
    scorecard_sections,
    weights_of,
)
from lacy.scorecard.comparing import main_metric


class Questions:
    """A measurement with counts: right answers to four questions under one condition."""

    def __init__(self, right, names=("a", "b", "c", "d"), condition="alone", **conditions):
        self.conditions = {"condition": condition, **conditions}
        ones = np.ones(len(right))
        self.counts = {"questions": ones, "contained": np.array(right, float), "exact": ones * 0,
                       "sourced": ones, "sourced_contained": np.array(right, float)}  # fmt: skip
        self.names = tuple(names)

    def results(self):
        return results_of(ratio_scores(self.counts), conditions=self.conditions)

    def units(self):
        right = self.counts["contained"]
        texts = tuple(f"{n}: {value:g}" for n, value in zip(self.names, right, strict=True))
        return [UnitCounts(self.conditions, self.names, self.counts, texts)]


@pytest.fixture(scope="module")
def loaded():
    tokenizer = raw_tokenizer()
    return Loaded(raw_llama(), tokenizer, name="tiny")


def section(name="s", right=(1, 0, 1, 1), asked=None, **settings):
    def run(answers):
        if asked is not None:
            items = list(right)
            list(answers.answers(range(len(items)), answer_key, lambda b: asked(list(b))))
        return Questions(right)

    return Section(name, f"Section {name}", "Is it right?", settings, run)


def test_a_section_is_measured_once(tmp_path, loaded):
    calls = []

    def asked(batch):
        calls.append(batch)
        return [None for _ in batch]

    told = []
    for n in (4, 4, 5):
        card = measure_sections(loaded, [section(asked=asked, n=n)], tmp_path, notify=told.append)
    assert len(calls) == 8  # measured twice: for n=4 and for n=5
    assert sum("measured already" in sentence for sentence in told) == 1
    (only,) = card.measured
    scores = {result.metric: result for result in only.results}
    assert scores["answers_right"].value == 0.75
    assert (scores["answers_right"].low, scores["answers_right"].high) == (
        wilson(3, 4).low, wilson(3, 4).high,
    )  # fmt: skip


def test_a_stopped_section_asks_only_what_is_left(tmp_path, loaded):
    seen = []

    def asked(batch):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(batch[0])
        return ["x"]

    with pytest.raises(KeyboardInterrupt):
        measure_sections(loaded, [section(asked=asked)], tmp_path)
    assert seen == [0, 1]

    def rest(batch):
        seen.append(batch[0])
        return ["x"]

    measure_sections(loaded, [section(asked=rest)], tmp_path)
    assert seen == [0, 1, 2, 3]


def test_equal_measurements_give_equal_bytes(tmp_path, loaded):
    sections = [section("one"), Section("two", "Two", "?", missing="give --two FILE")]
    for folder in ("a", "b"):
        measure_sections(loaded, sections, tmp_path / folder)
    first, second = ((tmp_path / f / "scorecard.json").read_bytes() for f in ("a", "b"))
    assert first == second
    data = json.loads(first)
    assert data["sections"][1]["skipped"] == "give --two FILE"
    assert data["environment"]["lacy"]
    assert {"value", "low", "high", "n", "unit", "seed", "conditions"} <= set(
        data["sections"][0]["results"][0]
    )


def test_a_failing_section_does_not_end_the_others(tmp_path, loaded):
    def fails(_):
        raise LacyError("E187", path="questions.jsonl", why="it has no questions")

    sections = [Section("bad", "Bad", "?", {}, fails), section("good")]
    told = []
    card = measure_sections(loaded, sections, tmp_path, notify=told.append)
    bad, good = card.sections
    assert "it has no questions" in bad.failed and not bad.results
    assert good.results
    again = read_scorecard(tmp_path)
    assert again.sections[0].failed == bad.failed
    assert any("it has no questions" in sentence for sentence in told)


def test_what_is_written_is_read_back(tmp_path, loaded):
    card = measure_sections(loaded, [section()], tmp_path)
    again = read_scorecard(tmp_path)
    assert again.model == card.model == "tiny"
    assert [s.results for s in again.sections] == [s.results for s in card.sections]
    one, other = again.sections[0].units[0], card.sections[0].units[0]
    assert (one.names, one.texts, dict(one.conditions)) == (
        other.names, other.texts, dict(other.conditions),
    )  # fmt: skip
    assert all((one.counts[name] == other.counts[name]).all() for name in other.counts)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_scorecard_is_an_error(tmp_path, content):
    (tmp_path / "scorecard.json").write_text(content)
    with pytest.raises(LacyError) as caught:
        read_scorecard(tmp_path)
    assert caught.value.code == "E250"


def test_a_damaged_section_is_measured_again(tmp_path, loaded):
    measure_sections(loaded, [section()], tmp_path)
    (tmp_path / "sections" / "s.json").write_text("{")
    told = []
    card = measure_sections(loaded, [section()], tmp_path, notify=told.append)
    assert card.measured
    assert any("measured again" in sentence for sentence in told)


def test_the_call_row_and_the_gate_are_part_of_the_weights(loaded):
    before = weights_of(loaded)
    with_other_row = Loaded(raw_llama(), loaded.tokenizer)
    assert weights_of(with_other_row) == before
    weight = with_other_row.model.get_output_embeddings().weight
    weight.data[-1] += 1
    assert weights_of(with_other_row) != before
    assert weights_of(Loaded(raw_llama(seed=1), loaded.tokenizer)) != before


def card_of(tmp_path, name, loaded, *measurements, settings=None):
    class Both:
        def results(self):
            return [r for m in measurements for r in m.results()]

        def units(self):
            return [u for m in measurements for u in m.units()]

    made = Section("q", "Questions", "?", settings or {}, lambda _: Both())
    measure_sections(loaded, [made], tmp_path / name)
    return read_scorecard(tmp_path / name)


def test_two_scorecards_are_compared_on_common_units(tmp_path, loaded):
    names = [f"q{n}" for n in range(40)]
    a = card_of(tmp_path, "a", loaded, Questions([0] * 30 + [1] * 10, names))
    b = card_of(tmp_path, "b", loaded, Questions([0] * 10 + [1] * 30, [*names[:39], "new"]))
    found = compare(a, b)
    right = next(one for one in found.metrics if one.metric == "answers_right")
    assert right.difference.n == 39
    assert right.difference.value == pytest.approx((29 - 9) / 39)
    assert right.p <= right.adjusted_p < 0.01
    assert right.verdict == "better"
    assert any("2 units of only one side" in note for note in found.notes)
    assert {pair.value_a for pair in found.texts} == {0.0}
    assert {pair.value_b for pair in found.texts} == {1.0}
    assert found.texts[0].a == f"{found.texts[0].unit}: 0"
    back = compare(b, a)
    assert next(o for o in back.metrics if o.metric == "answers_right").verdict == "worse"


def test_no_difference_is_no_proof_of_equality(tmp_path, loaded):
    names = [f"q{n}" for n in range(20)]
    a = card_of(tmp_path, "a", loaded, Questions([0, 1] * 10, names))
    b = card_of(tmp_path, "b", loaded, Questions([0, 1] * 9 + [1, 1], names))
    right = next(one for one in compare(a, b).metrics if one.metric == "answers_right")
    assert right.verdict == "no difference found"
    assert 0.1 < right.detectable < 0.3


def test_conditions_of_one_scorecard(tmp_path, loaded):
    card = card_of(
        tmp_path, "a", loaded, Questions([0, 0, 0, 0]), Questions([1, 1, 1, 0], condition="cascade")
    )
    found = compare(card, card, conditions=("alone", "cascade"))
    assert (found.name_a, found.name_b) == ("alone", "cascade")
    right = next(one for one in found.metrics if one.metric == "answers_right")
    assert right.difference.value == 0.75


def test_scores_of_different_judges_are_not_compared(tmp_path, loaded):
    a = card_of(tmp_path, "a", loaded, Questions([0, 0, 1, 0], judge="overlap"))
    b = card_of(tmp_path, "b", loaded, Questions([0, 1, 1, 0], judge="verifier"))
    with pytest.raises(LacyError) as caught:
        compare(a, b)
    assert caught.value.code == "E252"


def test_other_settings_are_not_compared(tmp_path, loaded):
    a = card_of(tmp_path, "a", loaded, Questions([0, 0, 1, 0]), settings={"items": 4})
    b = card_of(tmp_path, "b", loaded, Questions([0, 1, 1, 0]), settings={"items": 5})
    with pytest.raises(LacyError, match="the settings differ \\(items\\)"):
        compare(a, b)


def test_the_main_metric_is_a_share_with_a_better_side():
    names = ("call_rate", "calls_per_opening", "openings_right")
    results = [Result(name, 0.5, 0.4, 0.6, 10, "share") for name in names]
    assert main_metric(results) == "openings_right"
    assert main_metric(results[:2]) == ""


def test_undefined_values_survive(tmp_path, loaded):
    class Undefined:
        def results(self):
            return [
                Result("energy", math.nan, math.nan, math.nan, 0, "J", conditions={"why": "no"})
            ]

    measure_sections(loaded, [Section("e", "E", "?", {}, lambda _: Undefined())], tmp_path)
    (one,) = read_scorecard(tmp_path).sections[0].results
    assert math.isnan(one.value) and one.conditions["why"] == "no"


def test_a_section_without_its_file_says_what_to_give(loaded):
    sections = scorecard_sections(loaded, ScorecardInputs())
    by_name = {one.name: one for one in sections}
    assert by_name["articles"].measure is None
    assert by_name["articles"].missing == "give --articles FILE"
    assert by_name["openings"].measure is not None


def test_stores_of_a_scorecard_are_kept_apart(tmp_path, loaded):
    measure_sections(loaded, [section(asked=lambda b: [0] * len(b), n=1)], tmp_path)
    measure_sections(loaded, [section(asked=lambda b: [0] * len(b), n=2)], tmp_path)
    files = sorted((tmp_path / "answers").iterdir())
    assert len(files) == 2
    with AnswerStore(files[0]) as store:
        assert len(store) == 4


def test_a_saved_model_has_the_same_weights(tmp_path, loaded):
    save_raw(tmp_path / "m", loaded.model)
    assert weights_of(load_model(tmp_path / "m")) == weights_of(load_model(tmp_path / "m"))


def test_variants_of_a_metric_are_compared_with_their_like(tmp_path, loaded):
    class Losses:
        def __init__(self, shift):
            self.shift = shift

        def results(self):
            return [
                Result("text_loss", value + self.shift, 0.0, 9.0, 5, "nats per token", 0,
                       {"tokens": tokens, "model": f"m{self.shift}"})
                for tokens, value in (("facts", 4.0), ("others", 2.0))
            ]  # fmt: skip

    for name, shift in (("a", 0.0), ("b", 1.0)):
        made = Section("l", "Losses", "?", {}, lambda _, shift=shift: Losses(shift))
        measure_sections(loaded, [made], tmp_path / name)
    found = compare(read_scorecard(tmp_path / "a"), read_scorecard(tmp_path / "b"))
    assert [(one.variant, one.a.value, one.b.value) for one in found.metrics] == [
        ("facts", 4.0, 5.0), ("others", 2.0, 3.0),
    ]  # fmt: skip
    assert all(one.verdict == "not tested" for one in found.metrics)
    assert found.metrics[0].label.endswith(", facts")


def test_alone_is_compared_with_a_cascade_that_has_a_source(tmp_path, loaded):
    card = card_of(
        tmp_path, "a", loaded, Questions([0, 0, 0, 0]),
        Questions([1, 1, 1, 0], condition="cascade", source="facts", policy="threshold=0"),
    )  # fmt: skip
    found = compare(card, card, conditions=("alone", "cascade"))
    right = next(one for one in found.metrics if one.metric == "answers_right")
    assert right.difference.value == 0.75
    assert right.label == "answers right"


def test_a_missing_package_fails_its_section_only(tmp_path, loaded):
    def needs(_):
        raise ModuleNotFoundError("No module named 'spacy'", name="spacy")

    sections = [Section("t", "Texts", "?", {}, needs, extra="spacy"), section()]
    failed, good = measure_sections(loaded, sections, tmp_path).sections
    assert "pip install 'lacy[spacy]'" in failed.failed and good.results
    with pytest.raises(ModuleNotFoundError):  # lacy itself is broken: a bug, not the user's lack
        measure_sections(loaded, [Section("t", "Texts", "?", {}, needs)], tmp_path)


def test_sections_that_need_an_extra_name_it(loaded, tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    inputs = ScorecardInputs(articles=tmp_path / "a.jsonl", tasks=("arc_easy",))
    extras = {one.name: one.extra for one in scorecard_sections(loaded, inputs)}
    assert extras == {
        "openings": "", "articles": "spacy", "questions": "", "factscore": "spacy", "audit": "",
        "language": "spacy", "tasks": "harness", "saturation": "spacy", "costs": "",
    }  # fmt: skip
