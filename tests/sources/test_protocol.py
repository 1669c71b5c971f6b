"""Sources that fail, hang or answer nonsense become replies with a sentence."""

import asyncio

import pytest

from lacy.errors import LacyError
from lacy.sources import ScriptedSource, guarded
from lacy.types import Candidate, Reply, Request

REQUESTS = [Request("one"), Request("two")]


def run(source, timeout=5.0):
    return asyncio.run(guarded(source, REQUESTS, timeout=timeout))


class Broken:
    name = "broken"

    def __init__(self, answer):
        self.answer = answer

    async def ask(self, requests):
        return self.answer


def test_valid_replies_pass_with_their_time():
    replies = run(ScriptedSource([" Paris", None], cost=0.5))
    assert [c.text for c in replies[0].candidates] == [" Paris"]
    assert replies[1].candidates == () and replies[1].error is None
    assert all(reply.seconds > 0 and reply.cost == 0.5 for reply in replies)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "NoneType"),
        ([], "0 of 2"),
        ([Reply()], "1 of 2"),
        (["x", "y"], "str instead of a reply"),
        ([Reply((Candidate(None),)), Reply()], "not text"),
        ([Reply(("x",)), Reply()], "not text"),
    ],
)
def test_nonsense_becomes_an_error(answer, says):
    for reply in run(Broken(answer)):
        assert not reply.candidates and says in reply.error and "broken" in reply.error


def test_failures_become_errors():
    for error, says in [
        (ConnectionError("refused\nsecond line"), "ConnectionError: refused"),
        (ValueError(), "ValueError"),
        (LacyError("E65", path="x.db"), "no database at x.db"),
        (TimeoutError(), "no answer after"),
    ]:
        reply = run(ScriptedSource([error]))[0]
        assert not reply.candidates and says in reply.error and "\n" not in reply.error


def test_hanging_sources_time_out():
    reply = run(ScriptedSource(["x"], delay=3600), timeout=0.05)[0]
    assert "no answer after" in reply.error and 0.04 < reply.seconds < 3


def test_texts_that_cannot_be_encoded_are_dropped():
    odd = Reply((Candidate(""), Candidate("\ud800"), Candidate(" ok")), ranked=True)
    first, second = run(Broken([odd, Reply((Candidate(""),))]))
    assert [c.text for c in first.candidates] == [" ok"] and first.error is None
    assert not second.candidates and "no text" in second.error


def test_cancelling_is_not_swallowed():
    class Stop(Broken):
        async def ask(self, requests):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(Stop(None))


def test_an_empty_batch_is_not_asked():
    source = ScriptedSource([RuntimeError("asked")])
    assert asyncio.run(guarded(source, [])) == [] and source.batches == []
