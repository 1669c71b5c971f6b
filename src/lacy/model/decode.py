"""Decode many texts at once with one KV cache: forced tokens, rewinding, scoring of candidates.

All rows have the same length, so there is no padding, no attention mask and no position arithmetic
that could be wrong. Prompts of different lengths are fed as forced tokens: their common length in
one forward pass, the rest of the longer ones step by step while the short ones already generate.
Finished rows are removed from the cache (``keep``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.model.trees import Tree, build_trees, takes_trees, tree_inputs

DEFAULT_SCORE_CELLS = 65_536
"""Most positions of one scoring pass (rows x length of text and candidates), to bound memory."""

DEFAULT_SCORE_LOGITS = 33_554_432
"""Most logits of one scoring pass (128 MiB in float32)."""


class Decoder:
    """Batched causal decoding over one growing cache.

    Args:
        model: a causal ``transformers`` model (anything called as ``model(input_ids=,
            past_key_values=, use_cache=, logits_to_keep=)`` that returns ``.logits``).
        call_id: the ``<CALL>`` row, excluded from every likelihood; None if there is none.
        score_cells: most positions, of text and candidates, in one pass of ``score``.
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

    @property
    def rows(self) -> int:
        """Number of rows (0 before the first tokens)."""
        return len(self.tokens_BT)

    @property
    def length(self) -> int:
        """Tokens in the cache, the same for every row."""
        return len(self.tokens_BT[0]) if self.tokens_BT else 0

    def feed(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append the same number of tokens to every row.

        Args:
            tokens_BT: at least one token per row.

        Returns:
            ``logits_BV``, float32, for the token after the last one fed. Read only: ``score`` uses
            them.

        Raises:
            LacyError: E60 if the tokens do not fit into the model's context.
        """
        return self._feed(tokens_BT, keep=1)[:, -1]

    def feed_all(self, tokens_BT: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens as ``feed``, but return ``logits_BTV``: those after every token."""
        return self._feed(tokens_BT, keep=0)

    @torch.inference_mode()
    def _feed(self, tokens_BT: Sequence[Sequence[int]], keep: int) -> Tensor:
        """Append tokens and return logits after the last ``keep`` of them (0: after each)."""
        widths = {len(row) for row in tokens_BT}
        if len(widths) != 1 or 0 in widths:
            raise ValueError(f"every row needs the same number of tokens, at least one: {widths}")
        if self.tokens_BT and len(tokens_BT) != self.rows:
            raise ValueError(f"{len(tokens_BT)} rows fed, the decoder holds {self.rows}")
        width = widths.pop()
        self._check_room(self.length + width)
        if not self.tokens_BT:
            self._cache = _new_cache()
            self.tokens_BT = [[] for _ in tokens_BT]
        input_BT = torch.tensor([list(row) for row in tokens_BT], device=self.model.device)
        logits_BTV = self._forward(input_BT, self._cache, keep=keep or width).float()
        self._last_BV = logits_BTV[:, -1]
        for row, tokens in zip(self.tokens_BT, tokens_BT, strict=True):
            row.extend(int(token) for token in tokens)
        return logits_BTV

    def step(self, tokens_B: Sequence[int] | Tensor) -> Tensor:
        """Append one token to every row and return ``logits_BV`` as ``feed`` does."""
        tokens = tokens_B.tolist() if isinstance(tokens_B, Tensor) else tokens_B
        return self.feed([[int(token)] for token in tokens])

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order, and remove the others from the cache."""
        if list(rows) == list(range(self.rows)):
            return
        if self._cache is not None and rows:
            index = torch.tensor(list(rows), device=self.model.device)
            self._cache.batch_select_indices(index)
            if self._last_BV is not None:
                self._last_BV = self._last_BV[index]
        self.tokens_BT = [self.tokens_BT[row] for row in rows]
        if not rows:
            self._cache = self._last_BV = None

    def rewind(self, count: int) -> None:
        """Remove the last ``count`` tokens of every row (at least one must stay)."""
        if count == 0:
            return
        if not 0 < count < self.length:
            raise ValueError(f"cannot remove {count} of {self.length} tokens")
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
        """Return log-likelihoods of candidate continuations; the cache does not change.

        The candidates of all rows go through the model together, those of a row as one tree behind
        its cache (``trees``; if the model does not support them, as one row each over copies of the
        cache), in as few passes as ``score_cells`` allows. The softmax excludes ``<CALL>``.

        Args:
            rows: rows of the decoder.
            candidates: for each of ``rows`` its K candidates, each a non-empty list of tokens.
            whole: multiply by the probability that the candidate ends there, i.e. that one of
                ``ends`` follows (a town may be the beginning of a school's name).
            ends: tokens that may follow a whole value; by default all but ``<CALL>``, which asks
                for the rest of a value.

        Returns:
            For each row, ``log p(candidate | row's tokens)`` in nats, one per candidate.

        Raises:
            LacyError: E60 if a candidate does not fit into the model's context.
        """
        jobs: list[tuple[int, int, int, list[int]]] = []
        scores = [[0.0] * len(group) for group in candidates]
        for which, (row, group) in enumerate(zip(rows, candidates, strict=True)):
            for place, tokens in enumerate(group):
                if not tokens:
                    raise ValueError("an empty candidate has no likelihood")
                self._check_room(len(self.tokens_BT[row]) + len(tokens))
                jobs.append((row, which, place, [int(token) for token in tokens]))
        # The step after the last token fed needs no forward pass: its logits are known.
        last_BV = self._last_BV
        if last_BV is not None and jobs:
            first_BV = self._log_softmax(last_BV)
            for row, which, place, tokens in jobs:
                scores[which][place] = float(first_BV[row, tokens[0]])
            jobs = [job for job in jobs if len(job[3]) > 1 or whole]
        cut = 0 if last_BV is not None else 1
        endings = self._endings(ends) if whole else None
        if takes_trees(self.model):
            self._score_trees(jobs, cut, scores, endings)
            return scores
        for chunk in self._chunks(jobs):
            self._score_chunk(chunk, cut, scores, endings)
        return scores

    def _score_trees(
        self,
        jobs: list[tuple[int, int, int, list[int]]],
        cut: int,
        scores: list[list[float]],
        endings: Tensor | None,
    ) -> None:
        """Add the log-likelihoods of ``jobs``, as trees, to ``scores``."""
        device = self.model.device
        firsts = [row[len(row) - cut : len(row) - cut + 1] if cut else [] for row in self.tokens_BT]
        nodes = DEFAULT_SCORE_LOGITS // int(self.model.config.vocab_size)
        total_J = torch.zeros(len(jobs), device=device)
        for trees in build_trees(
            [(row, tokens) for row, _, _, tokens in jobs], firsts, whole=endings is not None,
            length=self.length, cells=self.score_cells, nodes=nodes,
        ):  # fmt: skip
            logits_RNV = self._forward_trees(trees, cut).float()
            steps = [(n, *step) for n, tree in enumerate(trees) for step in tree.steps]
            lasts = [(n, *last) for n, tree in enumerate(trees) for last in tree.ends]
            if endings is not None:
                tree_E, node_E, job_E = torch.tensor(lasts, device=device).T
                last_EV = logits_RNV[tree_E, node_E]
                logp_E = torch.logsumexp(last_EV[:, endings], -1) - torch.logsumexp(last_EV, -1)
                total_J.index_add_(0, job_E, logp_E)
            if steps:
                tree_S, node_S, token_S, job_S = torch.tensor(steps, device=device).T
                if self.call_id is not None:
                    logits_RNV[..., self.call_id] = -torch.inf
                norm_RN = torch.logsumexp(logits_RNV, -1)
                logp_S = logits_RNV[tree_S, node_S, token_S] - norm_RN[tree_S, node_S]
                total_J.index_add_(0, job_S, logp_S)
        for (_, which, place, _), logp in zip(jobs, total_J.tolist(), strict=True):
            scores[which][place] += logp

    def _forward_trees(self, trees: Sequence[Tree], cut: int) -> Tensor:
        """Return logits ``[R, N, V]`` after each token of trees."""
        device, rows = self.model.device, [tree.row for tree in trees]
        before = self.length - cut
        begins = [self.length - len(self.tokens_BT[row]) for row in rows]
        input_RN, position_RN, mask_R1NM = tree_inputs(trees, begins, before, self.model.dtype)
        cache = self._copy(torch.tensor(rows, device=device), before)
        logits: Tensor = self.model(
            input_ids=input_RN.to(device), position_ids=position_RN.to(device),
            attention_mask=mask_R1NM.to(device), past_key_values=cache, use_cache=True,
        ).logits  # fmt: skip
        return logits

    def _score_chunk(
        self,
        chunk: list[tuple[int, int, int, list[int]]],
        cut: int,
        scores: list[list[float]],
        endings: Tensor | None,
    ) -> None:
        """Add the log-likelihoods of ``chunk`` to ``scores``, from copies of the cache."""
        length = self.length
        inputs, targets = [], []
        for row, _, _, tokens in chunk:
            read = self.tokens_BT[row]
            seen = read[len(read) - cut : len(read) - cut + 1] if cut else []
            inputs.append((seen + tokens)[:-1] if endings is None else seen + tokens)
            targets.append(tokens if cut else tokens[1:])
        width = max(len(tokens) for tokens in inputs)
        device = self.model.device
        input_KT = torch.tensor([_pad(tokens, width) for tokens in inputs], device=device)
        target_KT = torch.tensor([_pad(tokens, width) for tokens in targets], device=device)
        valid_KT = torch.tensor(
            [[1.0] * len(t) + [0.0] * (width - len(t)) for t in targets], device=device
        )
        index_K = torch.tensor([job[0] for job in chunk], device=device)
        cache = self._copy(index_K, length - cut)
        logits_KTV = self._forward_rows([job[0] for job in chunk], input_KT, cache, keep=width)
        logp_KTV = self._log_softmax(logits_KTV.float())
        logp_KT = logp_KTV.gather(-1, target_KT[..., None])[..., 0]
        # where instead of a product: padding may contain -inf, and -inf * 0 is NaN
        logp_K = torch.where(valid_KT > 0, logp_KT, 0.0).sum(-1)
        if endings is not None:
            ends_K = torch.tensor([len(tokens) for tokens in targets], device=device)
            last_KV = logits_KTV[torch.arange(len(chunk), device=device), ends_K].float()
            logp_K = logp_K + torch.logsumexp(last_KV[:, endings], dim=-1)
            logp_K = logp_K - torch.logsumexp(last_KV, dim=-1)
        for (_, which, place, _), logp in zip(chunk, logp_K.tolist(), strict=True):
            scores[which][place] += logp

    def _endings(self, ends: Sequence[int] | None) -> Tensor:
        """Return the ids of the tokens that may follow a whole value."""
        size = int(self.model.config.vocab_size)
        allowed = range(size) if ends is None else ends
        return torch.tensor([n for n in allowed if n != self.call_id], device=self.model.device)

    def _chunks(
        self, jobs: list[tuple[int, int, int, list[int]]]
    ) -> Iterator[list[tuple[int, int, int, list[int]]]]:
        """Group jobs of similar width into chunks within the memory limits."""
        vocabulary = int(self.model.config.vocab_size)
        chunk: list[tuple[int, int, int, list[int]]] = []
        for job in sorted(jobs, key=lambda job: len(job[3])):
            width, size = len(job[3]), len(chunk) + 1
            full = size * (self.length + width) > self.score_cells
            if chunk and (full or size * width * vocabulary > DEFAULT_SCORE_LOGITS):
                yield chunk
                chunk = []
            chunk.append(job)
        if chunk:
            yield chunk

    def _copy(self, index_K: Tensor, length: int) -> Any:
        """Return a cache with the first ``length`` tokens of the given rows."""
        copy = _new_cache()
        for number, layer in enumerate(self._cache.layers):
            if length:
                keys, values = layer.keys[..., :length, :], layer.values[..., :length, :]
                copy.update(keys[index_K], values[index_K], number)
        return copy

    def _forward_rows(self, rows: Sequence[int], input_KT: Tensor, cache: Any, keep: int) -> Tensor:
        """Run ``_forward`` for copies of some rows."""
        return self._forward(input_KT, cache, keep=keep)

    def _forward(self, input_BT: Tensor, cache: Any, keep: int) -> Tensor:
        logits: Tensor = self.model(
            input_ids=input_BT, past_key_values=cache, use_cache=True, logits_to_keep=keep
        ).logits
        return logits

    def _log_softmax(self, logits: Tensor) -> Tensor:
        if self.call_id is not None:
            logits = logits.clone()
            logits[..., self.call_id] = -torch.inf
        return torch.log_softmax(logits, dim=-1)

    def _check_room(self, length: int) -> None:
        if length > self.context:
            raise LacyError("E60", tokens=length, context=self.context)


def context_of(model: Any) -> int:
    """Return the most tokens a model can attend to (its positions); very large without a limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return int(limit) if limit else 1 << 30


def _new_cache() -> Any:
    from lacy.model.cache import new_cache  # transformers takes seconds to import

    return new_cache()


def _pad(tokens: list[int], width: int) -> list[int]:
    """Pad on the right with token 0, which causal attention never sees from a real token."""
    return tokens + [0] * (width - len(tokens))
