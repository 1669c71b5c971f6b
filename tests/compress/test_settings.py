"""Plans: what they contain, what is refused, and the keys of stages."""

import math
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.compress import (
    OUTPUTS,
    PLANS,
    STEPS,
    CompressPlan,
    GgufOutput,
    LayersStep,
    check_compress_plan,
    planned,
    read_compress_plan,
)
from lacy.errors import LacyError
from lacy.model import BLOCK_TYPES, GgufPrecision


def plan(steps=(), outputs=("int8",), **settings):
    return CompressPlan(steps=tuple(steps), outputs=tuple(outputs), **settings)


@pytest.mark.parametrize("name", [path.stem for path in sorted(PLANS.glob("*.yaml"))])
def test_the_plans_that_ship_are_valid(name):
    assert planned(read_compress_plan(name))


def test_a_plan_reads_its_steps_and_outputs_in_order(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "steps:\n  - layers: {remove: 3}\n  - recover: {tokens: 1e4}\n"
        "outputs:\n  - gguf: {bits: 4.7}\n  - int8\nmeasure: {texts: 9}\n"
    )
    found = read_compress_plan(path)
    steps = planned(found)
    assert [step.name for step in steps] == ["1-layers", "2-recover", "gguf-4.7", "int8"]
    assert steps[0].settings == LayersStep(remove=3.0)
    assert steps[2].settings == GgufOutput(bits=4.7)
    assert [step.is_output for step in steps] == [False, False, True, True]
    assert found.measure.texts == 9 and found.measure.tokens == 256


@pytest.mark.parametrize("kind", get_args(GgufPrecision))
def test_every_block_type_is_rounded_as_its_method_says(kind):
    assert GgufOutput(precision=kind).rounds == (kind in BLOCK_TYPES)
    assert GgufOutput(precision="f32", bits=5.0).rounds


def test_settings_without_an_effect_are_not_shown():
    outputs = ({"gguf": {"bits": 5}}, {"gguf": {"precision": "f16"}}, "int8")
    steps = ({"sparsity": {"pattern": "2:4"}}, "vocabulary", "refit")
    shown = [step.described() for step in planned(plan(steps, outputs))]
    assert shown == [
        "method wanda, pattern 2:4", "tolerance 1.0", "",
        "bits 5.0, method gptq, norm_tokens 20000", "precision f16", "activations False",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "outputs", "words"),
    [
        (["layer"], ["int8"], "there is no 'layer'; did you mean 'layers'?"),
        ([{"layers": {"remov": 3}}], [], "layers.remov"),
        ([{"layers": {"remove": "many"}}], [], "layers.remove is 'many', expected a number"),
        ([{"layers": {}, "width": {}}], [], "is not of the form NAME"),
        ([7], [], "is not of the form NAME"),
        ([{"layers": {"remove": 2.5}}], [], "a number of layers or a share below 1"),
        ([{"layers": {"remove": math.nan}}], [], "layers.remove is nan, it is a finite number"),
        ([{"vocabulary": {"tolerance": math.inf}}], [], "vocabulary.tolerance is inf"),
        ([], [{"gguf": {"bits": math.nan}}], "gguf.bits is nan"),
        ([{"width": {}}], [], "width keeps everything"),
        ([{"width": {"heads": 1.5}}], [], "width.heads is 1.5"),
        ([{"sparsity": {"pattern": "4:2"}}], [], "it is N:M"),
        ([{"vocabulary": {"tolerance": -1}}], [], "vocabulary.tolerance is -1"),
        ([{"vocabulary": {"tokens": -5}}], [], "and tokens -5"),
        ([{"layers": {"by": "size"}}], [], "layers.by is 'size'"),
        ([{"recover": {"teacher_weight": 2}}], [], "recover.teacher_weight is 2"),
        ([{"recover": {"tokens": 0}}], [], "recover.tokens is at least 1"),
        ([{"recover": {"batch_rows": 0}}], [], "recover.batch_rows is at least 1"),
        ([{"recover": {"batch_rows": 0, "teacher_weight": 2}}], [], "recover.teacher_weight is 2"),
        ([], [{"gguf": {"bits": 2}}], "4.5 to 8.5 bits"),
        ([], [{"gguf": {"precision": "q2_k"}}], "gguf.precision is 'q2_k'"),
        ([], ["int8", {"int8": {}}], "the output int8 is there twice"),
        ([], [], "neither steps nor outputs"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_whole(steps, outputs, words):
    with pytest.raises(LacyError, match="E320") as caught:
        check_compress_plan(plan(steps, outputs))
    assert words in str(caught.value)


def test_layers_need_rows_to_be_refitted_from():
    check_compress_plan(plan([{"layers": {}}], rows=4))
    check_compress_plan(plan(rows=3))
    with pytest.raises(LacyError, match="to remove layers it is at least 4"):
        check_compress_plan(plan([{"layers": {}}], rows=3))


def test_all_problems_are_listed_at_once():
    with pytest.raises(LacyError) as caught:
        check_compress_plan(plan(["layer", "widht"], ["gguff"], rows=0))
    text = str(caught.value)
    assert text.count("\n  - ") == 4
    assert all(word in text for word in ("layers", "width", "gguf", "rows is 0"))


def test_a_plan_that_is_no_file_says_so():
    with pytest.raises(LacyError, match="E13"):
        read_compress_plan("nowhere.yaml")


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=2, unique=True),
    st.floats(0.01, 0.9),
)
def test_the_key_of_a_stage_depends_on_what_was_before_and_on_its_settings(before, share):
    step = planned(plan([{"layers": {"remove": share}}]))[0]
    assert step.key(before[0]) == step.key(before[0])
    assert step.key(before[0]) != step.key(before[1])
    other = replace(step, settings=LayersStep(remove=share / 2))
    assert step.key(before[0]) != other.key(before[0])


def test_every_kind_has_its_own_name_and_default_settings():
    assert not set(STEPS) & set(OUTPUTS)
    kinds = [kind for kind in STEPS if kind != "width"]
    check_compress_plan(plan(kinds, list(OUTPUTS)))
