"""One function opens an engine for Python, the command line and the server."""

import pytest

import lacy
from lacy.cascade import Engine, open_engine
from lacy.cascade.by_name import default_policy
from lacy.cascade.calibration import Calibration
from lacy.errors import LacyError
from lacy.model import build_model, save_model
from lacy.sources import ScriptedSource, wrapped_sources
from lacy.testing import byte_tokenizer
from lacy.world import make_world

TAUGHT = {"preset": "1m", "training": {"settings": {"method": "lacy", "call_negative": "softmax"}}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open") / "world"
    make_world(40, 0).save(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = byte_tokenizer()
    slm = build_model("1m", tokenizer, context=512, layers=1)
    return save_model(tmp_path_factory.mktemp("open") / "slm", slm, tokenizer, TAUGHT)


def test_everything_is_chosen_and_the_choices_are_explained(model, world):
    engine = open_engine(model, world, calibration=20, max_new_tokens=8)
    assert str(engine.policy) == "threshold=0" and engine.max_new_tokens == 8
    policy, calibration = engine.notes
    assert "a database costs nothing" in policy and "20 training texts" in calibration
    assert engine.kinds and engine.source.name
    assert engine.generate(["Ada"])[0].tokens <= 8


def test_a_policy_is_taken_from_the_argument_then_from_the_name(model):
    assert str(lacy.open_engine(f"{model}:budget=0.3").policy) == "budget=0.3"
    assert str(open_engine(f"{model}:budget=0.3", policy="always").policy) == "always"
    alone = open_engine(model)
    assert str(alone.policy) == "never" and "no --source" in alone.notes[0]
    assert str(open_engine(model, ScriptedSource(["x"])).policy) == "budget=0.22"


def test_an_open_model_sources_and_a_calibration_are_taken_as_they_are(model, world):
    source, known = ScriptedSource(["x"], name="book"), Calibration()
    engine = open_engine(open_engine(model).loaded, [source, str(world)], calibration=known)
    assert source in wrapped_sources(engine.source) and len(engine.notes) == 1
    assert isinstance(engine, Engine) and engine.kinds == {}
    with pytest.raises(LacyError, match="E12"):
        open_engine(model, "no-such-source")


def test_the_default_threshold_needs_a_model_that_was_taught_not_to_call(model, world):
    source = open_engine(model, world, calibration=0).source
    assert str(default_policy(source, {})[0]) == "budget=0.22"
    assert str(default_policy(source, TAUGHT)[0]) == "threshold=0"
