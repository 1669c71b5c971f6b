"""Whole federations of a tiny model in this process."""

import json
from dataclasses import replace

import pytest
import torch

from lacy.corpus import PackedData
from lacy.errors import LacyError
from lacy.federate import (
    FederateSettings,
    Federation,
    FederationServer,
    FitClient,
    InProcess,
    Payload,
    federate,
    split_documents,
)
from lacy.federate.running import finish
from lacy.model import Loaded, build_model, load_model, model_fingerprint
from lacy.objective import Objective
from lacy.testing import byte_tokenizer
from lacy.types import Update
from lacy.world import make_world

SETTINGS = FederateSettings(rounds=2, lora_rank=2, local_steps=2, batch_rows=2, lr=0.05)


@pytest.fixture(scope="module")
def texts():
    return split_documents(list(make_world(10, 0).documents("train"))[:9], 3)


def tiny(gate=None):
    """A model of two layers that calls."""
    tokenizer = byte_tokenizer()
    model = build_model("tiny", tokenizer, context=64, seed=0)
    meta = {"preset": "tiny", "training": {"settings": {"method": "lacy"}}}
    return Loaded(model, tokenizer, meta, name="tiny")


def run(out, texts, settings=SETTINGS, **how):
    return federate(tiny(), texts, out, settings, context=48, **how)


@pytest.mark.parametrize(
    "how",
    [
        {}, {"lora_mean": "factors"}, {"lora_mean": "freeze-a"}, {"depth": "full", "lr": 3e-3},
        {"depth": "row"}, {"strategy": "median", "codec": "int8"}, {"proximal": 1.0},
    ],
)  # fmt: skip
def test_a_federation_learns_and_its_model_is_an_ordinary_one(how, tmp_path, texts):
    settings = replace(SETTINGS, **how)
    shown = []
    done = run(tmp_path, texts, settings, on_round=shown.append, held_out=texts["client-1"])
    assert [each.number for each in shown] == [1, 2] and done.finished
    assert all(each.changed and len(each.accepted) == 3 for each in shown)
    losses = [each.figures["held_out_loss"] for each in shown]
    assert losses[1] < losses[0] or settings.depth == "row"
    loaded = load_model(tmp_path / "model")
    assert loaded.calls and loaded.meta["federation"]["rounds"] == 2
    before, after = tiny().model, loaded.model
    row, other = (m.get_output_embeddings().weight[-1] for m in (before, after))
    assert not torch.equal(row, other)  # the texts are marked, so <CALL> was trained
    changed = model_fingerprint(before) != model_fingerprint(after)
    assert changed == (settings.depth != "row")
    record = json.loads((tmp_path / "federation.json").read_text())
    assert record["clients"]["client-2"]["texts"] == 3 and len(record["rounds"]) == 2
    assert "Mara" not in json.dumps(record)


def test_a_stopped_federation_goes_on_with_equal_results(tmp_path, texts):
    class StoppedError(Exception):
        pass

    def stop(done):
        raise StoppedError

    run(tmp_path / "whole", texts)
    with pytest.raises(StoppedError):
        run(tmp_path / "half", texts, on_round=stop)
    notes = []
    run(tmp_path / "half", texts, notify=notes.append)
    assert "Continuing after round 1." in notes
    whole, half = (load_model(tmp_path / name / "model").model for name in ("whole", "half"))
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(LacyError, match="E17"):
        run(tmp_path / "half", texts, replace(SETTINGS, strategy="median"))
    others = {**texts, "client-1": texts["client-1"][1:]}
    with pytest.raises(LacyError, match=r"E17.*texts"):  # other texts are another federation
        run(tmp_path / "half", others, replace(SETTINGS, rounds=3))


def test_texts_without_marks_leave_the_row_as_it_is(tmp_path, texts):
    plain = {name: [replace(d, marks=()) for d in part] for name, part in texts.items()}
    notes = []
    run(tmp_path, plain, notify=notes.append)
    assert any("lacy tune" in sentence for sentence in notes)
    row = load_model(tmp_path / "model").model.get_output_embeddings().weight[-1]
    assert torch.equal(row, tiny().model.get_output_embeddings().weight[-1])
    with pytest.raises(LacyError, match=r"E12.*depth.*marks"):  # nothing would be trained
        run(tmp_path / "row", plain, replace(SETTINGS, depth="row"))


def test_clients_without_texts_take_no_part(tmp_path, texts):
    notes = []
    done = run(tmp_path / "a", {**texts, "empty": []}, notify=notes.append)
    assert "empty" not in done.clients and any("Client empty" in line for line in notes)
    with pytest.raises(LacyError, match="E336"):
        run(tmp_path / "b", {"x": [], "y": []})


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"strategy": "krum", "malicious": 1}, "needs 5 updates, and 3 of 3 clients"),
        ({"strategy": "trimmed-mean", "malicious": 1, "fraction": 0.5}, "needs 3 updates, and 2"),
        ({"quorum": 4}, "quorum.*needs 4 updates"),
    ],
)
def test_rounds_that_cannot_have_enough_updates_are_refused(how, words, tmp_path, texts):
    with pytest.raises(LacyError, match=f"E12.*{words}"):
        run(tmp_path, texts, replace(SETTINGS, **how))


class Idle:
    """Changes nothing, and says that it has trained."""

    def train(self, state, round):
        return Update({name: torch.zeros_like(t) for name, t in state.items()}, 1, round)


def test_too_few_updates_are_named_as_the_reason(tmp_path, texts):
    settings = replace(SETTINGS, rounds=1, strategy="median", malicious=1)
    with pytest.raises(LacyError, match=r"E337.*client-1: it is late"):
        run(tmp_path / "late", texts, replace(settings, deadline=1e-9))
    payload = Payload(tiny(), settings)
    server = FederationServer(payload.state(), settings)
    server.run_round(InProcess({"a": Idle(), "b": Idle()}))
    record = Federation("tiny", {}, {}, [], 1, 1)
    with pytest.raises(LacyError, match=r"E337.*2 updates were accepted, 3 are needed"):
        finish(payload, server, record, tmp_path)


def test_if_no_update_is_usable_no_model_is_written(tmp_path, texts):
    """A learning rate that makes every weight NaN."""
    with pytest.raises(LacyError, match=r"E337.*NaN"):
        run(tmp_path, texts, replace(SETTINGS, lr=1e38))
    assert not (tmp_path / "model").exists()
    assert json.loads((tmp_path / "federation.json").read_text())["rounds"][0]["failed"]


# ------------------------------------------------------------------------------------ clients


@pytest.fixture(scope="module")
def packed(texts, tmp_path_factory):
    from lacy.annotate import encode_many

    tokenizer = byte_tokenizer()
    encoded = encode_many(texts["client-1"], tokenizer)
    return PackedData.write(encoded, tokenizer, 48, tmp_path_factory.mktemp("p") / "data")


def test_an_update_depends_only_on_seed_round_and_client(packed):
    payload = Payload(tiny(), SETTINGS)
    state = payload.state()
    one, other = (FitClient(name, payload, packed) for name in ("one", "other"))
    first = one.train(state, 1)
    different = [other.train(state, 1), one.train(state, 2)]
    again = FitClient("one", Payload(tiny(), SETTINGS), packed).train(state, 1)
    name = next(name for name in first.delta if "lora_A" in name)
    assert torch.equal(first.delta[name], again.delta[name])
    assert not any(torch.equal(first.delta[name], u.delta[name]) for u in different)
    assert first.samples == 4 and first.model == again.model and set(first.metrics) == {"loss"}


def test_a_state_of_another_model_is_not_loaded():
    payload = Payload(tiny(), SETTINGS)
    state = payload.state()
    name = next(iter(state))
    with pytest.raises(LacyError, match=r"E340.*shape"):
        payload.load({**state, name: torch.zeros(3)})
    with pytest.raises(LacyError, match=r"E340.*lacks"):
        payload.load({key: value for key, value in state.items() if key != name})


def test_the_fingerprint_tells_models_and_frozen_adapters_apart():
    frozen = replace(SETTINGS, lora_mean="freeze-a")
    found = {
        Payload(tiny(), settings).fingerprint
        for settings in (SETTINGS, replace(SETTINGS, depth="row"), frozen, replace(frozen, seed=1))
    }
    assert len(found) == 4
    other = tiny()
    other.model = build_model("tiny", other.tokenizer, context=64, seed=1)
    assert Payload(other, SETTINGS).fingerprint not in found


def test_the_proximal_term_pulls_towards_the_received_state(packed):
    """In plain gradient descent, FedProx's gradient is that of the loss plus mu times the drift."""
    from lacy.federate import Proximal
    from lacy.train import FitState, MicroBatch, fit

    def steps(weight):
        payload = Payload(tiny(), SETTINGS)
        parameters = list(payload.parameters.values())
        start = [p.detach().clone() for p in parameters]
        state = FitState.start(payload.loaded.model, optimizer=torch.optim.SGD(parameters, lr=0.5))
        micro = MicroBatch.of(packed.batch([0, 1]), torch.device("cpu"))
        extra = Proximal(parameters, weight)
        objective, drifts = Objective(method="none", call_negative="none"), []
        for _ in fit(state, [micro] * 2, objective, clip=0.0, extra=extra):
            drifts.append([p.detach() - s for p, s in zip(parameters, start, strict=True)])
        return drifts

    plain, pulled = steps(0.0), steps(0.3)
    for (one, two), (same, nearer) in zip(
        zip(*plain, strict=True), zip(*pulled, strict=True), strict=True
    ):
        torch.testing.assert_close(one, same)  # the first step starts without drift
        torch.testing.assert_close(nearer, two - 0.5 * 0.3 * one, atol=1e-6, rtol=1e-4)
