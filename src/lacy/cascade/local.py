"""The backend for a model in this process: one batch of all active sequences.

Every pass feeds the next tokens of all sequences. Sequences may have any lengths, join while others
run, and be set aside and return; prompts of different lengths that are added together are read
together as far as the shortest goes, the rest token by token beside the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lacy.cascade.policy import SignalBatch
from lacy.cascade.sampling import choose_own_tokens
from lacy.cascade.scores import Scorer, TokenScore, token_scores
from lacy.cascade.sequence import TextSequence
from lacy.cascade.settings import EngineSettings
from lacy.cascade.signals import step_signals, without_call
from lacy.model import Decoder

PREFILL = 256
"""Prompt tokens read per step, so that a long prompt does not delay the other texts."""


@dataclass(frozen=True, slots=True)
class LocalScores:
    """Next-token scores as logits."""

    engine: EngineSettings
    logits_RV: Tensor
    greedy: Sequence[int]
    """The likeliest token of each row other than ``<CALL>``."""

    def can_call(self, place: int) -> bool:
        """True: the policy decides."""
        return True

    def own_bytes(self, place: int) -> bytes:
        """Return the bytes of the likeliest token other than ``<CALL>``."""
        return self.engine.token_text.bytes_of(self.greedy[place])

    def signals(self, places: Sequence[int]) -> SignalBatch:
        """Return the signals that policies read."""
        whole = len(places) == len(self.greedy)
        logits_AV = self.logits_RV if whole else self.logits_RV[list(places)]
        engine, none = self.engine, [0] * len(places)
        return step_signals(logits_AV, engine.call_id, none, lambda place: "", engine.gate)


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences and the decoder that holds their tokens, a row for each."""

    sequences: list[TextSequence]
    decoder: Decoder


@dataclass(frozen=True, slots=True)
class _New:
    """Sequences whose prompts are being read, a row for each different prompt."""

    sequences: list[TextSequence]
    decoder: Decoder
    prompts: dict[tuple[int, ...], int]
    """The row of each prompt."""


class LocalBackend:
    """Computes next-token scores with a model in this process.

    Args:
        engine: gives the model; what the sequences' engines share.
        prefill: most prompt tokens that a step reads; None for any number.
    """

    def __init__(self, engine: EngineSettings, prefill: int | None = PREFILL) -> None:
        self._engine, self._prefill = engine, prefill
        self._active = _Group([], self._new_decoder())
        self._new: deque[_New] = deque()
        self.context = self._active.decoder.context

    def __len__(self) -> int:
        return len(self._active.sequences) + sum(len(group.sequences) for group in self._new)

    @property
    def idle(self) -> bool:
        """True if there are no active and no new sequences."""
        return not (self._active.sequences or self._new)

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Take new sequences; equal prompts are computed once."""
        prompts = dict.fromkeys(tuple(sequence.ids) for sequence in sequences)
        rows = {prompt: row for row, prompt in enumerate(prompts)}
        self._new.append(_New(list(sequences), self._new_decoder(), rows))

    def ready(self) -> tuple[list[TextSequence], LocalScores]:
        """Read prompts, then return the sequences whose tokens the model has all read."""
        self._read_prompts()
        sequences, read = self._active.sequences, self._active.decoder.tokens_BT
        places = [n for n, s in enumerate(sequences) if not s.done and len(s.ids) == len(read[n])]
        ready = [sequences[n] for n in places]
        if not ready:
            return [], LocalScores(self._engine, Tensor(), [])
        last_BV = self._active.decoder.last_BV
        logits_RV = last_BV if len(places) == len(sequences) else last_BV[places]
        own_RV = without_call(logits_RV, self._engine.call_id)
        greedy = own_RV.argmax(dim=-1).tolist()
        choose_own_tokens(ready, own_RV, greedy)
        return ready, LocalScores(self._engine, logits_RV, greedy)

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Do nothing: ``ready`` has chosen them."""

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Score candidates in as few forward passes as memory allows."""
        row_of = {id(sequence): row for row, sequence in enumerate(self._active.sequences)}
        rows = [row_of[id(sequence)] for sequence in sequences]
        return self._active.decoder.score(rows, candidates, whole=True, ends=ends)

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Do nothing: the next pass reads the sequence's new tokens."""

    def advance(self) -> None:
        """Score tokens that are to be scored, remove what is done, and feed the next tokens."""
        self._score_tokens()
        self._keep(lambda sequence: not sequence.end_if_done())
        sequences, decoder = self._active.sequences, self._active.decoder
        if not sequences:
            return
        rests = [s.ids[len(r) :] for s, r in zip(sequences, decoder.tokens_BT, strict=True)]
        width = min(map(len, rests))
        if any(sequence.scorer is not None for sequence in sequences):
            width = 1  # scores are read after each token
        decoder.feed([rest[:width] for rest in rests])

    def park(self, sequences: Sequence[TextSequence]) -> _Group:
        """Move sequences to a decoder of their own."""
        leaving = {id(sequence) for sequence in sequences}
        places = [n for n, s in enumerate(self._active.sequences) if id(s) in leaving]
        parked = _Group(
            [self._active.sequences[n] for n in places], self._active.decoder.part(places)
        )
        self._keep(lambda sequence: id(sequence) not in leaving)
        return parked

    def unpark(self, parked: Sequence[_Group]) -> None:
        """Move parked sequences back, without those that have ended."""
        for group in parked:
            places = [n for n, s in enumerate(group.sequences) if not s.ended]
            group.decoder.keep(places)
            self._active.sequences.extend(group.sequences[n] for n in places)
        self._active.decoder.join([group.decoder for group in parked])

    def clear(self) -> list[TextSequence]:
        """Remove and return all sequences."""
        new = [sequence for group in self._new for sequence in group.sequences]
        sequences = [*self._active.sequences, *new]
        self._active = _Group([], self._new_decoder())
        self._new.clear()
        return sequences

    def wait(self) -> None:
        """Do nothing: passes are computed at once."""

    def close(self) -> None:
        """Do nothing."""

    def _new_decoder(self) -> Decoder:
        return Decoder(self._engine.model, call_id=self._engine.call_id)

    def _keep(self, keep: Callable[[TextSequence], bool]) -> None:
        """Remove active sequences that are not to be kept."""
        sequences, decoder = self._active.sequences, self._active.decoder
        places = [n for n, sequence in enumerate(sequences) if keep(sequence)]
        if len(places) < len(sequences):
            decoder.keep(places)
            self._active = _Group([sequences[n] for n in places], decoder)

    def _read_prompts(self) -> None:
        """Read new prompts, first come first, as far as one step allows."""
        left, joining = self._prefill, []
        while self._new and (left is None or left > 0):
            group = self._new[0]
            group.sequences[:] = [s for s in group.sequences if not s.end_if_done()]
            if not group.sequences:
                self._new.popleft()
                continue
            before, end = group.decoder.length, min(map(len, group.prompts))
            until = end if left is None else min(end, before + left)
            self._read(group, before, until)
            left = None if left is None else left - (until - before)
            if until == end:
                self._new.popleft()
                group.decoder.keep([group.prompts[tuple(s.ids)] for s in group.sequences])
                joining.append(group.decoder)
                self._active.sequences.extend(group.sequences)
        self._active.decoder.join(joining)

    def _read(self, group: _New, start: int, end: int) -> None:
        """Read a part of prompts; score its tokens where wanted."""
        scorers = [s.scorer for s in group.sequences if s.scorer is not None and s.scorer.pending]
        if not scorers:
            group.decoder.feed([prompt[start:end] for prompt in group.prompts])
            return
        first = group.sequences[0]
        text_of = self._engine.token_text
        bytes_of = text_of.written if scorers[0].named else text_of.bytes_of
        for scorer in scorers if start == 0 else ():
            if first.implied:
                scorer.skip()
            else:
                scorer.add([TokenScore(bytes_of(first.ids[0]), None)])
        logits_TV = group.decoder.feed_all([first.ids[start:end]])[0]
        following = first.ids[start + 1 : end + 1]
        scores = self._scores(logits_TV[: len(following)], following, scorers)
        scores = [replace(s, text=bytes_of(n)) for s, n in zip(scores, following, strict=True)]
        for scorer in scorers:
            scorer.add(scores)

    def _score_tokens(self) -> None:
        """Score the token that each sequence reads next, where wanted."""
        read = self._active.decoder.tokens_BT
        scorers, tokens, rows = [], [], []
        for row, sequence in enumerate(self._active.sequences):
            scorer, length = sequence.scorer, len(read[row])
            if scorer is not None and scorer.at == length < len(sequence.ids):
                scorers.append(scorer)
                tokens.append(sequence.ids[length])
                rows.append(row)
        if scorers:
            scores = self._scores(self._active.decoder.last_BV[rows], tokens, scorers)
            for row, scorer, score in zip(rows, scorers, scores, strict=True):
                scorer.add([score])
                self._active.sequences[row].release()

    def _scores(
        self, logits_NV: Tensor, tokens: Sequence[int], scorers: Sequence[Scorer]
    ) -> list[TokenScore]:
        top = max(scorer.top for scorer in scorers)
        return token_scores(logits_NV, tokens, top, self._engine.call_id, self._engine.token_text)
