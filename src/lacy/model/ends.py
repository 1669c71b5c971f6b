"""Find the tokens at which generation stops."""

from __future__ import annotations

from typing import Any

from lacy.corpus import begin_end, turn_end
from lacy.types import CALL_TOKEN


def end_ids(tokenizer: Any, model: Any = None) -> frozenset[int]:
    """Return the ids of all tokens at which generation stops.

    These are the tokenizer's end token, the token that ends texts in training, the token that ends
    an answer in the chat template, and all end tokens in the model's ``generation_config`` and
    ``config`` (Llama 3 and Gemma list their end-of-turn tokens only there).

    Args:
        tokenizer: the model's tokenizer.
        model: an object with ``generation_config`` or ``config``; None uses only the tokenizer.
    """
    found: list[Any] = [tokenizer.eos_token_id, begin_end(tokenizer)[1], turn_end(tokenizer)]
    for name in ("generation_config", "config"):
        listed = getattr(getattr(model, name, None), "eos_token_id", None)
        found += listed if isinstance(listed, list | tuple) else [listed]
    size, call_id = len(tokenizer), tokenizer.get_vocab().get(CALL_TOKEN)
    ids = (n for n in found if isinstance(n, int) and not isinstance(n, bool))
    return frozenset(n for n in ids if 0 <= n < size and n != call_id)
