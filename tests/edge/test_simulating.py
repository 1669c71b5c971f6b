"""The fast simulation against the one by events, and against closed forms."""

import dataclasses
import math

import numpy as np
import pytest

from lacy.edge import (
    ALGORITHMS,
    EdgeAssumptions,
    Spread,
    changed,
    days_to_train,
    simulate_by_events,
    simulate_devices,
    workload_of,
)
from lacy.edge.assumptions import algorithm_of
from lacy.edge.fleet import Fleet
from lacy.edge.simulating import Scenario

MIXED = {
    "phone": {
        "flops": {"median": 1e11, "p90": 3e11}, "memory_gb": {"values": [1, 4, 8]},
        "hours": {"low": 4, "high": 10}, "starts": {"low": 20, "high": 26},
        "zone": {"low": 0, "high": 8}, "interrupted_hours": 0.5, "stays_days": 3,
        "replaced_days": 1, "compute_watts": 4, "send_watts": {"low": 1, "high": 2},
        "up_mbps": {"median": 5, "p90": 20},
    },
    "laptop": {"share": 0.5, "flops": 3e11, "memory_gb": 32, "hours": 12, "compute_watts": 30},
}  # fmt: skip
SERVER = {"server.up_gbps": 0.2, "server.down_gbps": 0.1, "server.round_seconds": 5}


def mixed(**values):
    base = EdgeAssumptions(devices=MIXED, population=40, model="15m", tokens=6e6)
    return changed(base, SERVER | values)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "diloco", "steps": 100, "sampled": 20},
        {"name": "diloco", "steps": 3000, "sampled": 20, "quorum": 0.9},  # longer than a night
        {"name": "diloco", "steps": 300, "sampled": 0, "quorum": 1.0, "timeout_hours": 6},
        {"name": "streaming", "steps": 100, "sampled": 15},
        {"name": "decoupled", "steps": 200, "sampled": 30},
        {"name": "sparse", "steps": 20, "sampled": 10, "at_least": 5},
        {"name": "fedavg", "steps": 300, "sampled": 0, "exchange": "gather"},
        {"name": "synchronous", "steps": 50, "sampled": 6},
    ],
    ids=lambda algorithm: "-".join(map(str, algorithm.values())),
)
def test_arrays_and_events_agree(algorithm, seed):
    assumed = mixed(algorithm=algorithm, rounds=12)
    fast, slow = simulate_devices(assumed, seed), simulate_by_events(assumed, seed)
    assert fast.rounds == slow.rounds
    assert fast.seconds == pytest.approx(slow.seconds, rel=1e-9)
    assert fast.sums.keys() == slow.sums.keys()
    for name, value in fast.sums.items():
        assert value == pytest.approx(slow.sums[name], rel=1e-7, abs=1e-6), name


def test_the_mixed_case_has_all_kinds_of_losses():
    algorithm = {"name": "diloco", "steps": 3000, "sampled": 30}
    run = simulate_devices(mixed(algorithm=algorithm, rounds=28, tokens=1e9), 2)
    kinds = ("merged", "late", "interrupted", "left")
    assert all(run.sums[kind] > 0 for kind in kinds)
    assert sum(run.sums[kind] for kind in kinds) == pytest.approx(run.sums["chosen"])
    assert 0 < run.devices_that_fit < 1
    assert 0 < run.utilisation < 1


def equal(**values):
    """Devices that are equal and always on."""
    device = {"flops": 1e12, "memory_gb": 1e3, "down_mbps": 800, "up_mbps": 400,
              "compute_watts": 10, "send_watts": 2}  # fmt: skip
    base = EdgeAssumptions(devices={"a": device}, population=16, model="1e8", tokens=1e9)
    base.critical_batch_tokens = math.inf
    changes = {"server.up_gbps": 1e6, "server.down_gbps": 1e6, "server.latency_ms": 0,
               "server.round_seconds": 0}  # fmt: skip
    return changed(base, changes | values)


def test_equal_devices_follow_the_closed_form():
    steps, tokens = 100, 1024
    assumed = equal(algorithm={"name": "diloco", "steps": steps, "sampled": 0, "quorum": 1.0,
                               "grace_minutes": 0.0})  # fmt: skip
    run = simulate_devices(assumed)
    rounds = math.ceil(1e9 / (16 * steps * tokens))
    compute = 6 * 1e8 * steps * tokens / 1e12
    down, up = 2e8 / 100e6, 2e8 / 50e6  # 16 bits per parameter
    assert run.rounds == rounds
    assert run.seconds == pytest.approx(rounds * (down + compute + up), rel=1e-4)
    assert run.sums["joules"] == pytest.approx(16 * rounds * (10 * compute + 2 * (down + up)))
    assert run.sums["bytes_up"] == pytest.approx(16 * rounds * 2e8)
    assert run.utilisation == pytest.approx(compute / (down + compute + up), rel=1e-4)
    assert run.lost == 0.0


def test_a_ring_takes_its_share_of_the_slowest_connection():
    assumed = equal(algorithm={"name": "synchronous", "sampled": 0}, tokens=3 * 16 * 1024)
    run = simulate_devices(assumed)
    exchange = 2 * 15 / 16 * 2e8 / 50e6
    first = 2e8 / 100e6  # the first round begins with the whole model
    assert run.rounds == 3
    assert run.seconds == pytest.approx(first + 3 * (6e8 * 1024 / 1e12 + exchange), rel=1e-6)
    assert run.sums["bytes_up"] == pytest.approx(3 * 16 * 2 * 15 / 16 * 2e8)


def test_a_narrow_server_receives_one_update_after_another():
    algorithm = {"name": "diloco", "steps": 1, "sampled": 0, "quorum": 1.0, "grace_minutes": 0.0}
    assumed = equal(algorithm=algorithm, tokens=1.0)
    narrow = changed(assumed, {"server.down_gbps": 0.16})  # 10 s for each update of 2e8 bytes
    difference = simulate_devices(narrow).seconds - simulate_devices(assumed).seconds
    assert difference == pytest.approx(16 * 10 - 4, rel=1e-4)


def test_overlap_hides_what_is_shorter():
    algorithm = {"name": "streaming", "steps": 100, "sampled": 0, "quorum": 1.0,
                 "grace_minutes": 0.0, "bits": 16.0}  # fmt: skip
    assumed = equal(algorithm=algorithm, tokens=50 * 16 * 100 * 1024)
    run = simulate_devices(assumed)
    compute = 6 * 1e8 * 100 * 1024 / 1e12
    assert compute > 6.0 > 0  # receiving and sending take 6 s
    assert run.seconds == pytest.approx(50 * compute + 2.0, rel=1e-4)


def test_the_paper_needs_313_days():
    from lacy.edge import read_assumptions

    run = simulate_devices(read_assumptions("paper", {"rounds": 20}))
    closed = days_to_train(6 * 37e9 * 14.8e12, 60_723, 2e12)
    assert closed == pytest.approx(313.1, abs=0.05)
    assert run.days == pytest.approx(closed, rel=0.005)  # the last round is begun and ended
    assert run.utilisation == pytest.approx(1.0, abs=1e-3)


def test_large_batches_cost_tokens():
    few = equal(algorithm={"name": "diloco", "steps": 100, "sampled": 0})
    few.critical_batch_tokens = 16 * 1024
    run = simulate_devices(few)
    assert run.sums["tokens"] == pytest.approx(2e9, rel=0.01)


def test_extrapolation_equals_the_whole_simulation():
    assumed = equal(algorithm={"name": "diloco", "steps": 100, "sampled": 8})
    whole = simulate_devices(assumed)
    part = simulate_devices(changed(assumed, {"rounds": 100}))
    assert part.simulated < 0.2
    assert part.seconds == pytest.approx(whole.seconds, rel=0.01)
    assert part.kwh == pytest.approx(whole.kwh, rel=0.01)


def test_a_horizon_ends_what_never_ends():
    algorithm = {"name": "diloco", "steps": 10**6, "sampled": 5}  # nothing arrives within a day
    run = simulate_devices(mixed(algorithm=algorithm, horizon_days=5))
    assert not run.finished
    assert run.progress == 0.0
    assert run.sums["merged"] == 0


def test_no_memory_no_rounds():
    run = simulate_devices(changed(mixed(), {"model": "1e12", "horizon_days": 1e4}))
    assert run.devices_that_fit == 0.0
    assert run.rounds == 0
    assert not run.finished


def test_a_fleet_is_the_same_whatever_is_remembered():
    assumed = mixed(population=5_000)
    stored, computed = Fleet(assumed, 3), Fleet(assumed, 3)
    computed._all = None
    numbers = np.array([4_999, 0, 17, 17, 1234])
    for field in dataclasses.fields(stored.profile(numbers)):
        values = [getattr(fleet.profile(numbers), field.name) for fleet in (stored, computed)]
        assert np.array_equal(*values), field.name
    for time in (0.0, 5e4, 3e5):
        found = [fleet.available(np.arange(5_000), time, 1e9) for fleet in (stored, computed)]
        assert np.array_equal(*found)


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10_001, 65_536])
def test_the_order_of_sampling_has_every_device_once(size):
    fleet = Fleet(mixed(population=size))
    first, again = fleet.order(5, 0, size), fleet.order(6, 0, size)
    assert np.array_equal(np.sort(first), np.arange(size))
    assert np.array_equal(np.concatenate([fleet.order(5, 0, 3), fleet.order(5, 3, size)]), first)
    assert size < 10 or not np.array_equal(first, again)


def test_devices_leave_and_are_replaced():
    fleet = Fleet(mixed(population=20_000), 1)
    phones = np.flatnonzero(fleet.kinds(np.arange(20_000)) == 0)
    assert len(phones) / 20_000 == pytest.approx(2 / 3, abs=0.02)
    start, leaves = fleet.leaves(phones, 0.0)
    assert start.all()
    assert leaves.mean() == pytest.approx(3 * 86_400, rel=0.03)
    later = fleet.leaves(phones, 60 * 86_400.0)[0].mean()
    assert later == pytest.approx(3 / (3 + 1), abs=0.02)  # mean stay 3 days, vacant for 1


def test_sampled_devices_have_what_is_asked():
    scenario = Scenario(mixed(population=30_000, algorithm={"name": "diloco", "sampled": 500}))
    chosen, new = scenario.choose(1e5, 0, np.empty(0, dtype=np.int64))
    assert len(np.unique(chosen)) == 500
    assert new.all()
    profile = scenario.fleet.profile(chosen)
    assert (profile.memory >= scenario.work.memory_bytes).all()
    kept, new = scenario.choose(1e5, 1, chosen[:100])
    assert np.array_equal(kept[:100], chosen[:100])
    assert not new[:100].any() and new[100:].all()
    assert len(np.unique(kept)) == 500


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_algorithms_have_their_bytes(name):
    assumed = mixed(algorithm={"name": name})
    algorithm = algorithm_of(assumed)
    work = workload_of(assumed, algorithm)
    assert work.update_bytes(algorithm.bits) == work.parameters * algorithm.bits / 8
    assert work.memory_bytes > 16 * work.parameters


def test_operations_per_token_are_those_of_the_model():
    assumed = EdgeAssumptions(devices={"a": {}}, model="360m")
    work = workload_of(assumed, algorithm_of(assumed))
    assert work.parameters == pytest.approx(362e6, rel=0.01)  # SmolLM2-360M
    assert work.flop_per_token == pytest.approx(6 * 362e6, rel=0.15)
    twice = workload_of(changed(assumed, {"flop_per_token": 1e9}), algorithm_of(assumed))
    assert twice.flop_per_token == 1e9


def test_numbers_of_values_stay_within_limits():
    device = {"hours": Spread(median=20, p90=60), "memory_gb": Spread(low=1, high=4)}
    fleet = Fleet(EdgeAssumptions(devices={"a": device}, population=1000))
    assert fleet.profile(np.arange(1000)).length.max() == 86_400


def test_shares_that_add_up_to_the_population_are_numbers():
    devices = {"a": {"share": 1}, "b": {"share": 3, "flops": 2e11}, "c": {"share": 2}}
    fleet = Fleet(EdgeAssumptions(devices=devices, population=6))
    assert fleet.kinds(np.arange(6)).tolist() == [0, 1, 1, 1, 2, 2]
    drawn = Fleet(EdgeAssumptions(devices=devices, population=6_000_000))
    counts = np.bincount(drawn.kinds(np.arange(60_000)), minlength=3)
    assert counts / 10_000 == pytest.approx([1, 3, 2], abs=0.1)
