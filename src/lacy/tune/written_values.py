"""Let a model continue articles where values begin, and check whether it generates the value.

The text before each place is that of the article, and the model continues it greedily. All places
of an article share one cache of keys and values: each continuation is a row of a batch that attends
to the text before its place and to its own tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.corpus import Encoded
from lacy.evaluate import contains_value
from lacy.model import keeps_keys_and_values
from lacy.run import write_atomic
from lacy.tune.misses import value_spans
from lacy.tune.progress import progress_bar

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EXTRA_TOKENS = 4
"""The model may generate this many more tokens than the value has, such as "French" before it."""

MAX_TOKENS = 16
"""Longest continuation; longer values count as wrong if their beginning is."""

Flags = NDArray[np.bool_]


def written_wrong(
    model: Any,
    articles: Sequence[Encoded],
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    fingerprint: str,
    bf16: bool,
    progress: bool = True,
) -> Flags | None:
    """Return True for each predicted token that begins a value that the model does not generate.

    Args:
        model: a model whose last row is ``<CALL>``.
        articles: tokens and marks; the tokens after the first of each article are predicted.
        tokenizer: the model's tokenizer.
        folder: where results are stored, so that an interrupted run continues.
        fingerprint: of the model's weights.
        bf16: compute in bfloat16.
        progress: show a progress bar on a terminal.

    Returns:
        The flags; None for a model that keeps more of a text than keys and values.
    """
    if not keeps_keys_and_values(model):
        return None
    parts = []
    with progress_bar("letting the model write", len(articles), progress) as tick:
        for article in articles:
            spans = value_spans(article.marks)
            path = folder / f"{_key(article, fingerprint, bf16)}.written.json"
            wrong = _stored(path, len(spans))
            if wrong is None:
                wrong = _wrong(model, article, spans, tokenizer, bf16)
                write_atomic(path, json.dumps(wrong) + "\n")
            flags = np.zeros(len(article.input_ids), bool)
            flags[[start for start, _ in spans]] = wrong
            parts.append(flags[1:])
            tick(1)
    return np.concatenate(parts)


def _key(article: Encoded, fingerprint: str, bf16: bool) -> str:
    settings = f"{fingerprint} {bf16} {EXTRA_TOKENS} {MAX_TOKENS} "
    found = hashlib.blake2b(settings.encode(), digest_size=16)
    found.update(np.asarray(article.input_ids, np.int32).tobytes())
    found.update(np.asarray(article.marks, np.uint8).tobytes())
    return found.hexdigest()


def _stored(path: Path, count: int) -> list[bool] | None:
    try:
        wrong = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return wrong if isinstance(wrong, list) and len(wrong) == count else None


def _wrong(
    model: Any,
    article: Encoded,
    spans: Sequence[tuple[int, int]],
    tokenizer: PreTrainedTokenizerFast,
    bf16: bool,
) -> list[bool]:
    """Return for each value whether the model's continuation lacks it."""
    spans_used = [(start, end) for start, end in spans if start > 0]
    if not spans_used:
        return [False] * len(spans)
    longest = max(end - start for start, end in spans_used) + EXTRA_TOKENS
    written = continuations(
        model, article.input_ids, [start for start, _ in spans_used], min(longest, MAX_TOKENS),
        bf16=bf16,
    )  # fmt: skip
    wrong = {}
    for (start, end), tokens in zip(spans_used, written, strict=True):
        value = tokenizer.decode(article.input_ids[start:end][:MAX_TOKENS])
        text = tokenizer.decode(tokens[: end - start + EXTRA_TOKENS])
        wrong[start] = not contains_value(text, value)
    return [wrong.get(start, False) for start, _ in spans]


@torch.inference_mode()
def continuations(
    model: Any, ids: Sequence[int], places: Sequence[int], length: int, *, bf16: bool = False
) -> list[list[int]]:
    """Return the model's greedy continuation of a text at several places.

    Args:
        model: a model whose last row is ``<CALL>``, which is never written.
        ids: the text's tokens.
        places: for each continuation, the number of tokens before it, at least 1.
        length: number of tokens to write.
        bf16: compute in bfloat16.
    """
    device = model.get_output_embeddings().weight.device
    places_B = torch.tensor(places, device=device)
    text_1T = torch.tensor([list(ids[: max(places)])], device=device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        output = model(input_ids=text_1T, use_cache=True)
        token_B = output.logits[0, places_B - 1, :-1].argmax(-1)
        cache = output.past_key_values
        cache.batch_repeat_interleave(len(places))
        columns_T = torch.arange(text_1T.shape[1], device=device)
        mask_BT = (columns_T < places_B[:, None]).long()
        tokens = [token_B]
        for step in range(length - 1):
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(places), 1)], dim=1)
            output = model(
                input_ids=token_B[:, None],
                attention_mask=mask_BT,
                position_ids=(places_B + step)[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            token_B = output.logits[:, -1, :-1].argmax(-1)
            tokens.append(token_B)
    written: list[list[int]] = torch.stack(tokens, dim=1).tolist()
    return written
