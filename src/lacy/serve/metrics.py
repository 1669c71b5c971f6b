"""Metrics of a running server, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lacy.decide import TypedDecision
from lacy.records import RecordLog
from lacy.serve.choice import PROMPT, Choice
from lacy.serve.scheduler import TextWork

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
"""Upper bounds of the histograms' buckets."""


class Metrics:
    """The counters of one server, in a separate registry, so that several servers can coexist."""

    def __init__(self, scheduler: TextWork, records: RecordLog | None = None) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "lacy_requests", "Requests by path and status", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "lacy_request_seconds", "Duration of requests", ["path"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.first_text = Histogram(
            "lacy_first_text_seconds", "Time to the first text of an answer",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._prompt = Counter("lacy_prompt_tokens", "Tokens of prompts", registry=registry)
        self._tokens = Counter(
            "lacy_tokens", "Tokens by speaker (slm or a source)", ["speaker"], registry=registry
        )
        self._calls = Counter(
            "lacy_calls",
            "Calls by outcome: found, not_found (no error), or failed",
            ["outcome"],
            registry=registry,
        )
        self._decisions = Counter(
            "lacy_decisions", "Typed decisions by type", ["type"], registry=registry
        )
        self.routed = Counter(
            "lacy_routed", "Requests by route and outcome: answered, refused (another route may do "
            "it), busy, no_budget, failed, or broken (a stream, after its begin)",
            ["route", "outcome"], registry=registry,
        )  # fmt: skip
        self._cost = Counter("lacy_cost", "Cost of the sources", registry=registry)
        running = Gauge("lacy_streams", "Texts that are being generated", registry=registry)
        running.set_function(lambda: scheduler.running)
        waiting = Gauge("lacy_waiting", "Texts that wait", registry=registry)
        waiting.set_function(lambda: scheduler.waiting)
        if records is not None:
            kept = Gauge("lacy_records_kept", "Records of answers written", registry=registry)
            kept.set_function(lambda: records.kept)
            lost = Gauge("lacy_records_lost", "Records of answers lost", registry=registry)
            lost.set_function(lambda: records.lost)

    def add_prompt(self, tokens: int) -> None:
        """Count a prompt."""
        self._prompt.inc(tokens)

    def add_decisions(self, decisions: Iterable[TypedDecision], tokens: int) -> None:
        """Count the decisions of a request, and the tokens that were read for them."""
        self.add_prompt(tokens)
        for decision in decisions:
            self._decisions.labels(decision.question.type).inc()

    def add_answer(self, choice: Choice) -> None:
        """Count a whole answer."""
        for span in choice.spans:
            if span.speaker == PROMPT:
                continue
            self._tokens.labels(span.speaker).inc(span.tokens)
            if not span.asked:
                continue
            # In a chain, a call counts as failed if a source failed and no other one answered.
            outcome = "failed" if span.fault else "not_found"
            self._calls.labels(outcome if span.speaker == "slm" else "found").inc()
            self._cost.inc(max(span.cost, 0.0))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
