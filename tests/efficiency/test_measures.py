"""Timed and measured figures: units, counts and order, but no speed."""

import json
import math
import sqlite3

import pytest

from helpers.raw import raw_llama, save_raw
from lacy.cascade import Engine
from lacy.cli import main
from lacy.efficiency import Efficiency, Load, RateCard, peak_memory, quantile, timed_prompts
from lacy.errors import LacyError
from lacy.model import load_model
from lacy.results import METRICS
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Reply

LOAD = Load(prompt_tokens=24, new_tokens=6, repeat=5, batch_size=3, batches=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_raw(tmp_path_factory.mktemp("raw"), raw_llama(context=512))


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder)


def by_metric(results):
    found = {}
    for result in results:
        found.setdefault(result.metric, []).append(result)
    return found


def test_prompts_have_the_wanted_length(loaded):
    engine = Engine(loaded)
    prompts = timed_prompts(engine, 5, 24)
    assert len(set(prompts)) == 5
    assert {len(engine.sequence(0, prompt, None, 1).ids) for prompt in prompts} == {24}
    short = timed_prompts(engine, 3, 50, ["Ulm.", "Kiel is a town."])
    assert {len(engine.sequence(0, prompt, None, 1).ids) for prompt in short} == {50}
    assert short[1].startswith("Kiel")


def test_speed_without_and_with_calls(loaded, tmp_path):
    def answer(request):
        return Reply((Candidate(" Ulm"),), cost=0.001)

    measure = Efficiency(loaded, LOAD, rate=RateCard(0.36), powercap=tmp_path)
    measure.speed(Engine(loaded))
    engine = Engine(loaded, ScriptedSource(answer, name="book"), "always", read=0)
    timings = measure.speed(engine)
    assert len(timings.single) == LOAD.repeat
    assert {t.prompt_tokens for t in timings.single} == {24}
    assert all(t.calls for t in timings.single)
    assert all(0 < t.first <= t.total for t in timings.single)
    assert len(timings.batches) == 2 and all(n >= 18 for n, _, _ in timings.batches)
    found = by_metric(measure.measured().results())
    for name in ("time_to_first_token", "latency", "prefill_rate", "decode_rate"):
        assert [r.conditions["policy"] for r in found[name]] == ["never"] * 2 + ["always"] * 2
        for half, most in zip(found[name][::2], found[name][1::2], strict=True):
            assert (half.conditions["quantile"], most.conditions["quantile"]) == ("p50", "p95")
            assert most.value >= half.value > 0
            assert half.n == LOAD.repeat and half.low <= half.value <= half.high
            assert half.unit == METRICS[name].unit
            assert half.conditions["batch"] == "1"
    assert [r.conditions["batch"] for r in found["throughput"]] == ["3", "3"]
    assert found["throughput"][0].conditions["call_rate"] == "0.000"
    assert all(r.value > 0 for r in found["cpu_per_token"])
    alone, calling = found["price_per_1000_tokens"]
    assert alone.value == pytest.approx(0.0001 * 1000 / found["throughput"][0].value)
    assert calling.value > 0.001 * 1000 / 6  # the source's price is included
    for result in [*found["energy_per_token"], *found["idle_power"]]:
        assert math.isnan(result.value) and result.n == 0
        assert "intel-rapl" in result.conditions["not available"]


def test_energy_where_a_counter_can_be_read(loaded, tmp_path):
    place = tmp_path / "intel-rapl:0"
    place.mkdir()
    for name, text in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "9")):
        (place / name).write_text(text)
    measure = Efficiency(loaded, LOAD, powercap=tmp_path)
    measure.speed(Engine(loaded))
    found = by_metric(measure.measured().results())
    [energy], [idle] = found["energy_per_token"], found["idle_power"]
    assert energy.value == idle.value == 0.0  # this counter stands still
    assert energy.n == LOAD.batches and energy.conditions["counters"] == "RAPL package-0"
    assert "no rate card" in found["price_per_1000_tokens"][0].conditions["not available"]


def test_sizes_and_privacy(loaded, folder, tmp_path):
    measure = Efficiency(loaded, LOAD, powercap=tmp_path)
    measure.sizes()
    measure.privacy()
    found = {result.metric: result for result in measure.measured().results()}
    assert found["parameters"].value == sum(p.numel() for p in raw_llama().parameters())
    assert found["compression_ratio"].value == pytest.approx(1, rel=0.1)
    assert found["compression_ratio"].conditions["reference"] == "the same weights in 32 bits"
    assert found["flops_counted"].value == found["flops_per_token"].value
    assert found["privacy_epsilon"].conditions["not available"].startswith("none")
    measure = Efficiency(loaded, LOAD, reference=folder / "tokenizer.json", powercap=tmp_path)
    measure.sizes()
    found = {result.metric: result for result in measure.measured().results()}
    assert found["compression_ratio"].conditions["reference"] == "tokenizer.json"
    for result in found.values():
        assert result.unit == METRICS[result.metric].unit
        assert {"device", "dtype", "threads", "torch", "transformers"} <= set(result.conditions)


def test_quantiles():
    values = [float(n) for n in range(1, 101)]
    middle, most = quantile(values, 0.5, "seconds"), quantile(values, 0.95, "seconds")
    assert middle.value == 50.5 and most.value == pytest.approx(95.05)
    assert middle.low < middle.value < middle.high
    assert quantile([3.0], 0.95, "seconds").value == 3.0
    assert math.isnan(quantile([], 0.5, "seconds").value)
    assert quantile([1.0, math.nan], 0.5, "seconds").n == 1


@pytest.mark.slow
def test_memory_of_a_fresh_process(folder, monkeypatch):
    found = peak_memory(folder, prompt_tokens=16, new_tokens=4)
    assert 0 < found.imports <= found.loaded <= found.peak
    monkeypatch.setattr("lacy.efficiency.memory.SECONDS", 0.1)
    with pytest.raises(LacyError, match=r"E249.*no result after 0\.1 s"):
        peak_memory(folder, prompt_tokens=16, new_tokens=4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_lacy_evaluate_speed(folder, tmp_path, capsys):
    facts, out = tmp_path / "facts.sqlite", tmp_path / "found.json"
    with sqlite3.connect(facts) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        db.execute("INSERT INTO fact VALUES ('Mara Vell', 'place of birth', 'Ulm')")
    (tmp_path / "asked.jsonl").write_text(
        json.dumps({"question": "Where was Mara Vell born?", "answers": ["Ulm"]}) + "\n"
    )
    command = [
        "evaluate", str(folder), "--speed", "--source", str(facts), "--calibrate", "0",
        "--prompt-tokens", "16", "--new-tokens", "4", "--repeat", "3", "--batch-size", "2",
        "--rate", "0.5", "--questions", str(tmp_path / "asked.jsonl"), "--out", str(out),
    ]  # fmt: skip
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "Policy never" in shown and "Policy entropy=4" in shown and "Not available" in shown
    found = by_metric_data(json.loads(out.read_text())["results"])
    assert len(found["price_per_right_answer"]) == 2
    assert found["peak_memory"][0]["value"] > found["weights_memory"][0]["value"]


def by_metric_data(rows):
    found = {}
    for row in rows:
        found.setdefault(row["metric"], []).append(row)
    return found
