"""Check that a source keeps the protocol: ``lacy.testing.check_source``.

An engine tolerates every violation found here, but a source that keeps the protocol answers more
often, and its errors say what happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from lacy.sources.protocol import Source
from lacy.types import Candidate, Reply, Request, Unit

_UNITS: tuple[Unit, ...] = ("token", "word", "value")
_ODD = (
    "", " ", "\n\n", "x" * 20_000, "Łódź, 東京, Αθήνα — “near the sea” 👩‍🚀", "e\u0301\u200b\u202e",
    "<CALL><|endoftext|></s>[INST]", "'; DROP TABLE fact; --", "%s {0} \\ \x00 \x1b[31m",
)  # fmt: skip
"""Unusual texts that a source must survive."""


class _Timeout(Exception):
    """Raised when an answer did not come in time; all further checks would wait as long."""


Check = Callable[[Source, Sequence[Request], float], Coroutine[Any, Any, list[str]]]


def check_source(
    source: Source, requests: Sequence[Request], *, seconds: float = 10.0, many: int = 32
) -> None:
    """Ask a source as an engine and a server would, with unusual requests as well.

    Args:
        source: the source to check; it is asked about a hundred times.
        requests: at least one that it can answer; others are derived from these.
        seconds: time limit of each call of ``ask``.
        many: number of requests in one call, and of concurrent calls.

    Raises:
        AssertionError: the violations, one line each, with the request.
        ValueError: no request was given.
    """
    if not requests:
        raise ValueError("give at least one request that the source can answer")
    name = getattr(source, "name", None)
    if not isinstance(name, str) or not name:
        raise AssertionError(f"its name is {name!r}: set a name for spans to show")
    checks: list[Check] = [
        _check_answers, _check_empty, _check_odd_texts, _check_units, _check_batch(many),
        _check_concurrency(many), _check_cancellation,
    ]  # fmt: skip
    problems: list[str] = []
    for check in checks:  # each in its own event loop, as the texts of an engine may be
        try:
            problems += asyncio.run(check(source, requests, seconds))
        except _Timeout as timeout:
            problems.append(str(timeout))
            break
        except Exception as error:
            problems.append(f"it raised {_describe(error)}: reply with an error instead")
    if problems:
        lines = "\n  ".join(dict.fromkeys(problems))
        raise AssertionError(f"the source {name!r} violates the protocol of sources:\n  {lines}")


async def _ask(
    source: Source, requests: Sequence[Request], seconds: float, what: str
) -> tuple[list[Any], list[str]]:
    """Return the replies, and what is wrong with them."""
    begin = time.perf_counter()
    try:
        replies = await asyncio.wait_for(source.ask(requests), seconds)
    except TimeoutError:
        raise _Timeout(f"{what}: no answer within {seconds:g} s") from None
    except Exception as error:
        return [], [f"{what}: it raised {_describe(error)}; reply with an error instead"]
    took = time.perf_counter() - begin
    if took > seconds + 0.5:
        why = "it blocks its thread, and could not be interrupted"
        raise _Timeout(f"{what}: it took {took:.1f} s, longer than {seconds:g} s ({why})")
    if not isinstance(replies, list):
        return [], [f"{what}: it gave {type(replies).__name__}, not a list of replies"]
    if len(replies) != len(requests):
        return [], [f"{what}: {len(requests)} request(s), {len(replies)} reply/replies"]
    return replies, [
        f"{what}: {_shown(request)}: {why}"
        for request, reply in zip(requests, replies, strict=True)
        for why in reply_problems(reply)
    ]


def reply_problems(reply: object) -> list[str]:
    """Return what is wrong with one reply, in sentences; empty if it is valid."""
    if not isinstance(reply, Reply):
        return [f"it gave {type(reply).__name__}, not a Reply"]
    found = []
    if not isinstance(reply.candidates, tuple):
        found.append("its candidates are not a tuple")
    for candidate in reply.candidates:
        if not isinstance(candidate, Candidate) or not isinstance(candidate.text, str):
            found.append(f"{candidate!r} is not a Candidate with a text")
        elif not candidate.text:
            found.append("a candidate without text: give no candidate if nothing is known")
        elif any(0xD800 <= ord(letter) < 0xE000 for letter in candidate.text):
            found.append("a candidate with half a character, which cannot be encoded")
        elif not candidate.alternatives >= 1:
            found.append(f"a candidate has {candidate.alternatives} alternatives; at least 1")
    if reply.error is not None and (not isinstance(reply.error, str) or not reply.error.strip()):
        found.append(f"its error is {reply.error!r}, not a sentence")
    if reply.error and reply.candidates:
        found.append("both an error and candidates: the candidates would be ignored")
    if reply.fault and not reply.error:
        found.append("a fault without a sentence in error")
    for name in ("cost", "seconds"):
        value = getattr(reply, name)
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            found.append(f"its {name} is {value!r}, not a number of at least 0")
    return found


async def _check_answers(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    replies, problems = await _ask(source, requests, seconds, "as given")
    if replies and not problems and not any(reply.candidates for reply in replies):
        why = next((reply.error for reply in replies if reply.error), "no candidate")
        problems.append(f"as given: it answers none of the requests ({why}); give one that it can")
    return problems


async def _check_empty(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    return (await _ask(source, [], seconds, "no request at all"))[1]


async def _check_odd_texts(
    source: Source, requests: Sequence[Request], seconds: float
) -> list[str]:
    problems = []
    for text in _ODD:
        for subject in (None, text):
            request = replace(requests[0], text=text, subject=subject)
            problems += (await _ask(source, [request], seconds, "an odd text"))[1]
    return problems


async def _check_units(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    asked = [replace(requests[0], unit=unit) for unit in _UNITS]
    return (await _ask(source, asked, seconds, "each unit"))[1]


def _check_batch(many: int) -> Check:
    """Check one call with many requests: each must get the reply that it gets alone."""

    async def check(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
        alone, problems = await _ask(source, [requests[0]], seconds, "alone")
        other = replace(requests[0], text="Nobody knows what this is about", subject=None)
        asked = [replace(r, stream=n) for n, r in enumerate([requests[0], other] * (many // 2))]
        replies, more = await _ask(source, asked, seconds, f"{many} in one call")
        if replies and alone and not more:
            texts = {tuple(c.text for c in reply.candidates) for reply in replies[::2]}
            if texts != {tuple(c.text for c in alone[0].candidates)}:
                more = ["many in one call: replies differ from those alone, or changed places"]
        return problems + more

    return check


def _check_concurrency(many: int) -> Check:
    """Check concurrent calls."""

    async def check(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
        what = f"{many} calls at once"
        asked = [[replace(requests[0], stream=number)] for number in range(many)]
        done = await asyncio.gather(*(_ask(source, one, seconds * many, what) for one in asked))
        return [problem for _, problems in done for problem in problems]

    return check


async def _check_cancellation(
    source: Source, requests: Sequence[Request], seconds: float
) -> list[str]:
    """Check that a caller may stop waiting at any time, and the next request is answered."""
    before = len(asyncio.all_tasks())
    for wait in (0.0, 0.001, 0.02):
        task = asyncio.ensure_future(source.ask(list(requests)))
        await asyncio.sleep(wait)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            return [f"cancelled: it did not end within {seconds:g} s"]
        if not task.cancelled() and task.exception() is not None:
            return [f"cancelled: it raised {_describe(task.exception())}"]
    problems = (await _ask(source, requests, seconds, "after it was cancelled"))[1]
    if len(asyncio.all_tasks()) > before:
        problems.append("cancelled: it left tasks behind in the caller's event loop")
    return problems


def _describe(error: BaseException | None) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__} {lines[0][:100] if lines else ''}".strip()


def _shown(request: Request) -> str:
    text = request.text if len(request.text) <= 40 else f"{request.text[:37]}..."
    return f"{text!r} ({request.unit})"
