"""The small model as a writer of knowledge: greedy text after a soft prompt and a question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from lacy._require import require_at_least
from lacy.blade.soft_prompt import SoftPrompt
from lacy.errors import LacyError
from lacy.model import Loaded, context_of, end_ids, model_fingerprint
from lacy.safety import prompt_ids

INSTRUCTION = "Write what is known that helps to answer this question.\n"
"""Before every question: the writer is tuned with it and asked with it."""

MAX_TOKENS = 48
"""Default for the maximum number of tokens of the knowledge."""

BATCH = 16
"""Questions that are answered together."""


def writer_prompt(question: str) -> str:
    """Return what the small model is asked."""
    return f"{INSTRUCTION}{question.strip()}"


class KnowledgeWriter:
    """Writes the knowledge that questions need, greedily, without ever calling a source.

    Args:
        loaded: the small model.
        soft_prompt: vectors before every prompt, or None.
        max_tokens: maximum number of tokens of the knowledge; it ends at a line's end.
        batch: questions that are answered together.

    Raises:
        LacyError: E12, a setting is invalid; E395, the soft prompt is of another model.
    """

    def __init__(
        self,
        loaded: Loaded,
        soft_prompt: SoftPrompt | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        batch: int = BATCH,
    ) -> None:
        require_at_least("max_tokens", max_tokens, 1)
        require_at_least("batch", batch, 1)
        self.loaded, self.max_tokens, self._batch = loaded, max_tokens, batch
        self.soft_prompt: SoftPrompt | None = None
        self._ends = sorted(end_ids(loaded.tokenizer, loaded.model))
        self.use(soft_prompt)
        self.tokens = 0
        """Number of tokens written so far."""

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the model's weights without the ``<CALL>`` row."""
        return model_fingerprint(self.loaded.model)

    def use(self, soft_prompt: SoftPrompt | None) -> None:
        """Use another soft prompt from now on.

        Raises:
            LacyError: E395, it is of another model.
        """
        if soft_prompt is not None:
            soft_prompt.require_fits(self.loaded, self.fingerprint)
        self.soft_prompt = soft_prompt

    def write(self, questions: Sequence[str]) -> list[str]:
        """Return the knowledge for each question, in their order.

        Raises:
            LacyError: E60, a question does not fit into the model's context.
        """
        rows = [prompt_ids(self.loaded.tokenizer, writer_prompt(one)) for one in questions]
        room = context_of(self.loaded.model) - self.max_tokens - self._prefix
        for row in rows:
            if len(row) > room:
                used = len(row) + self.max_tokens + self._prefix
                raise LacyError("E60", tokens=used, context=context_of(self.loaded.model))
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        found = [""] * len(rows)
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            written = self._write([rows[place] for place in places])
            for place, text in zip(places, written, strict=True):
                found[place] = text
        return found

    @property
    def _prefix(self) -> int:
        return 0 if self.soft_prompt is None else len(self.soft_prompt.vectors_TD)

    @torch.inference_mode()
    def _write(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Generate after rows of token ids, which are padded on the left."""
        model: Any = self.loaded.model
        width, device = max(map(len, rows)), model.device
        ids_BT = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
        mask_BT = torch.tensor(
            [[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device
        )
        inputs_BTD = model.get_input_embeddings()(ids_BT)
        if self.soft_prompt is not None:
            # The vectors stand directly before the row's own tokens, after its padding.
            vectors_PD = self.soft_prompt.vectors_TD.to(inputs_BTD)
            inputs_BTD, mask_BT = _with_prefix(inputs_BTD, mask_BT, vectors_PD)
        output_BT = model.generate(
            inputs_embeds=inputs_BTD, attention_mask=mask_BT, do_sample=False, num_beams=1,
            max_new_tokens=self.max_tokens, suppress_tokens=[self.loaded.call_id],
            pad_token_id=self._ends[0] if self._ends else 0, eos_token_id=self._ends or None,
            temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, use_cache=True,
        )  # fmt: skip
        texts = []
        for row in output_BT.tolist():
            own = row[: next((n for n, one in enumerate(row) if one in self._ends), len(row))]
            self.tokens += len(own)
            text = str(self.loaded.tokenizer.decode(own, skip_special_tokens=True)).strip()
            texts.append(text.splitlines()[0].strip() if text else "")
        return texts


def _with_prefix(
    inputs_BTD: torch.Tensor, mask_BT: torch.Tensor, vectors_PD: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put vectors between the padding and the first token of each row."""
    rows, width, _ = inputs_BTD.shape
    prefix = len(vectors_PD)
    found_BTD = inputs_BTD.new_zeros((rows, prefix + width, inputs_BTD.shape[2]))
    found_BT = mask_BT.new_zeros((rows, prefix + width))
    for row, padding in enumerate((mask_BT == 0).sum(1).tolist()):
        found_BTD[row, padding : padding + prefix] = vectors_PD
        found_BTD[row, padding + prefix :] = inputs_BTD[row, padding:]
        found_BT[row, padding:] = 1
    return found_BTD, found_BT
