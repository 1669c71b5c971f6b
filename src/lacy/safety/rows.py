"""Turn samples into rows of token ids whose targets are those of the reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lacy.corpus import turn_end
from lacy.errors import LacyError
from lacy.objective import IGNORE_INDEX
from lacy.safety.samples import PreferencePair, Sample
from lacy.train import MicroBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """A prompt and a reply as token ids.

    Attributes:
        ids: all ids.
        start: place of the reply's first token.
    """

    ids: tuple[int, ...]
    start: int


class ReplyRows:
    """The rows of samples: for each pair its chosen and then its rejected reply.

    Args:
        samples: pairs, or samples to imitate (one row each).
        tokenizer: the model's tokenizer; prompts take its chat template if it has one.
        prompt_tokens: tokens of a prompt that are kept, from its end; the template's are not
            counted.
        reply_tokens: tokens of a reply that are kept, with the one that ends the turn.

    Raises:
        LacyError: E352, a reply has no tokens.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt_tokens: int = 128,
        reply_tokens: int = 96,
    ) -> None:
        self.pad = int(tokenizer.pad_token_id or 0)
        self.rows: list[ReplyRow] = []
        self.per_sample = 2 if samples and isinstance(samples[0], PreferencePair) else 1
        end = turn_end(tokenizer)
        ending = [] if end is None else [int(end)]
        for sample in samples:
            cut = _last(tokenizer, sample.prompt, prompt_tokens)
            prompt = prompt_ids(tokenizer, cut)
            for reply in replies(sample):
                ids = [*_ids(tokenizer, reply), *ending][:reply_tokens]
                if not ids:
                    raise LacyError("E352", sample=sample.id or "a sample")
                self.rows.append(ReplyRow((*prompt, *ids), len(prompt)))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows) // self.per_sample

    def batch(self, samples: Sequence[int], device: torch.device) -> MicroBatch:
        """Return the rows of some samples as one micro-batch; only replies have targets."""
        numbers = [s * self.per_sample + n for s in samples for n in range(self.per_sample)]
        rows = [self.rows[number] for number in numbers]
        length = max(len(row.ids) for row in rows)
        ids_BT = np.full((len(rows), length), self.pad, np.int64)
        segments_BT = np.zeros((len(rows), length), np.int64)
        reply_BT = np.zeros((len(rows), length), bool)
        for place, row in enumerate(rows):
            ids_BT[place, : len(row.ids)] = row.ids
            segments_BT[place, : len(row.ids)] = 1
            reply_BT[place, row.start - 1 : len(row.ids) - 1] = True
        columns = {"input_ids": ids_BT, "segments": segments_BT}
        micro = MicroBatch.of(columns, device, rows=numbers)
        hidden = torch.as_tensor(~reply_BT).to(device)
        micro.targets_BT = micro.targets_BT.masked_fill(hidden, IGNORE_INDEX)
        return micro

    def batches(self, size: int, seed: int, device: torch.device) -> Iterator[MicroBatch]:
        """Yield batches without end: all samples in a new order, again and again."""
        chance = np.random.default_rng(seed)
        while True:
            order = chance.permutation(len(self))
            for start in range(0, len(order), size):
                yield self.batch(order[start : start + size].tolist(), device)


def replies(sample: Sample) -> tuple[str, ...]:
    """Return the replies of a sample: of a pair the chosen one first."""
    if isinstance(sample, PreferencePair):
        return sample.chosen, sample.rejected
    return (sample.reply,)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the ids of a user's prompt up to where the reply begins."""
    if getattr(tokenizer, "chat_template", None):
        found: Any = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True,
            return_dict=False,
        )  # fmt: skip
        return [int(token) for token in found]
    return _ids(tokenizer, f"{prompt}\n") or [int(tokenizer.eos_token_id or 0)]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]


def _last(tokenizer: PreTrainedTokenizerBase, prompt: str, tokens: int) -> str:
    """Return the end of a prompt."""
    ids = _ids(tokenizer, prompt)
    if len(ids) <= tokens:
        return prompt
    return str(tokenizer.decode(ids[-tokens:], skip_special_tokens=True))


def reply_places(micro: MicroBatch) -> tuple[Tensor, Tensor]:
    """Return row and position of every target of a micro-batch."""
    row_N, place_N = micro.valid_BT.nonzero(as_tuple=True)
    return row_N, place_N
