"""Margins, signals and the likelihood of candidates, from what a server tells of a few tokens."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.cascade.calibration import Calibration
from lacy.cascade.hosted_server import Server
from lacy.cascade.hosted_steps import Step
from lacy.cascade.policy import SignalBatch
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.cascade.row import Row
from lacy.corpus import TokenText
from lacy.model import context_of
from lacy.sources import continuation


def margin_of(step: Step, call_id: int | None) -> float:
    """``<CALL>`` less the best other token; an upper bound where ``<CALL>`` was not told of."""
    if call_id is None or not step.top:
        return -math.inf
    others = [logp for token, logp in step.top.items() if token != call_id]
    best = max(others, default=step.floor)
    return step.top.get(call_id, step.floor) - best if best > -math.inf else math.inf


def signals_of(
    steps: Sequence[Step], margin: NDArray[np.float64], rows: Sequence[Row], call_id: int | None
) -> SignalBatch:
    """What a policy may look at, of steps that a server told of."""

    def compute(by: str) -> NDArray[np.float64]:
        if by == "p_call":
            return np.array([_p_call(step, call_id) for step in steps])
        if by != "top2":
            raise ValueError(f"a server does not tell {by!r}")
        return np.array([_top2(step, call_id) for step in steps])

    position = [row.spoken for row in rows]
    return SignalBatch(margin, position, lambda place: rows[place].text, compute)


class HostedScores:
    """``Decoder.score`` over a server, for ``rank``: texts of rows instead of a cache."""

    def __init__(self, server: Server, context: int, rows: Sequence[Row]) -> None:
        self._server, self._rows, self.context = server, rows, context

    def score(
        self,
        rows: Sequence[int],
        candidates: Sequence[Sequence[Sequence[int]]],
        *,
        whole: bool = False,
        ends: Sequence[int] | None = None,
    ) -> list[list[float]]:
        """Log p(candidate, and its end | row, no CALL) in nats, one per candidate of each row."""
        jobs = [
            (self._rows[row].ids, self._rows[row].text, tokens, whole and ends is not None)
            for row, group in zip(rows, candidates, strict=True)
            for tokens in group
        ]
        told = iter(self._server.likelihood(jobs))
        return [
            [_likelihood(next(told), tokens, self._server, whole, ends) for tokens in group]
            for group in candidates
        ]


class HostedReferenceLikelihoods(ReferenceLikelihoods):
    """Reference log-likelihoods under a model behind a server, with an existing calibration."""

    def __init__(self, hosted: Any, calibration: Calibration, call_id: int | None) -> None:
        references = {kind: fit.references for kind, fit in calibration.kinds.items()}
        super().__init__(hosted.model, hosted.tokenizer, references, call_id, calibration.ends)
        self._server: Server = hosted.server
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
            room = context_of(self._model) - len(tokens) - 1
            jobs.append((ids[-room:], text, tokens, self.ends is not None))
        return [
            _likelihood(steps, tokens, self._server, True, self.ends)
            for steps, (_, _, tokens, _) in zip(self._server.likelihood(jobs), jobs, strict=True)
        ]


def _likelihood(
    steps: Sequence[Step],
    tokens: Sequence[int],
    server: Server,
    whole: bool,
    ends: Collection[int] | None,
) -> float:
    """What steps of tokens, and of the place after them, say about the tokens (nats)."""
    total, call_id = 0.0, server.call_id
    for token, step in zip(tokens, steps, strict=False):
        # The first token of an empty text has no likelihood; it costs all candidates nothing.
        total += step.top.get(token, step.floor if step.top else 0.0) - _not_call(step, call_id)
    if not whole or len(steps) <= len(tokens):
        return total
    end = steps[len(tokens)]
    if ends is None:
        return total + _not_call(end, call_id)
    shown = [end.top[token] for token in ends if token in end.top and token != call_id]
    hidden = 1.0 - math.fsum(map(math.exp, end.top.values()))
    likely = math.fsum(map(math.exp, shown))
    if server.dialect == "text" and any(
        n in ends for n in server.ends
    ):  # servers never report it: compute it from the rest
        likely += max(0.0, hidden)
    return total + (math.log(likely) if likely > 0 else end.floor)


def _p_call(step: Step, call_id: int | None) -> float:
    logp = step.top.get(call_id) if call_id is not None else None
    return 0.0 if logp is None else min(1.0, math.exp(logp))


def _not_call(step: Step, call_id: int | None) -> float:
    """Log of the probability that the model does not call."""
    return math.log1p(-min(_p_call(step, call_id), 1.0 - 1e-12))


def _top2(step: Step, call_id: int | None) -> float:
    """Difference of the two best tokens; large where the model is sure."""
    others = sorted((v for n, v in step.top.items() if n != call_id), reverse=True)
    others += [step.floor] * (2 - len(others))
    return others[0] - others[1] if others[1] > -math.inf else math.inf
