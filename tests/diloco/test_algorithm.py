"""The algorithm against slow references: torch's SGD, plain training, means of weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.diloco import OuterState, split_fragments
from lacy.errors import LacyError
from lacy.train import fit


def same(first, second, atol=0.0):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.allclose(first[name], second[name], rtol=0, atol=atol), name


@given(st.integers(0, 2**31), st.floats(0.1, 1.0), st.sampled_from([0.0, 0.5, 0.9]))
@settings(deadline=None, max_examples=20)
def test_the_outer_step_is_nesterov_sgd_of_torch(seed, lr, momentum):
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "a": torch.randn(3, 4, generator=generator),
        "b": torch.randn(2, generator=generator),
    }
    outer = OuterState({name: tensor.clone() for name, tensor in weights.items()})
    slow = [torch.nn.Parameter(tensor.clone()) for tensor in weights.values()]
    sgd = torch.optim.SGD(slow, lr=lr, momentum=momentum, nesterov=momentum > 0)
    for _ in range(4):
        delta = {n: torch.randn(t.shape, generator=generator) for n, t in weights.items()}
        for parameter, change in zip(slow, delta.values(), strict=True):
            parameter.grad = -change
        sgd.step()
        outer.apply(delta, lr=lr, momentum=momentum)
    same(outer.weights, dict(zip(weights, (p.detach() for p in slow), strict=True)), 1e-5)


def test_one_worker_that_sends_everything_is_plain_training(together, finish):
    prepared = together(workers=1, outer_lr=1.0, outer_momentum=0.0)
    server, (worker,), _ = finish(prepared)
    alone = prepared.worker(0)
    steps = range(prepared.schedule.total)
    for _ in fit(
        alone.state, (alone.data.batch(step) for step in steps), prepared.config.objective(),
        lr=alone.data.lr, clip=alone.data.clip, seed=alone.data.seed,
    ):  # fmt: skip
        pass
    # w + (w' - w) is w' up to rounding, and Adam magnifies that.
    same(server.outer.weights, alone.weights, 1e-4)
    same(server.outer.weights, worker.weights)


def test_fedavg_is_the_mean_of_the_workers_weights(together, finish):
    prepared = together(workers=2, outer_lr=1.0, outer_momentum=0.0, sync_every=4)
    server, _, _ = finish(prepared, stop=1)
    apart = [prepared.worker(number) for number in range(2)]
    start = together(workers=2).server(prepared.make_model())
    for worker in apart:
        worker.welcome(start.welcome(), start.outer.state_dict())
        worker.train(4)
    mean = {n: (apart[0].weights[n] + apart[1].weights[n]) / 2 for n in apart[0].weights}
    same(server.outer.weights, mean, 1e-6)


def test_momentum_over_rounds_equals_a_loop(together, finish):
    prepared = together(workers=2)
    server, _, rows = finish(prepared)
    assert len(rows) == 4
    workers = [prepared.worker(number) for number in range(2)]
    weights = {n: t.clone() for n, t in workers[0].weights.items()}
    speed = {n: torch.zeros_like(t) for n, t in weights.items()}
    for turn in range(4):
        for worker in workers:
            worker._set(weights, keep=0.0)
            worker.order = {"progress": 2.0 * turn, "steps": 2, "after": 0, "fragment": 0}
            worker.train(2)
            worker._since = 0
        for name in weights:
            mean = sum(worker.weights[name] - weights[name] for worker in workers) / 2
            speed[name] = 0.9 * speed[name] + mean
            weights[name] = weights[name] + 0.7 * (mean + 0.9 * speed[name])
    same(server.outer.weights, weights, 1e-4)


@pytest.mark.parametrize(
    ("codec", "down"),
    [("f32", "same"), ("int4", "same"), ("int8", "f32"), ("topk", "relay"), ("bf16", "relay")],
)
def test_all_workers_have_the_servers_weights_bit_by_bit(together, finish, codec, down):
    server, workers, rows = finish(together({"steps": 4}, codec=codec, down=down))
    for worker in workers:
        same(server.outer.weights, worker.weights)
        same(server.outer.momentum, worker.base.momentum)
    assert rows[-1]["bytes_up"] == server.bytes_up > 0
    assert rows[-1]["bytes_down"] == server.bytes_down > 0


def test_bytes_are_those_of_the_messages(together, finish):
    values = sum(t.numel() for t in together().worker(0).weights.values())
    ideal = {"f32": 4.0, "int8": 1.03125, "int4": 0.53125}
    for codec, per_value in ideal.items():
        server, _, rows = finish(together(codec=codec))
        up = server.bytes_up / (2 * len(rows) * values)
        assert per_value < up < per_value * 1.05  # the rest are headers
        assert 0.95 < server.bytes_down / server.bytes_up < 1.05
    relayed, _, _ = finish(together(codec="int4", down="relay"))
    assert 1.9 < relayed.bytes_down / relayed.bytes_up < 2.1  # both deltas to both workers


def test_fragments_are_exchanged_in_turn_and_all_at_the_end(together, finish):
    prepared = together(sync_every=4, fragments=2)
    server, workers, rows = finish(prepared)
    # 8 steps in 4 intervals, and one exchange without training for the other fragment
    assert [row["workers"] for row in rows] == [2] * 5
    assert server.tokens == 8 * prepared.tokens_per_step
    for worker in workers:
        same(server.outer.weights, worker.weights)


def test_fragments_are_disjoint_and_balanced():
    shapes = {f"layers.{n}.{part}": (10, 10) for n in range(6) for part in ("a", "b")}
    shapes |= {"embed.weight": (50, 10), "norm.weight": (10,)}
    parts = split_fragments(shapes, 3)
    assert sorted(name for part in parts for name in part) == sorted(shapes)
    for n in range(6):  # layers stay whole
        assert (
            len({i for i, part in enumerate(parts) for p in "ab" if f"layers.{n}.{p}" in part}) == 1
        )
    sizes = [sum(math.prod(shapes[name]) for name in part) for part in parts]
    assert max(sizes) <= 1.5 * min(sizes)
    assert len(split_fragments(shapes, 100)) == 8


def test_overlap_goes_on_training_and_mixes(together, finish):
    prepared = together(sync_every=4, overlap=2)
    server, workers, _ = finish(prepared)
    assert [worker.state.step for worker in workers] == [8, 8]
    assert server.tokens == 8 * prepared.tokens_per_step
    kept, _, _ = finish(together(sync_every=4, overlap=2, keep_local=1.0))
    assert any(not torch.equal(kept.outer.weights[n], t) for n, t in server.outer.weights.items())


# ----------------------------------------------------------------- unequal, missing, broken


def test_slower_workers_take_fewer_steps_and_weigh_less(together, finish):
    prepared = together(sync_every=4, speeds=(1.0, 0.5), pace="time")
    server, workers, rows = finish(prepared)
    fast, slow = (worker.state.step for worker in workers)
    assert slow < fast <= 2 * slow
    assert server.progress >= 8
    assert rows[0]["time"] == 4.0
    _, _, rows = finish(together(sync_every=4, speeds=(1.0, 0.5)))
    assert rows[0]["time"] == 8.0


def test_a_worker_leaves_and_comes_back(together, finish):
    prepared = together(away=("1:2-3",))
    server, workers, rows = finish(prepared)
    assert [row["workers"] for row in rows] == [2, 1, 2, 2, 2]
    for worker in workers:
        same(server.outer.weights, worker.weights)


def test_a_quorum_does_not_wait_for_the_slow_one(together, finish):
    prepared = together({"steps": 12}, quorum=1, speeds=(1.0, 0.4))
    server, _, rows = finish(prepared)
    assert rows[0]["workers"] == 1 and rows[0]["time"] == 2.0
    assert sum(row["late"] for row in rows) >= 1  # the slow worker's delta counts later
    assert server.progress >= 12
    _, _, waited = finish(together({"steps": 12}, quorum=2, speeds=(1.0, 0.4)))
    assert all(row["workers"] == 2 for row in waited)
    assert waited[-1]["time"] > rows[-1]["time"]


def test_a_grace_window_lets_others_arrive(together, finish):
    prepared = together(quorum=1, speeds=(1.0, 0.8), grace=1.0)
    _, _, rows = finish(prepared)
    assert rows[0]["workers"] == 2


def test_a_worker_with_nan_is_left_out_and_starts_again(together, finish):
    prepared = together({"steps": 4})
    make, made = prepared.worker, []

    def broken(number):
        worker = make(number)
        if number == 1 and not made:
            made.append(worker)
            with torch.no_grad():
                train = worker.train

                def once(until):
                    train(until)
                    if len(made) == 1 and worker._since:
                        made.append(None)
                        next(iter(worker.weights.values())).fill_(torch.nan)

                worker.train = once
        return worker

    prepared.worker = broken
    server, workers, rows = finish(prepared)
    assert rows[0]["workers"] == 1 and rows[0]["refused"] == 1
    assert rows[1]["workers"] == 2
    assert "NaN" in server.reasons[0]
    for worker in workers:
        same(server.outer.weights, worker.weights)
        assert all(torch.isfinite(t).all() for t in worker.weights.values())


def test_bad_messages_are_refused_and_counted(together):
    prepared = together()
    server, worker = prepared.server(prepared.make_model()), prepared.worker(0)
    worker.welcome(server.welcome(), server.outer.state_dict())
    report = worker.report()
    for bad in (b"", b"\x80\x04pickle", report[:-5], report + b"x", report[:40]):
        assert not server.receive(0, bad)
    assert not server.receive(1, report)  # not from this worker
    assert server.receive(0, report)
    assert not server.receive(0, report)  # a second time
    assert server.refused == 7
    message, _ = server.merge()
    assert not server.receive(0, worker.report()[:10])
    with pytest.raises(LacyError, match="E359"):
        server.merge()
    worker.apply(message)
    with pytest.raises(LacyError, match="E356"):
        worker.apply(message)  # replayed


# ------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        ({"workers": 0}, "workers"),
        ({"sync_every": 5, "fragments": 2}, "multiple"),
        ({"overlap": 2}, "overlap"),
        ({"quorum": 3}, "quorum"),
        ({"quorum": 1, "fragments": 2}, "quorum excludes"),
        ({"speeds": (1.0,)}, "speeds"),
        ({"away": ("7:1-2",)}, "away"),
        ({"away": ("x",)}, "away"),
        ({"outer_lr": 0.0}, "outer_lr"),
        ({"threshold": "mine"}, "threshold"),
        ({"workers": 3}, "batch_rows"),
    ],
)
def test_bad_settings_are_listed(together, exchange, words):
    with pytest.raises(LacyError, match=f"(?s)E358.*{words}"):
        together(**exchange)


def test_settings_of_training_that_do_not_fit(together):
    with pytest.raises(LacyError, match=r"(?s)E358.*grad_accum"):
        together({"grad_accum": 2})
    with pytest.raises(LacyError, match="E357"):
        together(codec="int3")
