"""The backend for a model in this process: one batch of all active sequences.

Each forward pass feeds the next tokens of all sequences. Sequences may have different lengths, join
while others run, be set aside and return. Prompts that are added together are read together up to
the length of the shortest; the rest of the longer ones is read one token per step.
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
from lacy.cascade.signals import step_signals
from lacy.model import Decoder, new_decoder, partial_head, without_call

PREFILL = 256
"""Maximum number of prompt tokens per step, so that a long prompt does not delay other texts."""


@dataclass(frozen=True, slots=True)
class LocalScores:
    """Next-token scores as logits."""

    engine: EngineSettings
    logits_RV: Tensor
    greedy: Sequence[int]
    """The likeliest token of each row other than ``<CALL>``."""

    def can_call(self, row: int) -> bool:
        """Return True, because only the policy decides."""
        return True

    def own_bytes(self, row: int) -> bytes:
        """Return the bytes of the likeliest token other than ``<CALL>``."""
        return self.engine.token_text.bytes_of(self.greedy[row])

    def signals(self, rows: Sequence[int]) -> SignalBatch:
        """Return the signals of some sequences, for policies."""
        whole = len(rows) == len(self.greedy)
        logits_AV = self.logits_RV if whole else self.logits_RV[list(rows)]
        engine, none = self.engine, [0] * len(rows)
        return step_signals(
            logits_AV, engine.call_id, none, lambda row: "", engine.gate, engine.gate_entropy
        )


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences and the decoder that has read them; each sequence is a row of it."""

    sequences: list[TextSequence]
    decoder: Decoder


@dataclass(frozen=True, slots=True)
class _New:
    """Sequences whose prompts are being read; each different prompt is a row of the decoder."""

    sequences: list[TextSequence]
    decoder: Decoder
    prompts: dict[tuple[int, ...], int]
    """Rows by prompt."""


class LocalBackend:
    """Computes next-token scores with a model in this process.

    Args:
        engine: an engine with the model; the engines of all sequences are its variants.
        prefill: maximum number of prompt tokens per step; None for any number.
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
        """True if there are neither active nor new sequences."""
        return not (self._active.sequences or self._new)

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Add new sequences; equal prompts are read only once."""
        if self.idle and (head := partial_head(self._engine.model)) is not None:
            head.forget()
        prompts = dict.fromkeys(tuple(sequence.ids) for sequence in sequences)
        rows = {prompt: row for row, prompt in enumerate(prompts)}
        self._new.append(_New(list(sequences), self._new_decoder(), rows))

    def ready(self) -> tuple[list[TextSequence], LocalScores]:
        """Read prompts, then return the sequences of which the model has read all tokens."""
        self._read_prompts()
        sequences, read_tokens = self._active.sequences, self._active.decoder.tokens_BT
        ready_rows = [
            n for n, s in enumerate(sequences) if not s.done and len(s.ids) == len(read_tokens[n])
        ]
        ready = [sequences[n] for n in ready_rows]
        if not ready:
            return [], LocalScores(self._engine, Tensor(), [])
        last_BV = self._active.decoder.last_BV
        logits_RV = last_BV if len(ready_rows) == len(sequences) else last_BV[ready_rows]
        greedy = self._choose_own_tokens(ready, without_call(logits_RV, self._engine.call_id))
        return ready, LocalScores(self._engine, logits_RV, greedy)

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Choose again where the model has read a source's sentences since ``ready``."""
        if reading := [sequence for sequence in sequences if sequence.sentences]:
            logits_RV = self._active.decoder.last_BV[self._rows(reading)]
            self._choose_own_tokens(reading, without_call(logits_RV, self._engine.call_id))

    def first_logps(
        self, sequences: Sequence[TextSequence], candidates: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[float]]:
        """Return the log-probability of each candidate's first token, from the logits at hand."""
        return self._active.decoder.first_logps(self._rows(sequences), candidates)

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Score candidates in as few forward passes as memory allows."""
        rows = self._rows(sequences)
        return self._active.decoder.score(rows, candidates, whole=True, ends=ends)

    async def score_texts(
        self, texts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Read all texts together, then score the continuations of each as one tree."""
        engine, decoder = self._engine, self._new_decoder()
        begin = [] if engine.begin_id is None else [engine.begin_id]
        encode = engine.token_text.encode_continuation
        groups = [[encode(text) for text in group] for group in continuations]
        room = self.context - max(len(tokens) for group in groups for tokens in group) - len(begin)
        decoder.read([begin + engine.token_text.encode(text)[-room:] for text in texts])
        return decoder.score(range(len(texts)), groups)

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Do nothing, because the next pass reads the new tokens."""

    def advance(self) -> None:
        """Score tokens if requested, remove sequences that are done, and feed the next tokens."""
        self._score_tokens()
        self._keep(lambda sequence: not sequence.end_if_done())
        sequences, decoder = self._active.sequences, self._active.decoder
        if not sequences:
            return
        rests = [s.ids[len(r) :] for s, r in zip(sequences, decoder.tokens_BT, strict=True)]
        width = min(map(len, rests))
        if any(sequence.scorer is not None for sequence in sequences):
            width = 1  # each token's score comes from the logits of its own pass
        decoder.feed([rest[:width] for rest in rests])

    def park(self, sequences: Sequence[TextSequence]) -> _Group:
        """Move sequences to a separate decoder."""
        leaving = {id(sequence) for sequence in sequences}
        places = [n for n, s in enumerate(self._active.sequences) if id(s) in leaving]
        parked = _Group(
            [self._active.sequences[n] for n in places], self._active.decoder.part(places)
        )
        self._keep(lambda sequence: id(sequence) not in leaving)
        return parked

    def unpark(self, parked: Sequence[_Group]) -> None:
        """Move parked sequences back, except those that have ended."""
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
        """Do nothing, because there is no server to wait for."""

    def close(self) -> None:
        """Do nothing."""

    def _rows(self, sequences: Sequence[TextSequence]) -> list[int]:
        """Return the rows of active sequences in the decoder."""
        row_of = {id(sequence): row for row, sequence in enumerate(self._active.sequences)}
        return [row_of[id(sequence)] for sequence in sequences]

    def _choose_own_tokens(self, sequences: Sequence[TextSequence], own_RV: Tensor) -> list[int]:
        """Choose the own token of each sequence, after reading where it has sentences to read.

        Args:
            sequences: active sequences.
            own_RV: logits without ``<CALL>``, before reading.

        Returns:
            The likeliest token of each.
        """
        reader = self._engine.reader
        reading = [n for n, s in enumerate(sequences) if s.sentences]
        if reading and reader is not None:
            own_RV = own_RV.clone()
            own_RV[reading] = reader.next_logits([sequences[n] for n in reading])
        greedy: list[int] = own_RV.argmax(dim=-1).tolist()
        choose_own_tokens(sequences, own_RV, greedy)
        return greedy

    def _new_decoder(self) -> Decoder:
        return new_decoder(self._engine.model, call_id=self._engine.call_id)

    def _keep(self, keep: Callable[[TextSequence], bool]) -> None:
        """Remove the active sequences for which ``keep`` returns False."""
        sequences, decoder = self._active.sequences, self._active.decoder
        places = [n for n, sequence in enumerate(sequences) if keep(sequence)]
        if len(places) < len(sequences):
            decoder.keep(places)
            self._active = _Group([sequences[n] for n in places], decoder)

    def _read_prompts(self) -> None:
        """Read new prompts in order of arrival, as many tokens as one step allows."""
        budget, joining = self._prefill, []
        while self._new and (budget is None or budget > 0):
            group = self._new[0]
            group.sequences[:] = [s for s in group.sequences if not s.end_if_done()]
            if not group.sequences:
                self._new.popleft()
                continue
            start, end = group.decoder.length, min(map(len, group.prompts))
            stop = end if budget is None else min(end, start + budget)
            self._read(group, start, stop)
            budget = None if budget is None else budget - (stop - start)
            if stop == end:
                self._new.popleft()
                group.decoder.keep([group.prompts[tuple(s.ids)] for s in group.sequences])
                joining.append(group.decoder)
                self._active.sequences.extend(group.sequences)
        self._active.decoder.join(joining)

    def _read(self, group: _New, start: int, end: int) -> None:
        """Read tokens ``start`` to ``end`` of a group's prompts, and score them if requested."""
        scorers = [s.scorer for s in group.sequences if s.scorer is not None and s.scorer.pending]
        if not scorers:
            group.decoder.feed([prompt[start:end] for prompt in group.prompts])
            return
        first = group.sequences[0]
        token_text = self._engine.token_text
        bytes_of = token_text.written if scorers[0].named else token_text.bytes_of
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
        """Score the token that each sequence reads next, if requested."""
        read_tokens = self._active.decoder.tokens_BT
        scorers, tokens, rows = [], [], []
        for row, sequence in enumerate(self._active.sequences):
            scorer, length = sequence.scorer, len(read_tokens[row])
            if scorer is not None and scorer.at == length < len(sequence.ids):
                scorers.append(scorer)
                tokens.append(sequence.ids[length])
                rows.append(row)
        if scorers:
            scores = self._scores(self._active.decoder.whole_BV(rows), tokens, scorers)
            for row, scorer, score in zip(rows, scorers, scores, strict=True):
                scorer.add([score])
                self._active.sequences[row].release()

    def _scores(
        self, logits_NV: Tensor, tokens: Sequence[int], scorers: Sequence[Scorer]
    ) -> list[TokenScore]:
        top = max(scorer.top for scorer in scorers)
        return token_scores(logits_NV, tokens, top, self._engine.call_id, self._engine.token_text)
