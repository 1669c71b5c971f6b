"""Check that a source follows the protocol: ``lacy.testing.check_source``.

An engine tolerates every violation found here, but a source that follows the protocol answers more
often, and its errors explain what happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lacy._text import first_line
from lacy.sources.protocol import Source
from lacy.types import Candidate, Reply, Request, Unit

_UNITS: tuple[Unit, ...] = ("token", "word", "value")
_ODD = (
    "", " ", "\n\n", "x" * 20_000, "Łódź, 東京, Αθήνα — “near the sea” 👩‍🚀", "e\u0301\u200b\u202e",
    "<CALL><|endoftext|></s>[INST]", "'; DROP TABLE fact; --", "%s {0} \\ \x00 \x1b[31m",
)  # fmt: skip
"""Unusual texts that must not make a source fail."""


class _Timeout(Exception):
    """Raised when an answer is late; further checks are skipped because they would wait as long."""


def check_source(
    source: Source, requests: Sequence[Request], *, seconds: float = 10.0, many: int = 32
) -> None:
    """Check a source by asking it as an engine and a server would, also with unusual requests.

    Args:
        source: the source to check; it is asked about a hundred times.
        requests: at least one request that it can answer; more requests are derived from these.
        seconds: time limit of each call of ``ask``.
        many: number of requests in one call, and of concurrent calls.

    Raises:
        AssertionError: lists the violations with their requests, one line each.
        ValueError: no request was given.
    """
    if not requests:
        raise ValueError("give at least one request that the source can answer")
    name = getattr(source, "name", None)
    if not isinstance(name, str) or not name:
        raise AssertionError(f"its name is {name!r}: set a name for spans to show")
    if problems := _Checker(source, requests, seconds, many).run():
        lines = "\n  ".join(dict.fromkeys(problems))
        raise AssertionError(f"the source {name!r} violates the protocol of sources:\n  {lines}")


class _Checker:
    """Runs all checks on one source and collects the problems."""

    def __init__(
        self, source: Source, requests: Sequence[Request], seconds: float, many: int
    ) -> None:
        self.source, self.requests, self.seconds, self.many = source, requests, seconds, many
        self.problems: list[str] = []

    def run(self) -> list[str]:
        """Run all checks and return the problems."""
        for check in (
            self._answers, self._empty_batch, self._odd_texts, self._units, self._batch,
            self._concurrent_calls, self._cancellation,
        ):  # fmt: skip
            try:
                asyncio.run(check())  # a new event loop each time, because engines may do the same
            except _Timeout as timeout:
                self.problems.append(str(timeout))
                break
            except Exception as error:
                self.problems.append(f"it raised {_describe(error)}: reply with an error instead")
        return self.problems

    async def _ask(
        self, requests: Sequence[Request], what: str, seconds: float | None = None
    ) -> list[Any]:
        """Return the replies if they are valid; otherwise record the problems and return []."""
        seconds = seconds or self.seconds
        begin = time.perf_counter()
        try:
            replies = await asyncio.wait_for(self.source.ask(requests), seconds)
        except TimeoutError:
            raise _Timeout(f"{what}: no answer within {seconds:g} s") from None
        except Exception as error:
            why = f"{what}: it raised {_describe(error)}; reply with an error instead"
            self.problems.append(why)
            return []
        took = time.perf_counter() - begin
        if took > seconds + 0.5:
            why = "it blocks its thread, and could not be interrupted"
            raise _Timeout(f"{what}: it took {took:.1f} s, longer than {seconds:g} s ({why})")
        if not isinstance(replies, list):
            found = [f"{what}: it gave {type(replies).__name__}, not a list of replies"]
        elif len(replies) != len(requests):
            found = [f"{what}: {len(requests)} request(s), {len(replies)} reply/replies"]
        else:
            found = [
                f"{what}: {_shown(request)}: {why}"
                for request, reply in zip(requests, replies, strict=True)
                for why in _reply_problems(reply)
            ]
        self.problems += found
        return [] if found else replies

    async def _answers(self) -> None:
        replies = await self._ask(self.requests, "as given")
        if replies and not any(reply.candidates for reply in replies):
            why = next((reply.error for reply in replies if reply.error), "no candidate")
            self.problems.append(
                f"as given: it answers none of the requests ({why}); give one that it can"
            )

    async def _empty_batch(self) -> None:
        await self._ask([], "no request at all")

    async def _odd_texts(self) -> None:
        for text in _ODD:
            for subject in (None, text):
                request = replace(self.requests[0], text=text, subject=subject)
                await self._ask([request], "an odd text")

    async def _units(self) -> None:
        await self._ask([replace(self.requests[0], unit=unit) for unit in _UNITS], "each unit")

    async def _batch(self) -> None:
        """Check that each of many requests in one call gets the same reply as when asked alone."""
        first = self.requests[0]
        alone = await self._ask([first], "alone")
        other = replace(first, text="Nobody knows what this is about", subject=None)
        asked = [replace(r, stream=n) for n, r in enumerate([first, other] * (self.many // 2))]
        replies = await self._ask(asked, f"{self.many} in one call")
        if replies and alone:
            texts = {tuple(c.text for c in reply.candidates) for reply in replies[::2]}
            if texts != {tuple(c.text for c in alone[0].candidates)}:
                why = "many in one call: a reply differs from the reply to the request alone"
                self.problems.append(why)

    async def _concurrent_calls(self) -> None:
        what, seconds = f"{self.many} calls at once", self.seconds * self.many
        asked = [[replace(self.requests[0], stream=number)] for number in range(self.many)]
        await asyncio.gather(*(self._ask(one, what, seconds) for one in asked))

    async def _cancellation(self) -> None:
        """Check that after a caller was cancelled, the next request is answered."""
        before = len(asyncio.all_tasks())
        for wait in (0.0, 0.001, 0.02):
            task = asyncio.ensure_future(self.source.ask(list(self.requests)))
            await asyncio.sleep(wait)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=self.seconds)
            if not done:
                self.problems.append(f"cancelled: it did not end within {self.seconds:g} s")
                return
            if not task.cancelled() and (error := task.exception()) is not None:
                self.problems.append(f"cancelled: it raised {_describe(error)}")
                return
        await self._ask(self.requests, "after it was cancelled")
        if len(asyncio.all_tasks()) > before:
            self.problems.append("cancelled: it left tasks behind in the caller's event loop")


def _reply_problems(reply: object) -> list[str]:
    """Return the problems of one reply; the list is empty if it is valid."""
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


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__} {first_line(error)[:100] if str(error) else ''}".strip()


def _shown(request: Request) -> str:
    text = request.text if len(request.text) <= 40 else f"{request.text[:37]}..."
    return f"{text!r} ({request.unit})"
