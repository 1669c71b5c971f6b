"""Reading assumptions, the answer in words, and the command."""

import json
import math

import pytest

from lacy.cli import main
from lacy.edge import (
    EdgeAssumptions,
    answer_sentences,
    bytes_per_step,
    can_devices_train,
    changed,
    check_assumptions,
    days_to_train,
    devices_of_equal_rate,
    devices_to_train,
    fewer_bytes,
    format_days,
    preset_assumptions,
    read_assumptions,
    simulate_devices,
    training_flop,
)
from lacy.edge.answering import VARIATIONS, variation
from lacy.errors import LacyError

SMALL = """
devices:
  laptop: {flops: {median: 1e10, p90: 2e10}, hours: {low: 6, high: 12}, starts: {low: 0, high: 24},
           interrupted_hours: 20, stays_days: 100, compute_watts: 30}
population: 200
model: 15m
tokens: 1e7
algorithm: {name: diloco, sampled: 20, steps: 50, grace_minutes: 0}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("name", preset_assumptions())
def test_shipped_assumptions_simulate(name):
    run = simulate_devices(read_assumptions(name, {"rounds": 2, "device_rounds": 1e5}))
    assert run.rounds > 0
    assert run.devices_that_fit > 0


def test_an_answer_names_what_matters_most(small):
    answer = can_devices_train(read_assumptions(small), days=30, runs=2)
    assert answer.can
    first, *others = answer_sentences(answer)
    assert first.startswith("Yes: 200 devices train 15m on 10,000,000 tokens in ")
    assert any(line.startswith("The assumption that matters most: ") for line in others)
    assert answer.matters_most is not None
    assert answer.matters_most.width == max(v.width for v in answer.varied if v.kind[0] == "a")
    speed = next(v for v in answer.varied if v.name == "sustained FLOP/s")
    assert speed.halved > answer.usual_days > speed.doubled
    figures = answer.figures()
    assert figures["wall time"].n == 2
    assert figures["price of energy"].value == pytest.approx(0.2 * figures["energy"].value)
    slow = can_devices_train(
        read_assumptions(small), days=answer.usual_days / 50, runs=1, vary=False
    )
    assert answer_sentences(slow)[0].startswith("No: ")
    assert not slow.can


def test_an_answer_says_that_nothing_fits(small):
    answer = can_devices_train(read_assumptions(small, {"model": "1e12"}), runs=1)
    assert answer_sentences(answer)[0].startswith("No: 200 devices cannot train 1e12")
    assert "0.0% of the devices have the memory" in answer_sentences(answer)[-1]
    assert not answer.varied


def test_an_answer_says_that_nothing_arrives(small):
    answer = can_devices_train(
        read_assumptions(small, {"algorithm.steps": 10**8, "horizon_days": 3}), runs=1, vary=False
    )
    assert any("No update ever arrives in time" in line for line in answer_sentences(answer))


@pytest.mark.parametrize("name", [name for name, _ in VARIATIONS])
def test_variations_are_valid_and_change_something(name):
    assumed = read_assumptions("phones")
    for factor in (0.5, 2.0):
        other = variation(assumed, name, factor)
        check_assumptions(other)
        assert other != assumed


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"population": 0}, "population is 0, it is between 1"),
        ({"tokens": math.nan}, "tokens is nan"),
        ({"algorithm": "dilco"}, "did you mean 'diloco'?"),
        ({"algorithm.quorum": 1.5}, "algorithm.quorum is 1.5"),
        ({"algorithm.stesp": 1}, "there is no setting algorithm.stesp; did you mean"),
        ({"algorithm.at_least": 10**6, "population": 10}, "at most 10 devices take part"),
        ({"server.up_gbps": -1.0}, "server.up_gbps is -1"),
        ({"devices": {}}, "at least one class"),
        ({"devices": {"a": {"up_mbps": -5}}}, "devices.a.up_mbps is -5"),
        ({"devices": {"a": {"flops": {"median": 2e9, "p90": 1e9}}}}, "devices.a.flops: median"),
        ({"devices": {"a": {"flop": 1}}}, "devices.a.flop; did you mean"),
        ({"devices": {"a": {"share": 0}}}, "the shares of all classes of devices are 0"),
        ({"devices": {"a": {"stays_days": 0.1}}}, "shorter absences are interruptions"),
        ({"devices": {"a": 3}}, "devices.a is 3"),
        ({"critical_batch_tokens": 0.0}, "critical_batch_tokens is 0"),
    ],
)
def test_bad_assumptions_are_explained(values, expected):
    with pytest.raises(LacyError) as caught:
        check_assumptions(changed(EdgeAssumptions(devices={"a": {}}), values))
    assert caught.value.code == "E365"
    assert expected in str(caught.value)


def test_all_problems_are_listed_together():
    values = {"devices": {"a": {"up_mbps": -5, "hours": 30}}, "population": -2}
    with pytest.raises(LacyError) as caught:
        check_assumptions(changed(EdgeAssumptions(), values))
    assert str(caught.value).count("\n  - ") == 3


def test_other_mistakes(small, tmp_path, capsys):
    with pytest.raises(LacyError, match=r"E366.*did you mean '360m'"):
        simulate_devices(read_assumptions(small, {"model": "36m0"}))
    with pytest.raises(LacyError, match="E367"):
        can_devices_train(read_assumptions(small), days=0)
    assert main(["federate", "simulate", "phone", "--out", str(tmp_path)]) != 0
    assert "did you mean 'phones'" in capsys.readouterr().err
    assert main(["federate", "simulate", "--copy-to", str(small)]) == 2
    assert "E368" in capsys.readouterr().err


def test_the_command_prints_and_writes_the_answer(small, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["federate", "simulate", str(small), "--devices", "300", "--steps", "20", "--runs", "1"]
    assert main([*argv, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "Yes: 300 devices train 15m" in shown
    assert "sustained FLOP/s" in shown
    data = json.loads((out / "simulate.json").read_text())
    assert data["can"] is True
    assert data["assumptions"]["algorithm"]["steps"] == 20
    assert len(data["runs"]) == 1
    page = (out / "report.html").read_text()
    assert "Can 300 devices train 15m?" in page
    assert page.count("<svg") == 2


def test_a_copy_of_assumptions_can_be_edited(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    assert main(["federate", "simulate", "home", "--copy-to", str(mine)]) == 0
    assert "Edit it" in capsys.readouterr().out
    assert read_assumptions(mine) == read_assumptions("home")


def test_known_figures():
    assert devices_of_equal_rate(2048, 59.30e12, 2e12) == pytest.approx(60_723.2)
    flop = training_flop(37e9, 14.8e12)
    assert flop == pytest.approx(3.2856e24)
    assert days_to_train(flop, 60_723, 2e12) == pytest.approx(313.1, abs=0.05)
    assert devices_to_train(flop, 7, 1.38e12, 0.2, 0.3) == pytest.approx(65.6e6, rel=1e-3)
    assert bytes_per_step(125e6, 16) == 500e6
    assert bytes_per_step(360e6, 8, 100) == pytest.approx(7.2e6)
    assert fewer_bytes(100, 8, 32) == 400


def test_times_in_words():
    assert [format_days(d) for d in (0.01, 0.5, 3, 800)] == [
        "14 minutes", "12.0 hours", "3.0 days", "2.2 years",
    ]  # fmt: skip
    assert format_days(math.inf, 3650) == "more than 10.0 years"
