"""Decode a changing batch of texts of different lengths with one KV cache.

All rows end at the same column of the cache. Shorter rows begin later; the columns before their
beginning are masked and do not count as positions. If all rows have equal length, there is no mask.
Rows can be removed (``keep``), copied to another decoder (``part``) and added (``join``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model.forward import gate_of
from lacy.model.likelihood import ending_logps, log_norms
from lacy.model.partial import PartialHead, all_logits, partial_head
from lacy.model.trees import Tree, build_trees, takes_trees, tree_inputs

DEFAULT_SCORE_CELLS = 65_536
"""Maximum positions of one scoring pass (rows x length of text and candidates); bounds memory."""

DEFAULT_SCORE_LOGITS = 33_554_432
"""Maximum number of logits of one scoring pass (128 MiB in float32)."""


class Decoder:
    """Batched causal decoding with one growing cache; rows may have different lengths.

    Results are the same as for each row alone, up to rounding.

    Args:
        model: a causal ``transformers`` model (anything called as ``model(input_ids=,
            past_key_values=, use_cache=, logits_to_keep=)`` that returns ``.logits``).
        call_id: id of ``<CALL>``, which is excluded from every likelihood; None if there is none.
        score_cells: maximum positions (text and candidates) in one pass of ``score``.
    """

    def __init__(
        self, model: Any, *, call_id: int | None = None, score_cells: int = DEFAULT_SCORE_CELLS
    ) -> None:
        self.model = model
        self.call_id = call_id
        self.score_cells = score_cells
        self.context = context_of(model)
        self.tokens_BT: list[list[int]] = []
        self._cache: Any = None
        self._last_BV: Tensor | None = None
        self._last_BD: Tensor | None = None

    @property
    def _partial(self) -> PartialHead | None:
        """The model's head if it computes the logits of some tokens only."""
        return partial_head(self.model)

    @property
    def rows(self) -> int:
        """Number of rows; 0 before the first tokens."""
        return len(self.tokens_BT)

    @property
    def length(self) -> int:
        """Number of columns of the cache, i.e. tokens of the longest row."""
        return max(map(len, self.tokens_BT), default=0)

    @property
    def last_BV(self) -> Tensor:
        """Logits for the next token of each row; read-only."""
        assert self._last_BV is not None, "nothing has been fed"
        return self._last_BV

    def whole_BV(self, rows: Sequence[int]) -> Tensor:
        """Return ``last_BV`` of some rows, with the logits that a partial head left out."""
        partial = self._partial
        if partial is None or self._last_BD is None:
            return self.last_BV[list(rows)]
        return partial.finished_logits(self._last_BD[list(rows)]).float()

    def feed(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append the same number of tokens to every row.

        Args:
            tokens_BT: at least one token per row.

        Returns:
            ``logits_BV`` (float32) for the next token of each row. Do not modify them, because
            ``score`` uses them.

        Raises:
            LacyError: E60, the tokens do not fit into the model's context.
        """
        return self._feed(tokens_BT, keep=1)[:, -1]

    def feed_all(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens like ``feed``, but return ``logits_BTV`` after every token."""
        with all_logits(self._partial):
            return self._feed(tokens_BT, keep=0)

    @torch.inference_mode()
    def _feed(self, tokens_BT: Sequence[Sequence[int]], keep: int) -> Tensor:
        """Append tokens and return logits after the last ``keep`` tokens (0: after every token)."""
        widths = {len(row) for row in tokens_BT}
        if len(widths) != 1 or 0 in widths:
            raise ValueError(f"every row needs the same number of tokens, at least one: {widths}")
        if self.tokens_BT and len(tokens_BT) != self.rows:
            raise ValueError(f"{len(tokens_BT)} rows fed, but the decoder has {self.rows}")
        width = widths.pop()
        self._check_room(self.length + width)
        if not self.tokens_BT:
            self._cache = _new_cache()
            self.tokens_BT = [[] for _ in tokens_BT]
        input_BT = torch.tensor([list(row) for row in tokens_BT], device=self.model.device)
        logits_BTV = self._forward(range(self.rows), input_BT, self._cache, keep or width).float()
        self._last_BV = logits_BTV[:, -1]
        partial = self._partial
        self._last_BD = None if partial is None else partial.last_BD
        for row, tokens in zip(self.tokens_BT, tokens_BT, strict=True):
            row.extend(int(token) for token in tokens)
        return logits_BTV

    def step(self, tokens_B: Sequence[int] | Tensor) -> Tensor:
        """Append one token to every row and return ``logits_BV`` like ``feed``."""
        tokens = tokens_B.tolist() if isinstance(tokens_B, Tensor) else tokens_B
        return self.feed([[int(token)] for token in tokens])

    @torch.inference_mode()
    def read(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append one or more tokens to every row (numbers may differ); return logits like ``feed``.

        The first pass reads all but the last tokens. They are padded on the right, where no earlier
        token sees the padding, and the padding is then removed from the cache. A second pass reads
        the last tokens.
        """
        if len(set(map(len, tokens_BT))) == 1:
            return self.feed(tokens_BT)
        heads = [list(tokens[:-1]) for tokens in tokens_BT]
        before_BT = self.tokens_BT or [[] for _ in heads]
        self._check_room(max(len(o) + len(t) for o, t in zip(before_BT, tokens_BT, strict=True)))
        before = self.length
        cache = self._cache if self.rows else _new_cache()
        input_BT = torch.tensor(pad(heads), device=self.model.device)
        self._forward(range(self.rows), input_BT, cache, keep=1)
        self.tokens_BT = [[*old, *head] for old, head in zip(before_BT, heads, strict=True)]
        ends = [before + len(head) for head in heads]
        self._fill(cache, [(n, end - len(self.tokens_BT[n]), end) for n, end in enumerate(ends)])
        return self.feed([tokens[-1:] for tokens in tokens_BT])

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order (repetitions are allowed); drop the others."""
        if list(rows) != list(range(self.rows)):
            kept = self.part(rows)
            self._cache, self.tokens_BT = kept._cache, kept.tokens_BT
            self._last_BV, self._last_BD = kept._last_BV, kept._last_BD

    @torch.inference_mode()
    def part(self, rows: Sequence[int]) -> Decoder:
        """Return a new decoder with copies of these rows."""
        part = Decoder(self.model, call_id=self.call_id, score_cells=self.score_cells)
        if rows:
            part.tokens_BT = [list(self.tokens_BT[row]) for row in rows]
            if self._last_BV is not None:
                part._last_BV = self._last_BV[torch.tensor(list(rows), device=self.model.device)]
            if self._last_BD is not None:
                part._last_BD = self._last_BD[torch.tensor(list(rows), device=self.model.device)]
            part._fill(self._cache, [(row, *self._columns(row)) for row in rows])
        return part

    @torch.inference_mode()
    def join(self, others: Sequence[Decoder]) -> None:
        """Append the rows of other decoders of the same model in order."""
        parts = [part for part in (self, *others) if part.rows]
        if not parts or parts == [self]:
            return
        layers = zip(*(part._cache.layers for part in parts), strict=True)
        states = [[(layer.keys, layer.values) for layer in same] for same in layers]
        logits = [part._last_BV for part in parts]
        known = [last_BV for last_BV in logits if last_BV is not None]
        self._last_BV = torch.cat(known) if len(known) == len(logits) else None
        inputs = [part._last_BD for part in parts if part._last_BD is not None]
        self._last_BD = torch.cat(inputs) if len(inputs) == len(parts) else None
        self.tokens_BT = [list(tokens) for part in parts for tokens in part.tokens_BT]
        self._cache = _filled_cache(states, self.length)

    def _columns(self, row: int) -> tuple[int, int]:
        """Return the first column of a row in the cache, and the column after its last."""
        return self.length - len(self.tokens_BT[row]), self.length

    def _fill(self, cache: Any, places: Sequence[tuple[int, int, int]]) -> None:
        """Fill the cache with rows ``(row, begin, end)`` of another cache, aligned at the end."""
        states = [
            [
                (layer.keys[n : n + 1, :, begin:end], layer.values[n : n + 1, :, begin:end])
                for n, begin, end in places
            ]
            for layer in cache.layers
        ]
        self._cache = _filled_cache(states, self.length)

    def rewind(self, count: int) -> None:
        """Remove the last ``count`` tokens of every row; at least one token must remain."""
        if count == 0:
            return
        shortest = min(map(len, self.tokens_BT), default=0)
        if not 0 < count < shortest:
            raise ValueError(f"cannot remove {count} of {shortest} tokens")
        self._cache.crop(-count)
        self.tokens_BT = [row[:-count] for row in self.tokens_BT]
        self._last_BV = None

    @torch.inference_mode()
    def score(
        self,
        rows: Sequence[int],
        candidates: Sequence[Sequence[Sequence[int]]],
        *,
        whole: bool = False,
        ends: Sequence[int] | None = None,
    ) -> list[list[float]]:
        """Return log-likelihoods of candidate continuations without changing the cache.

        The candidates of all rows go through the model in as few passes as ``score_cells`` allows.
        The candidates of a row form one tree after its cache (``trees``), or one single-branch tree
        each if the model does not support trees. The softmax of the candidates' tokens excludes
        ``<CALL>``. That of the token after them includes it, unless it is a separate gate.

        Args:
            rows: rows of the decoder.
            candidates: for each of ``rows``, its K candidates, each a non-empty list of tokens.
            whole: multiply by the probability that the candidate ends there, i.e. that one of
                ``ends`` follows (a town may be the beginning of a school's name).
            ends: tokens that may follow a complete value; by default all but ``<CALL>``, because
                ``<CALL>`` asks for the remainder of a value.

        Returns:
            For each row, ``log p(candidate | row's tokens)`` in nats, one per candidate.

        Raises:
            LacyError: E60, a candidate does not fit into the model's context.
        """
        jobs: list[tuple[int, int, int, list[int]]] = []
        scores = [[0.0] * len(group) for group in candidates]
        for which, (row, group) in enumerate(zip(rows, candidates, strict=True)):
            for place, tokens in enumerate(group):
                if not tokens:
                    raise ValueError("an empty candidate has no likelihood")
                self._check_room(len(self.tokens_BT[row]) + len(tokens))
                jobs.append((row, which, place, [int(token) for token in tokens]))
        # The first token of each candidate needs no forward pass: its logits are known.
        known = self._last_BV is not None
        if known and jobs:
            scores = self.first_logps(rows, candidates)
            jobs = [job for job in jobs if len(job[3]) > 1 or whole]
        self._score_trees(jobs, 0 if known else 1, scores, whole, ends)
        return scores

    @torch.inference_mode()
    def first_logps(
        self, rows: Sequence[int], candidates: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[float]]:
        """Return the log-probability of each candidate's first token, without a forward pass.

        It is an upper bound of the candidate's ``score``.

        Args:
            rows: rows of the decoder, none of them rewound since it was fed.
            candidates: for each of ``rows``, its candidates, each a non-empty list of tokens.
        """
        logits_RV = self.whole_BV(rows)
        norms = log_norms(logits_RV, self.call_id).tolist()
        firsts = [[tokens[0] for tokens in group] for group in candidates]
        return [
            [logit - norm for logit in logits_V[tokens].tolist()] if tokens else []
            for logits_V, norm, tokens in zip(logits_RV, norms, firsts, strict=True)
        ]

    @property
    def _takes_trees(self) -> bool:
        """True if the candidates of a row share one tree."""
        return takes_trees(self.model)

    def _score_trees(
        self,
        jobs: list[tuple[int, int, int, list[int]]],
        cut: int,
        scores: list[list[float]],
        whole: bool,
        ends: Sequence[int] | None,
    ) -> None:
        """Score ``jobs`` as trees and add the log-likelihoods to ``scores``."""
        device = self.model.device
        firsts = [row[len(row) - cut : len(row) - cut + 1] if cut else [] for row in self.tokens_BT]
        nodes = DEFAULT_SCORE_LOGITS // int(self.model.config.vocab_size)
        total_J = torch.zeros(len(jobs), device=device)
        for trees in build_trees(
            [(row, tokens) for row, _, _, tokens in jobs], firsts, whole=whole,
            length=self.length, cells=self.score_cells, nodes=nodes, shared=self._takes_trees,
        ):  # fmt: skip
            logits_RNV = self._forward_trees(trees, cut)
            norm_RN = log_norms(logits_RNV, self.call_id)
            steps = [(n, *step) for n, tree in enumerate(trees) for step in tree.steps]
            if whole:
                lasts = [(n, *last) for n, tree in enumerate(trees) for last in tree.ends]
                tree_E, node_E, job_E = torch.tensor(lasts, device=device).T
                places, norm_E = (tree_E, node_E), norm_RN[tree_E, node_E]
                gated = gate_of(self.model) == "sigmoid"
                logp_E = ending_logps(logits_RNV, places, norm_E, self.call_id, ends, gated=gated)
                total_J.index_add_(0, job_E, logp_E)
            if steps:
                tree_S, node_S, token_S, job_S = torch.tensor(steps, device=device).T
                logp_S = logits_RNV[tree_S, node_S, token_S].float() - norm_RN[tree_S, node_S]
                total_J.index_add_(0, job_S, logp_S)
        for (_, which, place, _), logp in zip(jobs, total_J.tolist(), strict=True):
            scores[which][place] += logp

    def _forward_trees(self, trees: Sequence[Tree], cut: int) -> Tensor:
        """Return logits ``[R, N, V]`` after each token of the trees."""
        device, rows = self.model.device, [tree.row for tree in trees]
        before = self.length - cut
        cache = self._copy(torch.tensor(rows, device=device), before)
        if not self._takes_trees:  # single-branch trees need no tree mask
            input_RT = torch.tensor(pad([tree.tokens for tree in trees]), device=device)
            return self._forward(rows, input_RT, cache, keep=input_RT.shape[1])
        begins = [self._columns(row)[0] for row in rows]
        input_RN, position_RN, mask_R1NM = tree_inputs(trees, begins, before, self.model.dtype)
        logits: Tensor = self.model(
            input_ids=input_RN.to(device), position_ids=position_RN.to(device),
            attention_mask=mask_R1NM.to(device), past_key_values=cache, use_cache=True,
        ).logits  # fmt: skip
        return logits

    def _copy(self, index_K: Tensor, length: int) -> Any:
        """Return a cache with the first ``length`` tokens of the given rows."""
        copy = _new_cache()
        for number, layer in enumerate(self._cache.layers):
            if length:
                keys, values = layer.keys[..., :length, :], layer.values[..., :length, :]
                copy.update(keys[index_K], values[index_K], number)
        return copy

    def _forward(self, rows: Sequence[int], input_KT: Tensor, cache: Any, keep: int) -> Tensor:
        """Run the model on tokens of some rows, with mask and positions if their begins differ."""
        begins = [self._columns(row)[0] for row in rows]
        more: dict[str, Any] = {}
        if any(begins):
            before, device = int(cache.get_seq_length()), input_KT.device
            begins_K1 = torch.tensor(begins, device=device)[:, None]
            columns_T = torch.arange(before + input_KT.shape[1], device=device)
            more["attention_mask"] = (columns_T >= begins_K1).long()
            # Clamp, because padding after a candidate may exceed the model's positions.
            positions_KT = (columns_T[before:] - begins_K1).clamp(0, self.context - 1)
            more["position_ids"] = positions_KT
        logits: Tensor = self.model(
            input_ids=input_KT, past_key_values=cache, use_cache=True, logits_to_keep=keep, **more
        ).logits
        return logits

    def _check_room(self, length: int) -> None:
        if length > self.context:
            raise LacyError("E60", tokens=length, context=self.context)


def context_of(model: Any) -> int:
    """Return the model's context length in tokens; very large if there is no limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return int(limit) if limit else 1 << 30


def _new_cache(layers: int = 0) -> Any:
    from lacy.model.cache import new_cache  # transformers takes seconds to import

    return new_cache(layers)


def _filled_cache(states: Sequence[Sequence[tuple[Tensor, Tensor]]], length: int) -> Any:
    """Return a cache with keys and values by layer, with rows aligned at their ends."""
    cache = _new_cache(len(states))
    for layer, parts in zip(cache.layers, states, strict=True):
        layer.fill(parts, length)
    return cache


def pad(rows: Sequence[list[int]]) -> list[list[int]]:
    """Pad on the right with token 0; real tokens never see it because attention is causal."""
    width = max(map(len, rows))
    return [row + [0] * (width - len(row)) for row in rows]
