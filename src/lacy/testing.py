"""Provide a byte tokenizer, a scripted model and a scripted source for tests and demonstrations.

The tokenizer and the cache are real ``transformers`` objects, but the output follows a script, so
that a test of generation takes milliseconds:

    loaded = scripted(next_text=lambda text: " and", call=lambda text: text.endswith(" in"))
    Engine(loaded, ScriptedSource([" Paris"]), "threshold=0").generate(["Born in"])

``check_source`` tests your own source: ``check_source(mine, [Request("Ada was born in")])``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lacy.corpus import TokenText
from lacy.sources import ScriptedSource, check_source
from lacy.types import CALL_TOKEN

__all__ = [
    "ScriptedModel", "ScriptedSource", "byte_tokenizer", "check_source", "scripted",
    "scripted_with",
]  # fmt: skip

END = "<|endoftext|>"


def byte_tokenizer() -> Any:
    """Return a tokenizer of 258 tokens: end-of-text (also begin token), 256 bytes, ``<CALL>``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END: 0, **{letter: n for n, letter in enumerate(alphabet, start=1)}}
    vocabulary[CALL_TOKEN] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([END, CALL_TOKEN])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        extra_special_tokens=[CALL_TOKEN],
    )


class ScriptedModel:
    """A causal model whose output follows a script.

    It has the interface of a ``transformers`` model and stores the tokens it has read in the given
    cache, so tests also exercise batching, rewinding and copying of caches.

    Args:
        tokenizer: its tokenizer, with ``<CALL>`` as last token.
        next_text: returns the continuation of a text; "" ends the text.
        call: returns the call margin after a text (True is +5, False is -5).
        context: the longest text in tokens.
    """

    def __init__(
        self,
        tokenizer: Any,
        next_text: Callable[[str], str],
        call: Callable[[str], float | bool] = lambda text: False,
        *,
        context: int = 1024,
    ) -> None:
        size = len(tokenizer)
        self.config = SimpleNamespace(
            vocab_size=size, max_position_embeddings=context, eos_token_id=0
        )
        self.device = torch.device("cpu")
        self.passes = 0
        self.tokens_read = 0
        self._end = int(tokenizer.eos_token_id)
        self._text = TokenText(tokenizer)
        self._next_text, self._call = next_text, call

    def eval(self) -> ScriptedModel:
        """Return the model itself; evaluation is its only mode."""
        return self

    def __call__(
        self,
        input_ids: Tensor,
        past_key_values: Any = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> Any:
        """Return logits of the last ``logits_to_keep`` positions (0: all) and update the cache."""
        self.passes += 1
        self.tokens_read += input_ids.numel()
        all_BT = input_ids
        if past_key_values is not None:
            # Token ids are stored as keys; float32 represents them exactly.
            stored = input_ids.float()[:, None, :, None]
            keys, _ = past_key_values.update(stored, stored, 0)
            all_BT = keys[:, 0, :, 0].long()
        keep = logits_to_keep or input_ids.shape[1]
        length = all_BT.shape[1]
        rows = [
            torch.stack([self._logits(ids[:end]) for end in range(length - keep + 1, length + 1)])
            for ids in all_BT.tolist()
        ]
        return SimpleNamespace(logits=torch.stack(rows), past_key_values=past_key_values)

    def _logits(self, ids: list[int]) -> Tensor:
        raw = b"".join(map(self._text.bytes_of, ids))
        text = raw.decode("utf-8", errors="ignore")
        logits_V = torch.zeros(self.config.vocab_size)
        # Inside a character, continue the script after the previous character byte by byte.
        rest = raw[len(text.encode()) :]
        wanted = self._next_text(text).encode()
        following = wanted[len(rest) :] if wanted.startswith(rest) else wanted
        tokens = self._text.encode(following.decode("utf-8", errors="ignore")) if not rest else []
        if rest and following:
            tokens = [n for n in range(len(logits_V)) if self._text.bytes_of(n) == following[:1]]
        logits_V[tokens[0] if tokens else self._end] = 10.0
        margin = self._call(text)
        margin = (5.0 if margin else -5.0) if isinstance(margin, bool) else float(margin)
        logits_V[-1] = 10.0 + margin
        return logits_V


@dataclass
class Scripted:
    """A scripted model and its tokenizer, with the fields of ``lacy.model.Loaded``."""

    model: ScriptedModel
    tokenizer: Any
    meta: dict[str, Any] = field(default_factory=dict)


def scripted(
    next_text: Callable[[str], str],
    call: Callable[[str], float | bool] = lambda text: False,
    *,
    context: int = 1024,
) -> Scripted:
    """Return a scripted model over bytes for ``lacy.cascade.Engine``."""
    return scripted_with(byte_tokenizer(), next_text, call, context=context)


def scripted_with(
    tokenizer: Any,
    next_text: Callable[[str], str],
    call: Callable[[str], float | bool] = lambda text: False,
    *,
    context: int = 1024,
) -> Scripted:
    """Return a scripted model over any tokenizer with ``<CALL>`` as its last token."""
    return Scripted(ScriptedModel(tokenizer, next_text, call, context=context), tokenizer)
