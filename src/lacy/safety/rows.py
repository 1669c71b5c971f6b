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
from lacy.safety.conversations import Turn
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
        prompt_tokens: tokens of a prompt that are kept, from its end, and of whole messages before
            it; the template's are not counted.
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
            prompt = prompt_ids(tokenizer, *_cut(tokenizer, sample, prompt_tokens))
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


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, history: Sequence[Turn] = ()
) -> list[int]:
    """Return the ids of a user's prompt, after earlier messages, up to where the reply begins."""
    if getattr(tokenizer, "chat_template", None):
        found: Any = tokenizer.apply_chat_template(
            [*({**m} for m in history), {"role": "user", "content": prompt}],
            add_generation_prompt=True, tokenize=True, return_dict=False,
        )  # fmt: skip
        return [int(token) for token in found]
    lines = [*(m["content"] for m in history), prompt]
    whole = "".join(f"{line}\n" for line in lines)
    return _ids(tokenizer, whole) or [int(tokenizer.eos_token_id or 0)]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]


def _cut(tokenizer: PreTrainedTokenizerBase, sample: Sample, tokens: int) -> tuple[str, list[Turn]]:
    """Return the end of a prompt, and those of the last messages before it that fit as a whole.

    A kept history begins with the system's instructions or with a message of the user, as chat
    templates require.
    """
    ids = _ids(tokenizer, sample.prompt)
    if len(ids) > tokens:
        return str(tokenizer.decode(ids[-tokens:], skip_special_tokens=True)), []
    left, start = tokens - len(ids), len(sample.history)
    for place in range(start - 1, -1, -1):
        left -= len(_ids(tokenizer, sample.history[place]["content"]))
        if left < 0:
            break
        if sample.history[place]["role"] != "assistant":
            start = place
    return sample.prompt, list(sample.history[start:])


def reply_places(micro: MicroBatch) -> tuple[Tensor, Tensor]:
    """Return row and position of every target of a micro-batch."""
    row_N, place_N = micro.valid_BT.nonzero(as_tuple=True)
    return row_N, place_N
