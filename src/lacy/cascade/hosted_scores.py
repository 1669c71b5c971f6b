"""Compute margins, signals and likelihoods from the likeliest tokens that a server reports."""

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


def margin_of(step: HostedToken, call_id: int | None, reference_id: int | None = None) -> float:
    """Return the ``<CALL>`` margin, or an upper bound if ``<CALL>`` was not reported.

    With a reference, which makes a separate gate readable, the margin is the gate's logit. If the
    reference was not reported either, some text is nearly certain, and the margin is -inf.
    """
    if call_id is None or not step.top:
        return -math.inf
    if reference_id is not None:
        if reference_id in step.top:
            return step.top.get(call_id, step.floor) - step.top[reference_id]
        return step.top[call_id] - step.floor if call_id in step.top else -math.inf
    others = [logp for token, logp in step.top.items() if token != call_id]
    best = max(others, default=step.floor)
    return step.top.get(call_id, step.floor) - best if best > -math.inf else math.inf


@dataclass(frozen=True, slots=True)
class HostedScores:
    """Next-token scores from the likeliest tokens that a server reports.

    Args:
        hosted: the model.
        heads: for each sequence, the token that the server generated.
        margins: for each sequence, the ``<CALL>`` margin; None if it cannot call.
        own: for each sequence, the likeliest token other than ``<CALL>``.
    """

    hosted: Hosted
    heads: Sequence[HostedToken]
    margins: Sequence[float | None]
    own: Sequence[HostedToken]
    logits_RV: None = None

    def can_call(self, row: int) -> bool:
        """True unless the server has already decided not to call."""
        return self.margins[row] is not None

    def own_bytes(self, row: int) -> bytes:
        """Return the bytes of the likeliest token other than ``<CALL>``."""
        return self.hosted.server.token_text.bytes_of(self.own[row].token)

    def signals(self, rows: Sequence[int]) -> SignalBatch:
        """Return the signals of some sequences, for policies."""
        steps, server = [self.heads[row] for row in rows], self.hosted.server
        margin = np.array([self.margins[row] for row in rows], dtype=np.float64)

        def compute(by: str) -> NDArray[np.float64]:
            if by == "p_call" and server.reference_id is not None:
                return 1.0 / (1.0 + np.exp(-margin))
            if by == "p_call":
                return np.array([_p_unspoken(step, server) for step in steps])
            if by != "top2":
                raise ValueError(f"a server does not report {by!r}")
            return np.array([_top2(step, server) for step in steps])

        return SignalBatch(margin, [0] * len(rows), lambda row: "", compute)


class HostedReferenceLikelihoods(ReferenceLikelihoods):
    """Reference log-likelihoods under a model behind a server, from an existing calibration."""

    def __init__(self, hosted: Hosted, calibration: Calibration) -> None:
        references = {kind: fit.references for kind, fit in calibration.kinds.items()}
        super().__init__(None, hosted.tokenizer, references, hosted.call_id, calibration.ends)
        self._hosted, self._server = hosted, hosted.server
        self._tokens = TokenText(hosted.tokenizer)

    def after(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return log p(value and its end | text, no CALL) for each pair (text, value)."""
        jobs = []
        begin = self._server.begin_id
        for text, value in pairs:
            tokens = self._tokens.encode_continuation(continuation(text, value))
            ids = self._tokens.encode(text)
            ids = ids if begin is None else [begin, *ids]
            # One more token is requested after the value, and all must fit into the context.
            room = self._hosted.context - len(tokens) - 1
            jobs.append((ids[-room:], tokens, self.ends is not None))
        # This blocks the loop, but only for values that are not cached yet.
        reports = self._server.run(self._server.score_texts(jobs))
        return [
            log_likelihood(scored, tokens, self._server, self.ends)
            for scored, (_, tokens, _) in zip(reports, jobs, strict=True)
        ]


def log_likelihood(
    scored: Sequence[HostedToken],
    tokens: Sequence[int],
    server: CompletionServer,
    ends: Collection[int] | None,
) -> float:
    """Return log p(tokens, followed by one of ``ends``), in nats and without ``<CALL>``.

    Args:
        scored: the server's report for each token and for the token after them.
        tokens: the tokens.
        server: the server.
        ends: tokens that may follow; None for all but ``<CALL>``.
    """
    total = 0.0
    for token, place in zip(tokens, scored, strict=False):
        # The first token of an empty text has no likelihood; it counts as 0 for all candidates.
        total += place.top.get(token, place.floor if place.top else 0.0) - _spoken(place, server)
    if len(scored) <= len(tokens):
        return total
    end = scored[len(tokens)]
    if ends is None:
        return total + (0.0 if server.gated else _spoken(end, server))
    unspoken = server.unspoken
    end_logps = [end.top[token] for token in ends if token in end.top and token not in unspoken]
    p_end = math.fsum(map(math.exp, end_logps))
    total -= (
        _spoken(end, server) if server.gated else 0.0
    )  # a gate does not compete with other tokens
    return total + (math.log(p_end) if p_end > 0 else end.floor)


def _p_unspoken(token: HostedToken, server: CompletionServer) -> float:
    """Return the probability of ``<CALL>`` and its reference, as far as they were reported."""
    logps = [token.top[n] for n in server.unspoken if n in token.top]
    return min(1.0, math.fsum(map(math.exp, logps)))


def _spoken(token: HostedToken, server: CompletionServer) -> float:
    """Return the log-probability of all text tokens together."""
    return math.log1p(-min(_p_unspoken(token, server), 1.0 - 1e-12))


def _top2(token: HostedToken, server: CompletionServer) -> float:
    """Return the log-probability difference of the two likeliest text tokens."""
    unspoken = server.unspoken
    others = sorted((v for n, v in token.top.items() if n not in unspoken), reverse=True)
    others += [token.floor] * (2 - len(others))
    return others[0] - others[1] if others[1] > -math.inf else math.inf
