"""Make a separate gate readable through a server that reports only log-probabilities.

A gate reads the logit of ``<CALL>`` itself (``lacy_gate: sigmoid``), but servers report
log-probabilities, from which logits are known only up to a constant; and as the logit does not
compete with those of other tokens, ``<CALL>`` is rarely among the likeliest tokens, which alone are
reported. One more row solves both problems. With a shared vector ``c``, the file contains

    <CALL>:           w + c        (w is the gate's row)
    <CALL_REFERENCE>: c

so ``log p(<CALL>) - log p(<CALL_REFERENCE>) = w·h``, the gate's logit, whatever ``c`` is. ``c``
makes both rows likely enough to be reported: it is a linear estimate of the largest text logit,
plus an offset. The file forbids both tokens (``tokenizer.ggml.suppress_tokens``), so other clients
of the server generate exactly the text that the model alone would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.corpus import TokenText, begin_end
from lacy.model.forward import head_weight, hidden_states, set_gate
from lacy.types import CALL_TOKEN

REFERENCE_TOKEN = "<CALL_REFERENCE>"
"""Name of the token after ``<CALL>`` in GGUF files of models with a separate gate."""

REPORTED = 20
"""Number of likeliest tokens among which the two rows should be; servers' usual limit."""

_TOKENS = 2048
"""Number of tokens to which the shared vector is fitted."""

_LENGTH = 128
"""Tokens read of each text."""

_RIDGE = 0.01
"""Weight of the penalty on the shared vector, relative to the mean squared hidden state."""

_OFFSETS = (8.0, 10.0)
"""Smallest and largest offset in nats. With a larger one, the probability of all text tokens would
be too small to compute as 1 minus that of the two rows in 32-bit numbers."""


def gate_rows(
    loaded: Any,
    texts: Sequence[str] = (),
    rounded: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda rows: rows,
) -> NDArray[np.float32]:
    """Return the rows of ``<CALL>`` and ``<CALL_REFERENCE>``, of shape (2, D).

    Args:
        loaded: a model with a separate gate.
        texts: texts like those that it will write; by default biographies of a made-up world. If
            they differ, the rows are more often not among the likeliest tokens.
        rounded: rounds rows as the file will.
    """
    head_VD = head_weight(loaded.model).detach().float().cpu()
    parts = [_states(loaded, text, head_VD) for text in _enough(loaded, texts)]
    needed = max(_needed(parts[::2], parts[1::2]), _needed(parts[1::2], parts[::2]))
    offset = min(max(_OFFSETS[0], needed), _OFFSETS[1])
    shared_D = _shared_vector(parts, offset)
    # The reference is rounded first, so that the gate's row is added to what the file contains.
    reference = rounded(shared_D.float().numpy()[None])
    call = reference + head_VD[-1].numpy()
    return np.concatenate([call, reference]).astype(np.float32)


def restore_call(model: Any, tokenizer: Any) -> None:
    """Undo what ``write_gguf`` changed in a model with ``<CALL>`` that was read from GGUF.

    ``<CALL>`` becomes a special token again. If there is a reference row, it is subtracted from the
    row of ``<CALL>`` and removed, and the config says that the gate is separate. All other models
    stay as they are.

    Args:
        model: changed in place.
        tokenizer: a fast tokenizer; changed in place.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"].get("vocab")
    if not isinstance(vocabulary, dict) or CALL_TOKEN not in vocabulary:
        return
    call_id = vocabulary.pop(CALL_TOKEN)
    gated = vocabulary.pop(REFERENCE_TOKEN, None) == call_id + 1
    known = [token for token in state["added_tokens"] if token["id"] < call_id]
    call = {"id": call_id, "content": CALL_TOKEN, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": True}  # fmt: skip
    state["added_tokens"] = [*known, call]
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    if gated:
        with torch.no_grad():
            rows_VD = model.get_output_embeddings().weight
            rows_VD[call_id] -= rows_VD[call_id + 1]
        model.resize_token_embeddings(call_id + 1)
        set_gate(model, "sigmoid")


class _States(NamedTuple):
    """The tokens of one text: hidden states, and the largest and the last reported text logit."""

    hidden_ND: torch.Tensor
    best_N: torch.Tensor
    last_N: torch.Tensor


@torch.inference_mode()
def _states(loaded: Any, text: str, head_VD: torch.Tensor) -> _States:
    """Read the beginning of a text."""
    ids = TokenText(loaded.tokenizer).encode(text)[: min(_LENGTH, loaded.context) - 1]
    row = torch.tensor([[begin_end(loaded.tokenizer)[0], *ids]], device=loaded.model.device)
    hidden_ND = hidden_states(loaded.model, row)[0].float().cpu()
    count = min(REPORTED - 2, len(head_VD) - 1)
    top_NK = (hidden_ND @ head_VD[:-1].T).topk(count, dim=1).values.double()
    return _States(hidden_ND.double(), top_NK[:, 0], top_NK[:, -1])


def _needed(fitted: Sequence[_States], others: Sequence[_States]) -> float:
    """Return the offset with which both rows are reported at all but 0.1% of the other tokens."""
    if not fitted or not others:
        return 0.0
    shared_D = _shared_vector(fitted, 0.0)
    lacking_N = torch.cat([part.last_N - part.hidden_ND @ shared_D for part in others])
    return float(lacking_N.quantile(0.999))


def _shared_vector(parts: Sequence[_States], offset: float) -> torch.Tensor:
    """Return the vector whose product with a hidden state is about the largest logit plus offset.

    A ridge regression without a constant term, because a row of the head has none.
    """
    x_ND = torch.cat([part.hidden_ND for part in parts])
    wanted_N = torch.cat([part.best_N for part in parts]) + offset
    squares_DD = x_ND.T @ x_ND
    squares_DD.diagonal().add_(_RIDGE * float(squares_DD.diagonal().mean()))
    return torch.linalg.solve(squares_DD, x_ND.T @ wanted_N)


def _enough(loaded: Any, texts: Sequence[str]) -> Iterator[str]:
    """Yield texts until they have enough tokens."""
    from lacy.world import make_world

    left = _TOKENS
    for text in texts or (d.text for d in make_world(people=80).documents("train")):
        if left <= 0:
            return
        left -= min(_LENGTH, len(TokenText(loaded.tokenizer).encode(text)))
        yield text
