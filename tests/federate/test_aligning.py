"""Clients sanitise their samples, and one model is aligned on them."""

import pytest

from helpers.models import byte_level
from lacy.errors import LacyError
from lacy.federate import FederateSettings, align, split_samples
from lacy.model import build_model, gate_of, load_model, save_model
from lacy.safety import AlignSettings, PreferencePair, ReplySample
from safety.test_sanitise import Guard

SETTINGS = FederateSettings(rounds=2, lora_rank=2)
HOW = AlignSettings(lr=1e-2, batch=2, prompt_tokens=16, reply_tokens=32)


def pairs(name, toxic):
    bad = [PreferencePair(f"do {name}{n}!!!!", "bad!!!!!!", "no", "x", f"t{n}")
           for n in range(toxic)]  # fmt: skip
    return bad + [PreferencePair(f"ask {name}{n}", "help", "bah", "y", f"{n}") for n in range(3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = byte_level()
    folder = tmp_path_factory.mktemp("model") / "model"
    build = build_model("tiny", tokenizer, context=96, seed=0)
    return save_model(folder, build, tokenizer, {"preset": "tiny"})


@pytest.fixture(scope="module")
def samples():
    return {"berlin": pairs("b", 2), "oslo": pairs("o", 0), "rome": []}


def test_counts_travel_and_texts_do_not(model, samples, tmp_path):
    said = []
    done = align(model, samples, tmp_path / "out", SETTINGS, HOW, guard=Guard(), guard_name="rule",
                 notify=said.append)  # fmt: skip
    assert [each.accepted for each in done.rounds] == [["berlin", "oslo"]] * 2
    assert done.rounds[0].counts["seen"] == 8 and done.rounds[0].counts["replaced"] == 2
    assert done.clients["berlin"]["flagged"] == 2 and done.clients["oslo"]["flagged"] == 0
    assert any("rome has no samples" in sentence for sentence in said)
    for path in (tmp_path / "out").rglob("*.json*"):
        assert "bad!!!!!!" not in path.read_text() and "ask b1" not in path.read_text()
    before, after = load_model(model), load_model(tmp_path / "out")
    assert gate_of(before.model) == gate_of(after.model)
    old, new = before.model.state_dict(), after.model.state_dict()
    head = next(name for name in old if "embed_tokens" in name)
    assert old[head].equal(new[head])  # with <CALL>
    assert any(not old[name].equal(new[name]) for name in old)


def test_a_stopped_federation_goes_on_to_the_same_model(model, samples, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    whole = align(model, samples, tmp_path / "whole", SETTINGS, HOW, guard=Guard())
    with pytest.raises(KeyboardInterrupt):
        align(model, samples, tmp_path / "parts", SETTINGS, HOW, guard=Guard(), on_round=stop)
    parts = align(model, samples, tmp_path / "parts", SETTINGS, HOW, guard=Guard())
    assert len(parts.rounds) == len(whole.rounds) == 2
    one, two = (load_model(tmp_path / name).model.state_dict() for name in ("whole", "parts"))
    assert all(one[name].equal(two[name]) for name in one)
    changed = {**samples, "oslo": samples["oslo"][:2]}
    with pytest.raises(LacyError, match="E17"):
        align(model, changed, tmp_path / "parts", SETTINGS, HOW, guard=Guard())


@pytest.mark.parametrize(
    ("settings", "given", "code"),
    [
        ({"depth": "full"}, None, "E12"),
        ({"local_steps": 3}, None, "E12"),
        ({"proximal": 0.1}, None, "E12"),
        ({}, {"berlin": [], "oslo": []}, "E336"),
        ({}, {"berlin": [pairs("b", 1)[0], ReplySample("a", "b")]}, "E353"),
        ({}, {"berlin": [pairs("b", 1)[0]], "oslo": [ReplySample("a", "b")]}, "E353.*oslo.*berlin"),
        ({"quorum": 3}, None, "E12.*2 of 2 clients"),
    ],
)
def test_mistakes_are_found_before_training(settings, given, code, model, samples, tmp_path):
    with pytest.raises(LacyError, match=code):
        align(model, samples if given is None else given, tmp_path / "out",
              FederateSettings(**settings), HOW)  # fmt: skip


def test_samples_are_split_by_topic():
    found = split_samples(pairs("b", 4), 2, skew="topic")
    assert sorted(len(own) for own in found.values()) == [3, 4]
    assert all(len({one.topic for one in own}) == 1 for own in found.values())
    with pytest.raises(LacyError, match=r"E332.*sample seven.*'kind'"):
        split_samples([PreferencePair("a", "b", "c", id="seven")] * 3, 2, skew="topic",
                      field="kind")  # fmt: skip
