"""Circuit breakers with a test clock, chains, meters, and all of them together."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.cascade import Engine
from lacy.errors import LacyError
from lacy.sources import Breaker, Cached, Chain, Metered, ScriptedSource, guarded, wrapped_sources
from lacy.sources.models import Endpoint
from lacy.testing import scripted
from lacy.types import Candidate, Reply, Request

DOWN = ConnectionError("refused")


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


def ask(source, count=1, text="x"):
    return asyncio.run(source.ask([Request(f"{text}{n}") for n in range(count)]))


def texts(replies):
    return [reply.candidates[0].text if reply.candidates else None for reply in replies]


# ---------------------------------------------------------------------------------- breakers


def test_the_circuit_opens_after_failures_in_a_row_and_lets_one_request_through():
    clock, inner = Clock(), ScriptedSource([DOWN])
    breaker = Breaker(inner, failures=3, cooldown=30.0, clock=clock)
    for _ in range(3):
        assert breaker.state == "closed"
        assert "ConnectionError: refused" in ask(breaker)[0].error
    assert breaker.state == "open" and len(inner.batches) == 3
    clock.now += 10
    for reply in ask(breaker, 4):
        assert reply.fault and not reply.candidates
        assert reply.error == (
            "script: paused after repeated failures (ConnectionError: refused); "
            "next attempt in 20 s"
        )
    assert len(inner.batches) == 3  # nothing was asked
    clock.now += 20
    assert breaker.state == "half-open"
    assert all(reply.fault for reply in ask(breaker, 4))  # one tried and failed
    assert inner.batches[3:] == [1] and breaker.state == "open"
    clock.now += 30
    inner.script = [" Paris"]
    assert texts(ask(breaker, 4)) == [" Paris"] * 4
    assert inner.batches[4:] == [1, 3] and breaker.state == "closed"


def test_one_success_resets_the_count():
    inner = ScriptedSource([DOWN, DOWN, " Paris", DOWN, DOWN, " Rome", DOWN, DOWN, DOWN])
    breaker = Breaker(inner, failures=3)
    for _ in range(8):
        ask(breaker)
        assert breaker.state == "closed"
    ask(breaker)
    assert breaker.state == "open"


def test_an_empty_reply_is_no_failure():
    inner = ScriptedSource([Reply(error="script: it does not know"), None])
    breaker = Breaker(inner, failures=1)
    assert ask(breaker)[0].error == "script: it does not know"
    ask(breaker, 10)
    assert breaker.state == "closed"


def test_a_timeout_counts_as_a_failure():
    hanging = ScriptedSource([" Paris"], delay=5.0)
    own = Breaker(hanging, failures=1, timeout=0.05)
    assert "no answer after" in ask(own)[0].error and own.state == "open"
    outer = Breaker(hanging, failures=1)
    [reply] = asyncio.run(guarded(outer, [Request("x")], timeout=0.05))
    assert "no answer after" in reply.error and outer.state == "open"


def test_a_cancelled_trial_does_not_block_the_next():
    clock, inner = Clock(), ScriptedSource([DOWN])
    breaker = Breaker(inner, failures=1, cooldown=1.0, clock=clock)
    ask(breaker)
    clock.now += 1
    inner.delay = 5.0
    asyncio.run(guarded(breaker, [Request("x")], timeout=0.05))
    assert breaker.state == "open"
    clock.now += 1
    inner.delay, inner.script = 0.0, [" Paris"]
    assert texts(ask(breaker)) == [" Paris"]


def test_only_one_concurrent_request_is_the_trial():
    clock, inner = Clock(), ScriptedSource([DOWN])
    breaker = Breaker(inner, failures=1, cooldown=1.0, clock=clock)
    ask(breaker)
    clock.now += 1
    inner.delay, inner.script, inner.batches[:] = 0.1, [" Paris"], []

    async def together():
        return await asyncio.gather(*(breaker.ask([Request("x")]) for _ in range(5)))

    replies = [reply for [reply] in asyncio.run(together())]
    assert texts(replies).count(" Paris") == 1 and inner.batches == [1]
    assert sum("a trial request is running" in (reply.error or "") for reply in replies) == 4
    assert breaker.state == "closed"


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=40),
    st.integers(1, 4),
    st.floats(0.1, 15),
)
def test_a_breaker_against_a_simple_model(steps, failures, cooldown):
    """One request at a time: it is asked unless ``failures`` failed since, within ``cooldown``."""
    clock = Clock()
    inner = ScriptedSource(lambda request: " ok" if works else DOWN)
    breaker = Breaker(inner, failures=failures, cooldown=cooldown, clock=clock)
    asked = []  # (when, whether it worked)
    with asyncio.Runner() as runner:  # one loop for all steps
        for works, pause in steps:
            clock.now += pause
            last = asked[-failures:]
            bad = len(last) == failures and not any(worked for _, worked in last)
            should = not bad or clock.now - asked[-1][0] >= cooldown
            before = len(inner.batches)
            [reply] = runner.run(breaker.ask([Request("x0")]))
            assert (len(inner.batches) > before) == should
            assert reply.fault == (not (should and works))
            if should:
                asked.append((clock.now, works))


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"cooldown": -1.0}, {"cooldown": float("nan")}])
def test_settings_are_checked(wrong):
    with pytest.raises(LacyError, match="E12"):
        Breaker(ScriptedSource([]), **wrong)


# ------------------------------------------------------------------------------------ chains


def test_each_source_is_asked_only_what_is_unanswered():
    first = ScriptedSource({"x0": " Paris", "x2": Reply(error="first: no such name")}, name="first")
    second = ScriptedSource({"x1": " Rome", "x2": [" Ulm", " Bern"]}, name="second", cost=2.0)
    chain = Chain([first, second])
    replies = ask(chain, 4)
    assert chain.name == "first > second"
    assert texts(replies) == [" Paris", " Rome", " Ulm", None]
    assert [reply.speaker for reply in replies] == ["first", "second", "second", ""]
    assert [request.text for request in second.asked] == ["x1", "x2", "x3"]
    assert replies[0].candidates[0].evidence == "line of first"
    assert "asked after first: nothing found" in replies[1].candidates[0].evidence
    assert "asked after first: no such name" in replies[2].candidates[1].evidence
    assert replies[2].ranked and replies[2].cost == 2.0
    assert replies[3].error == "first: nothing found; second: nothing found"
    assert not replies[3].fault


def test_a_failing_or_hanging_source_is_skipped():
    slow = ScriptedSource([" late"], name="slow", delay=5.0)
    down = ScriptedSource([DOWN], name="down")
    chain = Chain([slow, down, ScriptedSource([" Rome"], name="last")], timeout=[0.05, 1.0, None])
    [reply] = ask(chain)
    assert texts([reply]) == [" Rome"] and reply.speaker == "last"
    evidence = reply.candidates[0].evidence
    assert "slow: no answer after" in evidence and "down: ConnectionError: refused" in evidence
    [reply] = ask(Chain([slow, down], timeout=0.05))
    assert reply.fault and "slow: no answer" in reply.error and "down:" in reply.error


def test_chains_nest_and_a_span_names_the_source():
    inner = Chain([ScriptedSource([], name="a"), ScriptedSource([" Rome"], name="b")])
    chain = Chain([ScriptedSource([DOWN], name="c"), inner], name="all")
    loaded = scripted(lambda text: "", call=lambda text: text.endswith(" in"))
    [answer] = Engine(loaded, chain, "threshold=0").generate(["Born in"])
    [span] = [span for span in answer.spans if span.asked]
    assert (span.text, span.speaker) == (" Rome", "b")
    assert "c: ConnectionError" in span.evidence and "a: nothing found" in span.evidence


def test_an_empty_chain_or_wrong_timeouts_are_errors():
    for wrong in ([], ([ScriptedSource([])], [1.0, 2.0])):
        with pytest.raises(LacyError, match="E63"):
            Chain(wrong[0], timeout=wrong[1]) if wrong else Chain(wrong)


# ------------------------------------------------------------------------------------- meters


def test_metered_counts_replies():
    script = {"x0": " Paris", "x1": None, "x2": Reply(error="no name"), "x3": " Ulm"}
    metered = Metered(ScriptedSource(script, cost=0.5, delay=0.02))
    assert texts(ask(metered, 4)) == [" Paris", None, None, " Ulm"]
    usage = metered.usage
    assert (usage.requests, usage.answered, usage.unanswered, usage.faults) == (4, 2, 2, 0)
    assert usage.cost == 1.5 and 0.02 <= usage.median <= usage.p95 < 5
    metered.source = ScriptedSource([DOWN])
    ask(metered, 2)
    usage = metered.usage
    assert (usage.requests, usage.answered, usage.unanswered, usage.faults) == (6, 2, 2, 2)


def test_percentiles_are_those_of_the_sorted_latencies():
    seconds = [n / 100 for n in range(100, 0, -1)]
    replies = [Reply((Candidate("x"),), seconds=s) for s in seconds]
    metered = Metered(ScriptedSource(replies))
    ask(metered, 100)
    usage = metered.usage
    assert (usage.median, usage.p95) == (0.51, 0.96)


def test_a_cancelled_request_is_counted():
    metered = Metered(ScriptedSource([" x"], delay=5.0))
    asyncio.run(guarded(metered, [Request("x")], timeout=0.05))
    assert metered.usage.faults == 1 and metered.usage.p95 >= 0.04


# ---------------------------------------------------------------------------------- together


def test_a_broken_server_is_asked_rarely_and_the_fallback_answers(server, tmp_path):
    server.play = lambda handler, number: handler.say(b"", 500)
    with (
        Endpoint(server.url, "m", retries=0, mode="completions") as endpoint,
        Cached(endpoint, tmp_path / "answers.sqlite") as cached,
    ):
        metered = Metered(cached)
        breaker = Breaker(metered, failures=2, cooldown=1000.0)
        chain = Chain([breaker, ScriptedSource([" Rome"], name="facts")])
        line = "born in Rome, died in Rome, buried in Rome, missed in Rome"
        loaded = scripted(
            lambda text: line[len(text) :][:1], call=lambda text: text.endswith(" in")
        )
        [answer] = Engine(loaded, chain, "threshold=0").generate(["born in"])
        assert answer.text == line
        spans = [span for span in answer.spans if span.asked]
        assert [span.speaker for span in spans] == ["facts"] * 4
        assert (
            "HTTP 500" in spans[0].evidence
            and "paused after repeated failures" in spans[3].evidence
        )
        assert len(server.seen) == 2 and metered.usage.faults == 2 and len(cached) == 0


def test_wrapped_sources_lists_nested_sources(tmp_path):
    one, two = ScriptedSource(["a"], name="one"), ScriptedSource(["b"], name="two")
    with Cached(one, tmp_path / "answers.sqlite") as cached:
        breaker, metered = Breaker(cached), Metered(two)
        chain = Chain([breaker, metered, breaker])
        outer = Metered(chain)
        assert wrapped_sources(outer) == [outer, chain, breaker, cached, one, metered, two]
    assert wrapped_sources(one) == [one] and wrapped_sources(None) == []
    one.inner = None  # means something else there
    assert wrapped_sources(one) == [one]
