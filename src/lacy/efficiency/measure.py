"""Measure everything that a model costs, and return it as results."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lacy.cascade import Engine
from lacy.efficiency.energy import POWERCAP, EnergyMeter
from lacy.efficiency.memory import PeakMemory, peak_memory
from lacy.efficiency.operations import count_operations
from lacy.efficiency.price import RateCard
from lacy.efficiency.privacy import privacy_of
from lacy.efficiency.sizes import (
    bits_per_weight,
    compression_ratio,
    file_sizes,
    memory_sizes,
    parameter_counts,
)
from lacy.efficiency.timing import Timings, quantile, time_requests, timed_prompts
from lacy.evaluate import TestQuestion, ask, contains_answer
from lacy.results import Result, Score, ratio
from lacy.run import environment

QUANTILES = {"p50": 0.5, "p95": 0.95}

NO_RATE = "no rate card (--rate gives dollars per hour of the machine)"
NO_BUDGET = "none: no training of this model had a privacy budget"


@dataclass(frozen=True, slots=True)
class Load:
    """The work that is timed.

    Args:
        prompt_tokens: length of each prompt.
        new_tokens: number of generated tokens per request.
        repeat: number of single requests.
        batch_size: number of requests that are generated together.
        batches: number of batches.
    """

    prompt_tokens: int = 128
    new_tokens: int = 64
    repeat: int = 20
    batch_size: int = 8
    batches: int = 3


@dataclass(frozen=True, slots=True)
class EfficiencyMeasured:
    """What a model costs."""

    found: tuple[Result, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    """Metrics that this machine or model has not, with the reason."""

    def results(self) -> list[Result]:
        """Return every metric; those without a value say why in their conditions."""
        return list(self.found)


class Efficiency:
    """Measures one model.

    Args:
        loaded: the model, as from ``lacy.model.load_model``.
        load: the work that is timed.
        files: the model's folder or file, if not the folder that it was loaded from: a GGUF file,
            for example.
        reference: name of the model, or file, with which the size is compared; by default the same
            weights in 32 bits.
        rate: prices of the machine.
        dtype: precision of the weights, for the fresh process that memory is measured in.
        powercap: folder of the processor's energy counters.
    """

    def __init__(
        self,
        loaded: Any,
        load: Load | None = None,
        *,
        files: str | Path | None = None,
        reference: str | Path | None = None,
        rate: RateCard | None = None,
        dtype: str = "fp32",
        powercap: Path = POWERCAP,
    ) -> None:
        self.loaded, self.load = loaded, load or Load()
        self.reference, self.rate, self.dtype = reference, rate, dtype
        self.model, self.files = loaded.model, files or loaded.path
        self.meter = EnergyMeter(self.model.device.type, powercap)
        self._found: list[Result] = []
        self._missing: dict[str, str] = {}

    def measured(self) -> EfficiencyMeasured:
        """Return what has been measured so far."""
        return EfficiencyMeasured(tuple(self._found), dict(self._missing))

    def sizes(self) -> None:
        """Measure parameters, files, operations and the memory of weights and cache."""
        # A raw model has a row for <CALL> in memory that its files lack.
        counts = parameter_counts(self.model, added_rows=0 if self.loaded.meta else 1)
        self._add("parameters", counts.distinct, "parameters")
        self._add("parameters_untied", counts.untied, "parameters")
        self._add("parameters_non_embedding", counts.non_embedding, "parameters")
        files = file_sizes(self.files)
        self._add("weight_bytes", files.weights, "bytes")
        self._add("file_bytes", files.all, "bytes")
        self._add("bits_per_weight", bits_per_weight(files.weights, counts.distinct), "bits")
        if self.reference is None:
            compared, name = 4.0 * counts.distinct, "the same weights in 32 bits"
        else:
            compared, name = float(file_sizes(self.reference).weights), Path(self.reference).name
        more = {"reference": name}
        self._add("compression_ratio", compression_ratio(compared, files.weights), "ratio", more)
        operations = count_operations(self.model, self.load.prompt_tokens)
        context = {"context": str(operations.context)}
        self._add("flops_per_token", operations.formula, "FLOP per token", context)
        self._add("flops_counted", operations.counted, "FLOP per token", context)
        self._add("flops_2n", operations.two_n, "FLOP per token")
        memory = memory_sizes(self.model)
        self._add("weights_memory", memory.weights, "bytes")
        self._add("cache_per_token", memory.cache_per_token, "bytes per token")

    def privacy(self) -> None:
        """Read the privacy budget of the training."""
        budget = privacy_of(self.loaded.meta)
        for name, value, unit in (
            ("privacy_epsilon", budget.epsilon if budget else math.nan, "epsilon"),
            ("privacy_noise", budget.noise if budget else math.nan, "noise multiplier"),
        ):
            if math.isnan(value):
                self._lack(name, unit, "not stated" if budget else NO_BUDGET)
            else:
                self._add(name, value, unit)

    def peak(self, name: str | Path) -> PeakMemory:
        """Measure the peak memory of a new process that loads the model.

        Raises:
            LacyError: E249, the process failed.
        """
        load = self.load
        found = peak_memory(
            name, prompt_tokens=load.prompt_tokens, new_tokens=load.new_tokens, dtype=self.dtype
        )
        more = {"batch": "1", **self._lengths()}
        self._add("peak_memory", found.peak, "bytes", more)
        self._add("peak_memory_model", found.peak - found.imports, "bytes", more)
        if found.cuda_peak:
            self._add("peak_memory_gpu", found.cuda_peak, "bytes", more)
        else:
            self._lack("peak_memory_gpu", "bytes", "no GPU")
        return found

    def speed(self, engine: Engine, texts: Sequence[str] = ()) -> Timings:
        """Time requests to an engine of this model, and measure energy and price of its tokens.

        Args:
            engine: alone, or with a source.
            texts: beginnings of prompts; by default a text of lacy.
        """
        load = self.load
        given = (list(texts),) if texts else ()
        prompts = timed_prompts(engine, load.batch_size, load.prompt_tokens, *given)
        timings = time_requests(
            engine, prompts, new_tokens=load.new_tokens, repeat=load.repeat,
            batch_size=load.batch_size, batches=load.batches,
        )  # fmt: skip
        answers = timings.answers
        tokens = max(1, sum(answer.tokens for answer in answers))
        called = sum(answer.called_tokens for answer in answers) / tokens
        how = {**_how(engine), "call_rate": f"{called:.3f}", **self._lengths(), **_load()}
        single = {**how, "batch": "1"}
        series = {
            "time_to_first_token": ([t.first for t in timings.single], "seconds"),
            "latency": ([t.total for t in timings.single], "seconds"),
            "prefill_rate": ([t.prefill for t in timings.single], "tokens per second"),
            "decode_rate": ([t.decode for t in timings.single], "tokens per second"),
        }
        for name, (values, unit) in series.items():
            for label, q in QUANTILES.items():
                self._score(name, quantile(values, q, unit), {**single, "quantile": label})
        together = {**how, "batch": str(timings.batch_size)}
        sums = [float(n) for n, _, _ in timings.batches]
        throughput = ratio(sums, [s for _, s, _ in timings.batches], unit="tokens per second")
        self._score("throughput", throughput, together)
        cpu = ratio([c for _, _, c in timings.batches], sums, unit="CPU seconds per token")
        self._score("cpu_per_token", cpu, together)
        self._energy(engine, prompts, together)
        cost = sum(span.cost for answer in answers for span in answer.spans) / tokens
        unit = "US dollars per 1,000 tokens"
        if self.rate is None:
            self._lack("price_per_1000_tokens", unit, NO_RATE, together)
        else:
            price = self.rate.per_thousand_tokens(throughput.value, cost)
            more = {**together, "rate": f"{self.rate.hour:g} US dollars per hour"}
            self._add("price_per_1000_tokens", price, unit, more)
        return timings

    def right_answers(self, engine: Engine, questions: Sequence[TestQuestion]) -> None:
        """Measure the time and price of a right answer.

        Args:
            engine: alone, or with a source.
            questions: asked one after another, as a chat each.
        """
        seconds, costs, right = [], [], []
        for question in questions:
            begin = time.perf_counter()
            answer = ask(engine, question.text)
            seconds.append(time.perf_counter() - begin)
            costs.append(sum(span.cost for span in answer.spans))
            right.append(float(contains_answer(answer.continuation, question.answers)))
        how = {**_how(engine), "batch": "1", "right": f"{sum(right):.0f} of {len(right)}"}
        self._score(
            "seconds_per_right_answer", ratio(seconds, right, unit="seconds per right answer"), how
        )
        unit = "US dollars per right answer"
        if self.rate is None:
            self._lack("price_per_right_answer", unit, NO_RATE, how)
            return
        rate = self.rate
        paid = [rate.machine(s) + cost for s, cost in zip(seconds, costs, strict=True)]
        more = {**how, "rate": f"{rate.hour:g} US dollars per hour"}
        self._score("price_per_right_answer", ratio(paid, right, unit=unit), more)

    def _energy(self, engine: Engine, prompts: Sequence[str], how: Mapping[str, str]) -> None:
        """Measure joules per generated token of a batch, and the power while nothing runs."""
        meter = self.meter
        if not meter.available:
            self._lack("energy_per_token", "joules per token", meter.why, how)
            self._lack("idle_power", "watts", meter.why)
            return
        more = {"counters": meter.name, **({"not measured": meter.why} if meter.why else {})}
        if not any(result.metric == "idle_power" for result in self._found):
            self._add("idle_power", meter.idle_watts(), "watts", more)
        fixed = engine.variant(min_new_tokens=self.load.new_tokens)
        joules, tokens = [], []
        for _ in range(self.load.batches):
            meter.start()
            answers = fixed.generate(prompts, max_new_tokens=self.load.new_tokens)
            joules.append(meter.joules())
            tokens.append(float(sum(answer.tokens for answer in answers)))
        score = ratio(joules, tokens, unit="joules per token")
        self._score("energy_per_token", score, {**how, **more})

    def _lengths(self) -> dict[str, str]:
        load = self.load
        return {"prompt_tokens": str(load.prompt_tokens), "new_tokens": str(load.new_tokens)}

    def _score(self, metric: str, score: Score, more: Mapping[str, str] | None = None) -> None:
        conditions = {**_machine(self.model), "model": self._name(), **(more or {})}
        self._found.append(
            Result(
                metric, score.value, score.low, score.high, score.n, score.unit, 0, conditions
            )
        )  # fmt: skip

    def _add(
        self, metric: str, value: float, unit: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Add a value that is counted, not sampled."""
        self._score(metric, Score(float(value), math.nan, math.nan, 1, unit), more)

    def _lack(
        self, metric: str, unit: str, why: str, more: Mapping[str, str] | None = None
    ) -> None:
        """Add a result without a value."""
        if metric in self._missing and not more:
            return
        self._missing[metric] = why
        nothing = Score(math.nan, math.nan, math.nan, 0, unit)
        self._score(metric, nothing, {**(more or {}), "not available": why})

    def _name(self) -> str:
        return Path(str(getattr(self.loaded, "name", "") or self.loaded.path)).name


def _how(engine: Engine) -> dict[str, str]:
    """Return policy and source of an engine."""
    if engine.never_calls or engine.source is None:
        return {"policy": "never"}
    return {"policy": str(engine.policy), "source": engine.source.name}


def _load() -> dict[str, str]:
    """Return how many processes of the whole machine compete for its cores, where it says so."""
    if not hasattr(os, "getloadavg"):
        return {}
    return {"load": f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"}


def _machine(model: Any) -> dict[str, str]:
    """Return what speed and memory depend on."""
    packages = environment()["packages"]
    device = model.device.type
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "torch": str(packages["torch"]),
        "transformers": str(packages["transformers"]),
    }


def processor_name() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
