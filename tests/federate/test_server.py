"""The server: rounds, refusals, partial participation, restarts."""

import json
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.federation import Broken, Steady, state_of, steady
from lacy.deltas import codec_by_name
from lacy.errors import LacyError
from lacy.federate import (
    ClientReply,
    FederateSettings,
    FederationServer,
    InProcess,
    encode_update,
)

F32 = codec_by_name("f32")
MEAN = FederateSettings(rounds=3)


def served(settings=MEAN, clients=None, **how):
    server = FederationServer(state_of(), settings, model="m", **how)
    transport = InProcess(steady(4) if clients is None else clients)
    while not server.finished:
        server.run_round(transport)
    return server


def test_rounds_average_updates_by_their_samples():
    """Against the mean written as a loop."""
    server, clients, state = served(), steady(4), state_of()
    for number in (1, 2, 3):
        updates = [client.train(state, number) for client in clients.values()]
        total = sum(update.samples for update in updates)
        state = {
            name: tensor + sum(u.samples / total * u.delta[name].double() for u in updates).float()
            for name, tensor in state.items()
        }
    for name, tensor in state.items():
        torch.testing.assert_close(server.state[name], tensor, atol=1e-6, rtol=0)
    last = server.rounds[-1]
    assert last.accepted == list(clients) and last.counts == {"seen": 46} and last.samples == 46
    assert 0 < last.metrics["loss"] < server.rounds[0].metrics["loss"]
    size = F32.size({"a": (7,), "b": (3, 2)})
    assert last.bytes_down == 4 * size and last.bytes_up > 4 * size


class Sends:
    """A transport of honest clients and one that sends what it likes."""

    def __init__(self, *messages, name="evil"):
        self.messages, self.name = messages, name

    def clients(self):
        return ["c00", "evil"]

    def train(self, clients, state, round, deadline):
        update = Steady("c00").train(state, round)
        yield ClientReply("c00", encode_update(update, F32))
        for message in self.messages:
            data = message(update) if callable(message) else message
            yield ClientReply(self.name, data)


class Attack:
    """Creates a file if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def altered(**changes):
    return lambda update: encode_update(replace(update, **changes), F32)


def not_a_number(update):
    data = bytearray(encode_update(update, F32))
    data[-4:] = np.float32("nan").tobytes()
    return bytes(data)


def with_header(**changes):
    def send(update):
        data = encode_update(update, F32)
        length = int.from_bytes(data[:4], "little")
        header = json.dumps({**json.loads(data[4 : 4 + length]), **changes}).encode()
        return len(header).to_bytes(4, "little") + header + data[4 + length :]

    return send


REFUSED = {
    "NaN": (not_a_number, "NaN"),
    "shape": (
        lambda u: altered(delta={**u.delta, "a": torch.zeros(8)})(u),
        "has the shape [8], not [7]",
    ),
    "name": (lambda u: altered(delta={**u.delta, "c": torch.zeros(1)})(u), "expected"),
    "missing": (lambda u: altered(delta={"a": u.delta["a"]})(u), "lacks b"),
    "round": (altered(round=7), "of round 7"),
    "model": (altered(model="x"), "another model"),
    "no samples": (altered(samples=0), "no training samples"),
    "many samples": (altered(samples=10**9), "1000000000 samples"),
    "negative": (with_header(samples=-1), "other types"),
    "boolean": (with_header(round=True), "other types"),
    "more fields": (with_header(text="Mara Vell was born in Ulm"), "other fields"),
    "text as count": (with_header(counts={"Mara Vell, born in Ulm": 1}), "counts"),
    "many counts": (with_header(counts={f"n{n}": 1 for n in range(40)}), "counts"),
    "infinite loss": (with_header(metrics={"loss": float("inf")}), "metrics"),
    "codec": (lambda u: encode_update(u, codec_by_name("f16")), "codec"),
    "too long": (lambda u: encode_update(u, F32) + bytes(10_000), "bytes"),
    "cut": (lambda u: encode_update(u, F32)[:-9], "safetensors"),
    "empty": (b"", "not a message"),
    "text": (b"hello, this is not an update at all", "not a message"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_update_is_refused_and_the_round_goes_on(name):
    message, why = REFUSED[name]
    bad, good = (FederationServer(state_of(), MEAN, model="m") for _ in range(2))
    done = bad.run_round(Sends(message))
    assert why in done.refused["evil"] and done.accepted == ["c00"] and done.changed
    good.run_round(Sends())
    assert all(torch.equal(bad.state[each], good.state[each]) for each in good.state)


def test_a_pickle_is_refused_unopened(tmp_path):
    trap = tmp_path / "opened"
    payload = pickle.dumps(Attack(trap))
    server = FederationServer(state_of(), MEAN, model="m")
    framed = len(payload).to_bytes(4, "little") + payload
    done = server.run_round(Sends(payload))
    assert "not a message" in done.refused["evil"] and not trap.exists()
    done = server.run_round(Sends(framed))
    assert "not a message" in done.refused["evil"] and not trap.exists()


def test_a_replayed_and_a_second_message_are_refused():
    server, kept = FederationServer(state_of(), MEAN, model="m"), []

    def keep(update):
        kept.append(encode_update(update, F32))
        return kept[-1]

    first = server.run_round(Sends(keep, altered()))
    assert "already sent" in first.refused["evil"]
    second = server.run_round(Sends(kept[0]))
    assert second.refused == {"evil": "it is of round 1, not 2"}
    stranger = server.run_round(Sends(altered(), name="stranger"))
    assert "not sampled" in stranger.refused["stranger"] and stranger.failed == {"evil": "no reply"}


def test_a_client_whose_samples_were_all_dropped_still_counts():
    """A client that sanitises its samples may have none left; what it flagged is shown."""
    none_left = altered(samples=0, counts={"seen": 5, "flagged": 5})
    done = FederationServer(state_of(), MEAN, model="m").run_round(Sends(none_left))
    assert done.counts == {"seen": 15, "flagged": 5} and done.samples == 10


def test_finite_updates_that_overflow_together_change_nothing():
    huge = altered(delta={"a": torch.full((7,), 3e38), "b": torch.full((3, 2), 3e38)})
    server = FederationServer(state_of(), MEAN, model="m")
    done = [server.run_round(Sends(huge)) for _ in range(3)]
    assert done[0].changed and not done[-1].changed
    assert all(torch.isfinite(tensor).all() for tensor in server.state.values())


def test_late_and_failing_clients_do_not_hold_a_round_up():
    class Slow(Sends):
        def train(self, clients, state, round, deadline):
            for reply in super().train(clients, state, round, deadline):
                yield replace(reply, seconds=0.0 if reply.client == "c00" else deadline + 1)

    settings = replace(MEAN, deadline=5.0)
    done = FederationServer(state_of(), settings, model="m").run_round(Slow(altered()))
    assert "late: 6.0 s of 5 s" in done.refused["evil"] and done.changed
    done = FederationServer(state_of(), MEAN, model="m").run_round(
        InProcess({**steady(2), "c05": Broken()})
    )
    assert done.failed == {"c05": "RuntimeError: out of memory"}
    assert done.accepted == ["c00", "c01"]


def test_a_round_without_enough_updates_changes_nothing():
    settings = replace(MEAN, quorum=3)
    server = served(settings, {**steady(2), "bad": Broken()})
    assert not any(done.changed for done in server.rounds) and len(server.rounds) == 3
    assert all(torch.equal(server.state[name], tensor) for name, tensor in state_of().items())
    done = FederationServer(
        state_of(), replace(MEAN, strategy="krum", malicious=1), model="m"
    ).run_round(InProcess(steady(4)))
    assert not done.changed and len(done.accepted) == 4  # Krum needs five


def test_without_clients_there_is_a_clear_error():
    with pytest.raises(LacyError, match="E335"):
        FederationServer(state_of(), MEAN, model="m").run_round(InProcess({}))


def test_some_clients_are_sampled_and_all_get_their_turn():
    server = served(replace(MEAN, rounds=12, fraction=0.3), steady(10))
    assert all(len(done.accepted) == 3 for done in server.rounds)
    assert len({name for done in server.rounds for name in done.accepted}) >= 8


@pytest.mark.parametrize("how", [{}, {"noise": 1.0, "clip": 1.0, "fraction": 0.5}])
def test_a_restarted_server_goes_on_with_equal_results(how, tmp_path):
    if how:
        pytest.importorskip("opacus")
    settings = replace(MEAN, rounds=4, **how)
    file = tmp_path / "server.safetensors"
    whole = FederationServer(state_of(), settings, model="m", file=file)
    half = tmp_path / "half.safetensors"
    while not whole.finished:
        whole.run_round(InProcess(steady(4)))
        if len(whole.rounds) == 2:
            half.write_bytes(file.read_bytes())
    again = FederationServer(state_of(), settings, model="m", file=half)
    assert len(again.rounds) == 2
    while not again.finished:
        again.run_round(InProcess(steady(4)))
    assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state)
    assert [done.accepted for done in again.rounds] == [done.accepted for done in whole.rounds]
    assert os.stat(half).st_mode & 0o077 == 0  # it contains the seed of the noise


def test_more_rounds_may_be_added_later(tmp_path):
    file = tmp_path / "s"
    served(replace(MEAN, rounds=2), file=file)
    assert len(served(replace(MEAN, rounds=5), file=file).rounds) == 5


def test_a_state_of_another_federation_or_a_damaged_one_is_not_used(tmp_path):
    file = tmp_path / "server.safetensors"
    served(file=file)
    with pytest.raises(LacyError, match=r"E334.*another one"):
        FederationServer(state_of(), MEAN, model="other", file=file)
    with pytest.raises(LacyError, match=r"E334.*strategy"):
        FederationServer(state_of(), replace(MEAN, strategy="median"), model="m", file=file)
    with pytest.raises(LacyError, match=r"E334.*shape"):
        FederationServer(state_of(8), MEAN, model="m", file=file)
    assert load_file(file)["a"].shape == (7,)
    save_file({"a": torch.zeros(7)}, tmp_path / "foreign")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-50])
    (tmp_path / "empty").write_bytes(b"")
    for name in ("foreign", "cut", "empty"):
        with pytest.raises(LacyError, match="E333"):
            FederationServer(state_of(), MEAN, model="m", file=tmp_path / name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": 0}, {"fraction": 0.0}, {"fraction": 1.5}, {"strategy": "mode"}, {"clip": 0.0},
        {"noise": 1.0}, {"noise": 1.0, "clip": 1.0, "strategy": "median"}, {"budget": 1.0},
        {"lora_mean": "product", "strategy": "krum"}, {"lora_mean": "sum"}, {"local_steps": 0},
        {"deadline": float("nan")}, {"server_lr": float("inf")}, {"malicious": -1},
    ],
)  # fmt: skip
def test_invalid_settings_are_explained(wrong):
    with pytest.raises(LacyError, match="E12"):
        FederateSettings(**wrong).check()


def test_an_unknown_codec_is_explained():
    with pytest.raises(LacyError, match="E357"):
        FederationServer(state_of(), replace(MEAN, codec="zip"), model="m")
