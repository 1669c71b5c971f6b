"""Margins, signals and likelihoods from the likeliest tokens that a server reports."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.cascade.calibration import Calibration
from lacy.cascade.hosted_model import Hosted
from lacy.cascade.hosted_server import CompletionServer, HostedToken
from lacy.cascade.policy import SignalBatch
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.corpus import TokenText
from lacy.sources import continuation


def margin_of(step: HostedToken, call_id: int | None) -> float:
    """Return the ``<CALL>`` margin, or an upper bound if ``<CALL>`` was not reported."""
    if call_id is None or not step.top:
        return -math.inf
    others = [logp for token, logp in step.top.items() if token != call_id]
    best = max(others, default=step.floor)
    return step.top.get(call_id, step.floor) - best if best > -math.inf else math.inf


@dataclass(frozen=True, slots=True)
class HostedScores:
    """Next-token scores from the likeliest tokens that a server reports.

    Args:
        hosted: the model.
        heads: the token that the server generated at each place.
        margins: the ``<CALL>`` margin at each place; None if the policy may not call there.
        own: the model's likeliest token other than ``<CALL>`` at each place.
    """

    hosted: Hosted
    heads: Sequence[HostedToken]
    margins: Sequence[float | None]
    own: Sequence[HostedToken]
    logits_RV: None = None

    def can_call(self, place: int) -> bool:
        """True unless the server's own decision was not to call."""
        return self.margins[place] is not None

    def own_bytes(self, place: int) -> bytes:
        """Return the bytes of the likeliest token other than ``<CALL>``."""
        own = self.own[place]
        if own.text is not None:
            return own.text.encode()
        return self.hosted.server.token_text.bytes_of(own.token)

    def signals(self, places: Sequence[int]) -> SignalBatch:
        """Return the signals that policies read."""
        steps, call_id = [self.heads[place] for place in places], self.hosted.call_id

        def compute(by: str) -> NDArray[np.float64]:
            if by == "p_call":
                return np.array([_p_call(step, call_id) for step in steps])
            if by != "top2":
                raise ValueError(f"a server does not report {by!r}")
            return np.array([_top2(step, call_id) for step in steps])

        margin = np.array([self.margins[place] for place in places], dtype=np.float64)
        return SignalBatch(margin, [0] * len(places), lambda place: "", compute)


class HostedReferenceLikelihoods(ReferenceLikelihoods):
    """Reference log-likelihoods under a model behind a server, with an existing calibration."""

    def __init__(self, hosted: Hosted, calibration: Calibration) -> None:
        references = {kind: fit.references for kind, fit in calibration.kinds.items()}
        super().__init__(None, hosted.tokenizer, references, hosted.call_id, calibration.ends)
        self._hosted, self._server = hosted, hosted.server
        self._tokens = TokenText(hosted.tokenizer)

    def after(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log p(value, and its end | text, no CALL) of each (text, value)."""
        jobs = []
        begin = self._server.begin_id
        for text, value in pairs:
            tokens = self._tokens.encode_continuation(continuation(text, value))
            ids = self._tokens.encode(text)
            ids = ids if begin is None else [begin, *ids]
            # The place after the value is asked for as well; a server takes no longer text.
            room = self._hosted.context - len(tokens) - 1
            jobs.append((ids[-room:], text, tokens, self.ends is not None))
        # This blocks the loop; it is only needed with a calibration, for values not seen before.
        found = self._server.run(self._server.score_texts(jobs))
        return [
            log_likelihood(scored, tokens, self._server, self.ends)
            for scored, (_, _, tokens, _) in zip(found, jobs, strict=True)
        ]


def log_likelihood(
    scored: Sequence[HostedToken],
    tokens: Sequence[int],
    server: CompletionServer,
    ends: Collection[int] | None,
) -> float:
    """Return log p(tokens, and their end) in nats.

    Args:
        scored: what the server reports of the tokens and of the place after them.
        tokens: the tokens.
        server: the server.
        ends: tokens that may follow; None for all but ``<CALL>``.
    """
    total, call_id = 0.0, server.call_id
    for token, place in zip(tokens, scored, strict=False):
        # The first token of an empty text has no likelihood; it costs all candidates nothing.
        total += place.top.get(token, place.floor if place.top else 0.0) - _not_call(place, call_id)
    if len(scored) <= len(tokens):
        return total
    end = scored[len(tokens)]
    if ends is None:
        return total + _not_call(end, call_id)
    shown = [end.top[token] for token in ends if token in end.top and token != call_id]
    hidden = 1.0 - math.fsum(map(math.exp, end.top.values()))
    likely = math.fsum(map(math.exp, shown))
    if server.dialect == "text" and any(n in ends for n in server.ends):
        likely += max(0.0, hidden)  # these servers never report the end of text
    return total + (math.log(likely) if likely > 0 else end.floor)


def _p_call(place: HostedToken, call_id: int | None) -> float:
    logp = place.top.get(call_id) if call_id is not None else None
    return 0.0 if logp is None else min(1.0, math.exp(logp))


def _not_call(place: HostedToken, call_id: int | None) -> float:
    """Return log p(the model does not call)."""
    return math.log1p(-min(_p_call(place, call_id), 1.0 - 1e-12))


def _top2(place: HostedToken, call_id: int | None) -> float:
    """Return the difference of the two best tokens; large if the model is sure."""
    others = sorted((v for n, v in place.top.items() if n != call_id), reverse=True)
    others += [place.floor] * (2 - len(others))
    return others[0] - others[1] if others[1] > -math.inf else math.inf
