"""What every source must keep to, checked from outside: ``lacy.testing.check_source``.

A cascade guards itself against all of this; a source that keeps to it answers more often, and its
failures say what happened.
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
"""Texts as they never come, and do."""


class _Late(Exception):
    """An answer that did not come in time."""


Check = Callable[[Source, Sequence[Request], float], Coroutine[Any, Any, list[str]]]


def check_source(
    source: Source, requests: Sequence[Request], *, seconds: float = 10.0, many: int = 32
) -> None:
    """Tries a source as a cascade and a server would, and worse.

    Args:
        source: what to try; it is asked some hundred times.
        requests: at least one that it can answer; others are made from these.
        seconds: within which each call of ``ask`` must end.
        many: requests in one call, and calls at the same time.

    Raises:
        AssertionError: what it broke, one line each, with the request.
        ValueError: no request was given.
    """
    if not requests:
        raise ValueError("give at least one request that the source can answer")
    named = getattr(source, "name", None)
    if not isinstance(named, str) or not named:
        raise AssertionError(f"its name is {named!r}: give it one, a text that spans can show")
    checks: list[Check] = [
        _answers, _nothing, _odd_texts, _units, _together(many), _at_once(many), _left,
    ]  # fmt: skip
    broken: list[str] = []
    for check in checks:  # each in a loop of its own, as every text of an engine
        try:
            broken += asyncio.run(check(source, requests, seconds))
        except _Late as late:
            broken.append(str(late))
            break  # all further checks would wait as long
        except Exception as error:
            broken.append(f"it raised {_raised(error)}: reply with an error instead")
    if broken:
        lines = "\n  ".join(dict.fromkeys(broken))
        raise AssertionError(f"the source {named!r} breaks what sources must keep to:\n  {lines}")


async def _ask(
    source: Source, requests: Sequence[Request], seconds: float, what: str
) -> tuple[list[Any], list[str]]:
    """Replies, and what is wrong with them."""
    begin = time.perf_counter()
    try:
        replies = await asyncio.wait_for(source.ask(requests), seconds)
    except TimeoutError:
        raise _Late(f"{what}: no answer within {seconds:g} s") from None
    except Exception as error:
        return [], [f"{what}: it raised {_raised(error)}; reply with an error instead"]
    took = time.perf_counter() - begin
    if took > seconds + 0.5:
        why = "it blocks its thread, and could not be interrupted"
        raise _Late(f"{what}: it took {took:.1f} s, longer than {seconds:g} s ({why})")
    if not isinstance(replies, list):
        return [], [f"{what}: it gave {type(replies).__name__}, not a list of replies"]
    if len(replies) != len(requests):
        return [], [f"{what}: {len(requests)} request(s), {len(replies)} reply/replies"]
    broken = []
    for request, reply in zip(requests, replies, strict=True):
        broken += [f"{what}: {_shown(request)}: {why}" for why in wrong(reply)]
    return replies, broken


def wrong(reply: object) -> list[str]:
    """What is wrong with one reply, in sentences; nothing where it is sound."""
    if not isinstance(reply, Reply):
        return [f"it gave {type(reply).__name__}, not a Reply"]
    found = []
    if not isinstance(reply.candidates, tuple):
        found.append("its candidates are no tuple")
    for candidate in reply.candidates:
        if not isinstance(candidate, Candidate) or not isinstance(candidate.text, str):
            found.append(f"{candidate!r} is no Candidate with a text")
        elif not candidate.text:
            found.append("a candidate without text: give no candidate where nothing is known")
        elif any(0xD800 <= ord(letter) < 0xE000 for letter in candidate.text):
            found.append("a candidate with half a character, which nothing can write")
        elif not candidate.alternatives >= 1:
            found.append(f"{candidate.alternatives} alternatives to a candidate; at least 1")
    if reply.error is not None and (not isinstance(reply.error, str) or not reply.error.strip()):
        found.append(f"its error is {reply.error!r}, no sentence")
    if reply.error and reply.candidates:
        found.append("both an error and candidates: the candidates would be lost")
    if reply.fault and not reply.error:
        found.append("a fault without a sentence in error")
    for name in ("cost", "seconds"):
        value = getattr(reply, name)
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            found.append(f"its {name} is {value!r}, not a number of at least 0")
    return found


async def _answers(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    replies, broken = await _ask(source, requests, seconds, "as given")
    if replies and not broken and not any(reply.candidates for reply in replies):
        said = next((reply.error for reply in replies if reply.error), "no candidate")
        broken.append(f"as given: it answers none of the requests ({said}); give one that it can")
    return broken


async def _nothing(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    return (await _ask(source, [], seconds, "no request at all"))[1]


async def _odd_texts(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    broken = []
    for text in _ODD:
        for subject in (None, text):
            request = replace(requests[0], text=text, subject=subject)
            broken += (await _ask(source, [request], seconds, "an odd text"))[1]
    return broken


async def _units(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    asked = [replace(requests[0], unit=unit) for unit in _UNITS]
    return (await _ask(source, asked, seconds, "each unit"))[1]


def _together(many: int) -> Check:
    """One call with many requests: each gets its own reply, as if it were alone."""

    async def check(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
        alone, broken = await _ask(source, [requests[0]], seconds, "alone")
        other = replace(requests[0], text="Nobody knows what this is about", subject=None)
        asked = [replace(r, stream=n) for n, r in enumerate([requests[0], other] * (many // 2))]
        replies, more = await _ask(source, asked, seconds, f"{many} in one call")
        if replies and alone and not more:
            texts = {tuple(c.text for c in reply.candidates) for reply in replies[::2]}
            if texts != {tuple(c.text for c in alone[0].candidates)}:
                more = ["many in one call: replies differ from those alone, or changed places"]
        return broken + more

    return check


def _at_once(many: int) -> Check:
    """Many calls that run side by side."""

    async def check(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
        what = f"{many} calls at once"
        asked = [[replace(requests[0], stream=number)] for number in range(many)]
        done = await asyncio.gather(*(_ask(source, one, seconds * many, what) for one in asked))
        return [line for _, broken in done for line in broken]

    return check


async def _left(source: Source, requests: Sequence[Request], seconds: float) -> list[str]:
    """Whoever asks may stop waiting at any time; the next one is answered all the same."""
    before = len(asyncio.all_tasks())
    for wait in (0.0, 0.001, 0.02):
        task = asyncio.ensure_future(source.ask(list(requests)))
        await asyncio.sleep(wait)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=seconds)
        if not done:
            return [f"cancelled: it did not end within {seconds:g} s"]
        if not task.cancelled() and task.exception() is not None:
            return [f"cancelled: it raised {_raised(task.exception())}"]
    broken = (await _ask(source, requests, seconds, "after it was cancelled"))[1]
    if len(asyncio.all_tasks()) > before:
        broken.append("cancelled: it left tasks behind in the loop of whoever asked")
    return broken


def _raised(error: BaseException | None) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__} {lines[0][:100] if lines else ''}".strip()


def _shown(request: Request) -> str:
    text = request.text if len(request.text) <= 40 else f"{request.text[:37]}..."
    return f"{text!r} ({request.unit})"
