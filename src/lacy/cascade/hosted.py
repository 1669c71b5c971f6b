"""The backend for a model behind a server that speaks OpenAI's completions API.

A threshold of the ``<CALL>`` margin is sent as a bias of ``<CALL>``, so the server itself stops
where the model calls, and a text takes one request per call. For any other policy the server
generates a few tokens ahead without ``<CALL>`` and reports the likeliest tokens at each place; the
policy decides here, and what lies behind a call is discarded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from lacy.cascade.hosted_model import Hosted
from lacy.cascade.hosted_scores import HostedScores, log_likelihood, margin_of
from lacy.cascade.hosted_server import FORBIDDEN, HostedRequest, HostedToken
from lacy.cascade.loop import Wait
from lacy.cascade.policy import Always, Never, Oracle, Threshold
from lacy.cascade.sequence import TextSequence
from lacy.errors import LacyError
from lacy.remote import LoopThread

T = TypeVar("T")

AHEAD = 8
"""Tokens requested at once if the policy decides at each of them."""

STRETCH = 64
"""Tokens requested at once if the server stops at calls; no text waits longer for another one."""

LIVE_STRETCH = 16
"""The same if somebody watches the text grow and the server's streams would lose characters."""

CallMode = Literal["alone", "stops", "ahead"]
"""Who decides on calls: nobody, the server by its bias, or the policy at each token."""


def mode_of(sequence: TextSequence) -> CallMode:
    """Return who decides on a sequence's calls."""
    engine, policy = sequence.engine, sequence.engine.policy
    if isinstance(policy, Never):
        return "alone"
    if isinstance(policy, Threshold) and policy.signal == "margin" and engine.temperature == 0:
        return "stops" if abs(policy.limit) < -FORBIDDEN else "ahead"  # the largest bias
    return "ahead"


@dataclass(eq=False)
class _Text:
    """A sequence and what the server has reported about its next tokens."""

    sequence: TextSequence
    mode: CallMode
    tokens: deque[HostedToken] = field(default_factory=deque)
    """Tokens that have not been appended yet."""
    arriving: deque[HostedToken] = field(default_factory=deque)
    """Tokens that the request under way has brought; another thread appends them."""
    request: Future[Any] | None = None
    parked: bool = False

    @property
    def can_continue(self) -> bool:
        """True if a step can do something for it."""
        if self.parked:
            return False
        waits = self.request is not None and not self.request.done()
        return not waits or bool(self.tokens or self.arriving) or self.sequence.cancelled

    def stop(self) -> None:
        """Cancel the request under way; its tokens are discarded."""
        if self.request is not None:
            self.request.cancel()
        self.request, self.arriving = None, deque()


class HostedBackend:
    """Computes next-token scores with a model behind a server; to be closed.

    Exact are ``never``, ``always``, oracles, ``random``, and thresholds of the margin in greedy
    texts. If ``<CALL>`` is among the likeliest tokens that the server reports, so are budgets and
    all other thresholds but entropy; otherwise its margin is taken to be as large as it can be,
    and ``Hosted.guessed`` counts that.

    Args:
        hosted: the model.
        wake: called, in another thread, when the server has sent something.
        live: texts are watched while they grow.
    """

    def __init__(self, hosted: Hosted, wake: Callable[[], None], *, live: bool) -> None:
        self._hosted, self._server, self._wake, self._live = hosted, hosted.server, wake, live
        self.context = hosted.context
        self._texts: dict[int, _Text] = {}
        self._thread = LoopThread(cleanup=self._server.client.close)

    def __len__(self) -> int:
        return sum(not text.parked for text in self._texts.values())

    @property
    def idle(self) -> bool:
        """True if all texts wait for the server."""
        return not any(text.can_continue for text in self._texts.values())

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Take new sequences."""
        for sequence in sequences:
            self._texts[id(sequence)] = _Text(sequence, mode_of(sequence))
        self.advance()

    def ready(self) -> tuple[list[TextSequence], HostedScores]:
        """Return the sequences whose next tokens the server has reported."""
        texts = [text for text in self._texts.values() if not text.parked and self._known(text)]
        texts = self._in_order(texts)
        own = [self._own(text) or text.tokens[0] for text in texts]
        for text, token in zip(texts, own, strict=True):
            text.sequence.next_token, text.sequence.next_text = token.token, token.text
        heads, margins = [text.tokens[0] for text in texts], [self._margin(text) for text in texts]
        return [t.sequence for t in texts], HostedScores(self._hosted, heads, margins, own)

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Ask for the own tokens of sequences where the server stopped at a call."""
        texts = [self._texts[id(sequence)] for sequence in sequences]
        asked = []
        for text in (text for text in texts if self._own(text) is None):
            request = self._request(text, 1, forbid_call=True)
            asked.append((text, self._submit(self._server.continue_text(request))))
        for text, found in asked:
            try:
                tokens = await Wait(found)
                text.tokens.extend(tokens)
            except LacyError as error:
                text.sequence.fail(error)
        for text in texts:
            if (token := self._own(text)) is not None:
                text.sequence.next_token, text.sequence.next_text = token.token, token.text

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Score all candidates at the same time, a request or two each."""
        jobs = [
            (list(s.ids), s.text, tokens, ends is not None)
            for s, group in zip(sequences, candidates, strict=True)
            for tokens in group
        ]

        found = iter(await Wait(self._submit(self._server.score_texts(jobs))))
        return [
            [log_likelihood(next(found), tokens, self._server, ends) for tokens in group]
            for group in candidates
        ]

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Discard the tokens that have been appended, or all of them after an answer."""
        text = self._texts[id(sequence)]
        if answered:
            text.tokens.clear()
        else:
            if text.tokens[0].token == self._hosted.call_id:
                text.tokens.popleft()
            text.tokens.popleft()

    def advance(self) -> None:
        """Remove the sequences that are done; request tokens for those that have none."""
        for key, text in list(self._texts.items()):
            if text.parked:
                continue
            if text.sequence.done:
                del self._texts[key]  # first, so that whoever hears of the end does not count it
                text.sequence.end_if_done()
                if text.sequence.cancelled:  # another's answer is read, so the connection is reused
                    text.stop()
            elif not text.tokens and text.request is None:
                self._request_next(text)

    def park(self, sequences: Sequence[TextSequence]) -> list[_Text]:
        """Set sequences aside."""
        texts = [self._texts[id(sequence)] for sequence in sequences]
        for text in texts:
            text.parked = True
        return texts

    def unpark(self, parked: Sequence[list[_Text]]) -> None:
        """Make sequences active again; forget those that have ended."""
        for text in (text for texts in parked for text in texts):
            text.parked = False
            if text.sequence.ended:
                self._texts.pop(id(text.sequence), None)

    def clear(self) -> list[TextSequence]:
        """Remove and return all sequences that are not parked."""
        texts, self._texts = list(self._texts.values()), {}
        for text in texts:
            text.stop()
        return [text.sequence for text in texts if not text.parked]

    def wait(self) -> None:
        """Wait until the server has answered all requests for next tokens."""
        for text in self._texts.values():
            if text.request is not None:
                with suppress(CancelledError):
                    text.request.exception()

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._thread.close()

    # ------------------------------------------------------------------------------- requests

    def _known(self, text: _Text) -> bool:
        """True if the next token of a text, and where needed its own token, are known."""
        request = text.request
        over = request is not None and request.done()  # before the tokens it brought are taken
        while text.arriving:
            text.tokens.append(text.arriving.popleft())
        if over and request is not None:
            text.request = None
            failure = None if request.cancelled() else request.exception()
            if failure is not None:
                text.sequence.fail(failure)  # type: ignore[arg-type]  # no KeyboardInterrupt
        if text.sequence.done or not text.tokens:
            return False
        sequence = text.sequence
        needs_own = sequence.engine.at == "word" or not sequence.may_call
        if needs_own and self._own(text) is None:
            if text.request is None:
                self._collect(text, self._request(text, 1, forbid_call=True), stream=False)
            return False
        return True

    def _own(self, text: _Text) -> HostedToken | None:
        """Return the model's own next token; None if the server stopped at a call."""
        called = bool(text.tokens) and text.tokens[0].token == self._hosted.call_id
        if len(text.tokens) <= called:
            return None
        return text.tokens[called]

    def _in_order(self, texts: list[_Text]) -> list[_Text]:
        """Let texts with one budget decide in the order of their lengths, equal ones together.

        So their calls do not depend on which answer of the server comes first.
        """
        shortest: dict[int, int] = {}
        waiting: set[int] = set()
        for text in self._texts.values():
            if text.mode == "ahead" and not _independent(text):
                key, length = id(text.sequence.controller), len(text.sequence.ids)
                shortest[key] = min(length, shortest.get(key, length))
        known = set(map(id, texts))
        for text in self._texts.values():
            key = id(text.sequence.controller)
            if len(text.sequence.ids) == shortest.get(key) and id(text) not in known:
                waiting.add(key)
        return [
            text
            for text in texts
            if (key := id(text.sequence.controller)) not in shortest
            or (key not in waiting and len(text.sequence.ids) == shortest[key])
        ]

    def _margin(self, text: _Text) -> float | None:
        """Return the ``<CALL>`` margin at a text's next token; None if it does not call here."""
        head, policy = text.tokens[0], text.sequence.engine.policy
        if text.mode == "alone" or (text.mode == "stops" and head.token != self._hosted.call_id):
            return None
        margin = margin_of(head, self._hosted.call_id)
        reads_call = policy.signal in ("margin", "p_call") and text.sequence.may_call
        if reads_call and self._hosted.call_id not in head.top:
            self._hosted.guessed += 1
        if text.mode == "stops":  # the server compared exact logits, so it knows better
            margin = max(margin, math.nextafter(_limit(text), math.inf))
        return margin

    def _request_next(self, text: _Text) -> None:
        """Ask for the next tokens of a text."""
        sequence, streams = text.sequence, self._server.by_id
        if text.mode == "ahead":
            length = 1 if isinstance(sequence.engine.policy, Always) else AHEAD
        elif text.mode == "stops" and not sequence.may_call:
            length = 1
        elif self._live:
            length = self.context if streams else LIVE_STRETCH
        else:
            length = STRETCH
        forbid_call = text.mode != "stops" or not sequence.may_call
        request = self._request(text, length, forbid_call=forbid_call)
        self._collect(text, request, stream=self._live and streams and text.mode != "ahead")

    def _request(self, text: _Text, length: int, *, forbid_call: bool) -> HostedRequest:
        sequence = text.sequence
        engine, call_id = sequence.engine, self._hosted.call_id
        bias = FORBIDDEN if forbid_call else -_limit(text)
        seed = engine.seed * 1_000_003 + sequence.number * 1_009 + sequence.generated
        length = min(length, sequence.limit - sequence.generated, self.context - len(sequence.ids))
        return HostedRequest(
            list(sequence.ids),  # it grows while it is read
            sequence.text,
            max(1, length),
            temperature=engine.temperature,
            top_p=engine.top_p,
            seed=seed % (1 << 31),
            bias={} if call_id is None or not bias else {call_id: bias},
            score_end=text.mode == "ahead" and engine.policy.signal not in ("", "random"),
        )

    def _collect(self, text: _Text, request: HostedRequest, *, stream: bool) -> None:
        """Start a request whose tokens are added to ``text.arriving``."""
        arriving, wake = deque[HostedToken](), self._wake

        def on_token(token: HostedToken) -> None:
            arriving.append(token)
            wake()

        async def whole() -> None:
            arriving.extend(await self._server.continue_text(request))

        text.arriving = arriving
        text.request = self._submit(
            self._server.stream_text(request, on_token) if stream else whole()
        )

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        future = self._thread.submit(work)
        future.add_done_callback(lambda _: self._wake())
        return future


def _limit(text: _Text) -> float:
    policy = text.sequence.engine.policy
    return policy.limit if isinstance(policy, Threshold) else 0.0


def _independent(text: _Text) -> bool:
    """True if a policy decides at each token without regard to earlier decisions."""
    return isinstance(text.sequence.engine.policy, Always | Threshold | Oracle)
