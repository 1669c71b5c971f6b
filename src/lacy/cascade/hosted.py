"""The backend for a model behind a server with OpenAI's completions API.

A threshold on the ``<CALL>`` margin is sent as a logit bias of ``<CALL>``. So the server itself
stops where the model calls, and a text takes one request per call. For any other policy, the server
generates a few tokens ahead without ``<CALL>`` and reports the likeliest tokens at each position.
The policy then decides here, and tokens after a call are discarded.
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
from lacy.cascade.hosted_values import without_beginning
from lacy.cascade.loop import Wait
from lacy.cascade.policy import Always, Never, Oracle, Threshold
from lacy.cascade.sequence import TextSequence
from lacy.cascade.whole_values import forbidden_beginning
from lacy.errors import LacyError
from lacy.remote import LoopThread

T = TypeVar("T")

AHEAD = 8
"""Number of tokens per request if the policy decides at each token."""

STRETCH = 64
"""Number of tokens per request if the server stops at calls; it bounds how long others wait."""

CallMode = Literal["alone", "stops", "ahead"]
"""Who decides on calls: nobody (alone), the server by the bias (stops), or the policy at each token
(ahead)."""


def mode_of(sequence: TextSequence, gated: bool = False) -> CallMode:
    """Return who decides on a sequence's calls; ``gated`` if ``<CALL>`` is a separate gate."""
    engine, policy = sequence.engine, sequence.engine.policy
    if isinstance(policy, Never):
        return "alone"
    if isinstance(policy, Threshold) and policy.signal == "margin" and not gated:
        fits = abs(policy.limit) < -FORBIDDEN  # the largest bias
        return "stops" if fits and engine.temperature == 0 else "ahead"
    return "ahead"


@dataclass(eq=False)
class _Text:
    """A sequence and what the server has reported about its next tokens."""

    sequence: TextSequence
    mode: CallMode
    tokens: deque[HostedToken] = field(default_factory=deque)
    """Tokens that have not been appended yet."""
    arriving: deque[HostedToken] = field(default_factory=deque)
    """Tokens that the current request has brought; another thread appends them."""
    request: Future[Any] | None = None
    parked: bool = False

    @property
    def can_continue(self) -> bool:
        """True if a step can do something for this text."""
        if self.parked:
            return False
        waits = self.request is not None and not self.request.done()
        return not waits or bool(self.tokens or self.arriving) or self.sequence.cancelled

    def stop(self) -> None:
        """Cancel the current request and discard its tokens."""
        if self.request is not None:
            self.request.cancel()
        self.request, self.arriving = None, deque()


class HostedBackend:
    """Computes next-token scores with a model behind a server. The caller closes it.

    The policies ``never``, ``always``, ``random``, oracles and, for greedy texts, thresholds on the
    margin give the same calls as in this process. So do budgets and other thresholds (except on
    entropy, which is not supported) as long as ``<CALL>`` is among the likeliest tokens that the
    server reports. Otherwise the margin is taken to be as large as possible, and ``Hosted.guessed``
    is incremented.

    Args:
        hosted: the model.
        wake: called in another thread when the server has sent something.
        live: True if texts are shown while they grow.
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
        """Add new sequences."""
        for sequence in sequences:
            gated = self._server.reference_id is not None
            self._texts[id(sequence)] = _Text(sequence, mode_of(sequence, gated))
        self.advance()

    def ready(self) -> tuple[list[TextSequence], HostedScores]:
        """Return the sequences whose next tokens the server has reported."""
        texts = [
            text for text in self._texts.values() if not text.parked and self._take_arrived(text)
        ]
        texts = self._next_in_order(texts)
        own = [self._own(text) or text.tokens[0] for text in texts]
        for text, token in zip(texts, own, strict=True):
            text.sequence.next_token = token.token
        heads, margins = [text.tokens[0] for text in texts], [self._margin(text) for text in texts]
        return [t.sequence for t in texts], HostedScores(self._hosted, heads, margins, own)

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Request the model's own next token for sequences where the server stopped at a call."""
        texts = [self._texts[id(sequence)] for sequence in sequences]
        requests = []
        for text in (text for text in texts if self._own(text) is None):
            request = self._request(text, 1, forbid_call=True)
            requests.append((text, self._submit(self._server.continue_text(request))))
        for text, future in requests:
            try:
                tokens = await Wait(future)
                text.tokens.extend(tokens)
                self._keep_value_whole(text)
            except LacyError as error:
                text.sequence.fail(error)
        for text in texts:
            if (token := self._own(text)) is not None:
                text.sequence.next_token = token.token

    def first_logps(
        self, sequences: Sequence[TextSequence], candidates: Sequence[Sequence[Sequence[int]]]
    ) -> None:
        """Return None, because the server reports only the likeliest tokens."""

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Score all candidates concurrently, with one or two requests each."""
        jobs = [
            (list(s.ids), tokens, ends is not None)
            for s, group in zip(sequences, candidates, strict=True)
            for tokens in group
        ]

        scored = iter(await Wait(self._submit(self._server.score_texts(jobs))))
        return [
            [log_likelihood(next(scored), tokens, self._server, ends) for tokens in group]
            for group in candidates
        ]

    async def score_texts(
        self, texts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Score all continuations concurrently, with one or two requests each."""
        begin = [] if self._server.begin_id is None else [self._server.begin_id]
        encoder, jobs = self._server.token_text, []
        for text, group in zip(texts, continuations, strict=True):
            ids = begin + encoder.encode(text)
            for tokens in map(encoder.encode_continuation, group):
                jobs.append((ids[-(self.context - len(tokens) - 1) :], tokens, False))
        scored = await Wait(self._submit(self._server.score_texts(jobs)))
        logps = iter(
            log_likelihood(found[: len(tokens)], tokens, self._server, None)
            for found, (_, tokens, _) in zip(scored, jobs, strict=True)
        )
        return [[next(logps) for _ in group] for group in continuations]

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Remove the tokens that were appended; after an answer, remove all tokens."""
        text = self._texts[id(sequence)]
        if answered:
            text.tokens.clear()
        else:
            if text.tokens[0].token == self._hosted.call_id:
                text.tokens.popleft()
            text.tokens.popleft()

    def advance(self) -> None:
        """Remove sequences that are done, and request tokens for those that have none."""
        for key, text in list(self._texts.items()):
            if text.parked:
                continue
            if text.sequence.done:
                # Before `on_end` is called, so that it sees the right number of texts.
                del self._texts[key]
                text.sequence.end_if_done()
                # Otherwise read the answer to its end, so that the connection can be reused.
                if text.sequence.cancelled:
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
        """Make sequences active again, and remove those that have ended."""
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

    def _take_arrived(self, text: _Text) -> bool:
        """Take the tokens that have arrived; return True if the text can take its next step.

        It can if its next token is known and, where a decision needs it, the model's own token.
        """
        request = text.request
        # Checked first: a request that is done adds no more tokens.
        finished = request is not None and request.done()
        while text.arriving:
            text.tokens.append(text.arriving.popleft())
        if finished and request is not None:
            text.request = None
            failure = None if request.cancelled() else request.exception()
            if failure is not None:
                text.sequence.fail(failure)  # type: ignore[arg-type]  # it is never a KeyboardInterrupt
        if text.sequence.done or not text.tokens:
            return False
        self._keep_value_whole(text)
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

    def _keep_value_whole(self, text: _Text) -> None:
        """Replace an own next token that would continue a borrowed word or number.

        It becomes the likeliest reported token that does not; tokens after it are discarded.
        """
        beginning, own = forbidden_beginning(text.sequence), self._own(text)
        if not beginning or own is None:
            return
        replaced = without_beginning(own, beginning, self._server)
        if replaced is not own:
            call = [text.tokens[0]] if text.tokens[0] is not own else []
            text.stop()
            text.tokens = deque([*call, replaced])

    def _next_in_order(self, texts: list[_Text]) -> list[_Text]:
        """Hold back texts that share a budget with a shorter text, or with one that is not ready.

        So their calls do not depend on the order in which the server's answers arrive.
        """
        shortest: dict[int, int] = {}
        blocked: set[int] = set()
        for text in self._texts.values():
            if text.mode == "ahead" and not _independent(text):
                key, length = id(text.sequence.controller), len(text.sequence.ids)
                shortest[key] = min(length, shortest.get(key, length))
        ready = set(map(id, texts))
        for text in self._texts.values():
            key = id(text.sequence.controller)
            if len(text.sequence.ids) == shortest.get(key) and id(text) not in ready:
                blocked.add(key)
        return [
            text
            for text in texts
            if (key := id(text.sequence.controller)) not in shortest
            or (key not in blocked and len(text.sequence.ids) == shortest[key])
        ]

    def _margin(self, text: _Text) -> float | None:
        """Return the ``<CALL>`` margin at a text's next token; None if it cannot call there."""
        head, policy = text.tokens[0], text.sequence.engine.policy
        if text.mode == "alone" or (text.mode == "stops" and head.token != self._hosted.call_id):
            return None
        unspoken = self._server.unspoken
        margin = margin_of(head, *unspoken) if unspoken else -math.inf
        reads_call = policy.signal in ("margin", "p_call") and text.sequence.may_call
        if reads_call and any(n not in head.top for n in unspoken):
            self._hosted.guessed += 1
        # The server compared exact logits, so the margin is above the limit.
        if text.mode == "stops":
            margin = max(margin, math.nextafter(_limit(text), math.inf))
        return margin

    def _request_next(self, text: _Text) -> None:
        """Request the next tokens of a text."""
        sequence = text.sequence
        if text.mode == "ahead":
            length = 1 if isinstance(sequence.engine.policy, Always) else AHEAD
        elif text.mode == "stops" and not sequence.may_call:
            length = 1
        elif self._live:
            length = self.context
        else:
            length = STRETCH
        forbid_call = text.mode != "stops" or not sequence.may_call
        request = self._request(text, length, forbid_call=forbid_call)
        self._collect(text, request, stream=self._live and text.mode != "ahead")

    def _request(self, text: _Text, length: int, *, forbid_call: bool) -> HostedRequest:
        sequence = text.sequence
        engine, call_id = sequence.engine, self._hosted.call_id
        bias = FORBIDDEN if forbid_call else -_limit(text)
        seed = engine.seed * 1_000_003 + sequence.number * 1_009 + sequence.generated
        length = min(length, sequence.limit - sequence.generated, self.context - len(sequence.ids))
        return HostedRequest(
            list(sequence.ids),  # a copy, because the list grows while another thread reads it
            max(1, length),
            temperature=engine.temperature,
            top_p=engine.top_p,
            seed=seed % (1 << 31),
            bias={} if call_id is None or not bias else {call_id: bias},
        )

    def _collect(self, text: _Text, request: HostedRequest, *, stream: bool) -> None:
        """Start a request that adds its tokens to ``text.arriving``."""
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
    """True if the text's policy decides at each token independently of earlier decisions."""
    return isinstance(text.sequence.engine.policy, Always | Threshold | Oracle)
