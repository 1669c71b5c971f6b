"""Forward passes of packed rows through any causal model, the ``<CALL>`` row and its gate.

A row contains several documents (``segments`` says which token belongs to which). Positions restart
with each document and attention stays inside it, so a packed document has the same hidden states
and gradients as the document alone.

How: ``transformers`` reads document borders off ``position_ids`` (a step other than +1 is a border)
and builds the block-diagonal mask for sdpa, eager and flash attention alike, but only where neither
``attention_mask`` nor a cache is given; a model's default ``use_cache=True`` silently makes one.
``tests/model/test_forward.py`` checks this for Llama and GPT-2, and ``separates_documents`` checks
any other model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch

from lacy.errors import LacyError
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Gate = Literal["softmax", "sigmoid"]
"""How a ``<CALL>`` logit becomes a probability: among all tokens, or as a separate binary gate
(``call_negative="sigmoid"``)."""


def positions(segments_BT: torch.Tensor) -> torch.Tensor:
    """Return each token's position in its document, int64 (B, T); padding counts as a document."""
    index_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
    starts_BT = torch.zeros_like(segments_BT, dtype=torch.int64)
    changed_BT = segments_BT[:, 1:] != segments_BT[:, :-1]
    starts_BT[:, 1:] = torch.where(changed_BT, index_T[1:], 0)
    return index_T - starts_BT.cummax(dim=1).values


def hidden_states(
    model: PreTrainedModel,
    input_ids_BT: torch.Tensor,
    segments_BT: torch.Tensor | None = None,
    positions_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the last hidden states, after the final norm and before the head.

    Args:
        model: a causal language model (not its wrapper for several devices).
        input_ids_BT: token ids.
        segments_BT: which document of its row a token belongs to (0 is padding); None if every row
            is one document.
        positions_BT: ``positions(segments_BT)`` if the caller has it already.

    Returns:
        hidden_BTD.
    """
    if positions_BT is None and segments_BT is not None:
        positions_BT = positions(segments_BT)
    output: Any = model.base_model(
        input_ids=input_ids_BT, position_ids=positions_BT, use_cache=False, return_dict=True
    )
    hidden_BTD: torch.Tensor = output.last_hidden_state
    return hidden_BTD


def head_weight(model: PreTrainedModel) -> torch.Tensor:
    """Return the output matrix head_VD, last row ``<CALL>``; tied models share it with the input.

    Raises:
        LacyError: E58 if this model's logits are more than ``hidden @ head.T`` (a bias, a cap, a
            scale), for then losses computed from the two would be wrong.
    """
    output: Any = model.get_output_embeddings()
    config = model.config
    extra = [
        name
        for name in ("final_logit_softcapping", "output_multiplier_scale")
        if getattr(config, name, None)
    ]
    extra += [
        name
        for name in ("logit_scale", "logits_scaling")
        if getattr(config, name, 1.0) not in (None, 1.0)
    ]
    if output is None or not hasattr(output, "weight"):
        extra.append("no linear head")
    elif getattr(output, "bias", None) is not None:
        extra.append("head bias")
    if extra:
        raise LacyError("E58", architecture=type(model).__name__, why=", ".join(extra))
    weight_VD: torch.Tensor = output.weight
    return weight_VD


def require_trainable(model: PreTrainedModel) -> None:
    """Raise E58 unless losses computed from hidden states and head are correct for this model.

    Its logits must be ``hidden @ head.T``, its attention must be causal, and packed documents must
    give the same results as single ones.
    """
    head_VD = head_weight(model)
    kind = type(model).__name__
    rows = {len(head_VD), len(model.get_input_embeddings().weight)}  # type: ignore[arg-type]
    if rows != {getattr(model.config, "vocab_size", None)}:
        why = "its tables of tokens are not of one size (a part of a model for images or sounds?)"
        raise LacyError("E58", architecture=kind, why=why)
    try:
        plain, ahead, apart = has_plain_head(model), looks_ahead(model), separates_documents(model)
        cached = continues_from_cache(model)
    except Exception as error:  # a forward pass with other inputs may raise any class
        line = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise LacyError("E58", architecture=kind, why=f"a forward pass fails ({line})") from error
    if not plain:
        why = "its logits are more than its hidden states times its head"
        raise LacyError("E58", architecture=kind, why=why)
    if ahead:
        raise LacyError("E58", architecture=kind, why="its words look at what follows them")
    if not cached:
        why = "what it keeps of a text is more than keys and values"
        raise LacyError("E58", architecture=kind, why=why)
    if not apart:
        why = "documents packed into one row see or shift one another"
        raise LacyError("E58", architecture=kind, why=why)


def has_plain_head(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if logits are hidden states times head, without a scale (measured on a probe)."""
    with _probe(model) as ids_BT:
        expected_BTV = hidden_states(model, ids_BT) @ head_weight(model).T
        logits_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits
        return _gap(expected_BTV, logits_BTV) < tolerance


def looks_ahead(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if a later token changes earlier hidden states, as in BERT (measured on a probe)."""
    with _probe(model) as ids_BT:
        size = len(head_weight(model))
        other_BT = ids_BT.clone()
        other_BT[0, -1] = (other_BT[0, -1] + size // 2) % size
        first_BTD = hidden_states(model, ids_BT)[:, :-1]
        return not _gap(first_BTD, hidden_states(model, other_BT)[:, :-1]) < tolerance


def continues_from_cache(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if a text read in two parts, with our cache, gives the same as read at once."""
    from lacy.model.cache import keeps_keys_and_values, new_cache

    if not keeps_keys_and_values(model):
        return False
    with _probe(model) as ids_BT:
        whole_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits
        cache = new_cache()
        model(input_ids=ids_BT[:, :9], past_key_values=cache, use_cache=True)
        rest_BTV: Any = model(input_ids=ids_BT[:, 9:], past_key_values=cache, use_cache=True).logits
        return _gap(whole_BTV[:, 9:], rest_BTV) < tolerance


def separates_documents(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if documents packed into one row give the same as alone (measured on a probe)."""
    with _probe(model) as ids_BT:
        segments_BT = torch.tensor([[1] * 5 + [2] * 7], device=ids_BT.device)
        packed_BTD = hidden_states(model, ids_BT, segments_BT)
        return _gap(hidden_states(model, ids_BT[:, 5:]), packed_BTD[:, 5:]) < tolerance


@contextlib.contextmanager
def _probe(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Yield ids_BT of one short text, with the model in evaluation mode and without gradients."""
    was_training = model.training
    model.eval()
    head_VD = head_weight(model)
    try:
        with torch.no_grad():
            yield (torch.arange(1, 13, device=head_VD.device) * 7 % len(head_VD)).view(1, 12)
    finally:
        model.train(was_training)


def _gap(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))


def require_call_last(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    """Return the id of ``<CALL>``, which must be the last token.

    Raises:
        LacyError: E57 if the tokenizer has no ``<CALL>`` or tokens after it.
    """
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is None or call_id != len(tokenizer) - 1:
        raise LacyError("E57", path=where)
    return int(call_id)


def freeze_biases(model: PreTrainedModel) -> None:
    """Freeze biases if the config says that the model has none in effect."""
    if getattr(model.config, "lacy_bias_free", False):
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.requires_grad_(False)


def gate_of(model: Any) -> Gate:
    """Return how to read the model's ``<CALL>`` logit: ``config.lacy_gate``, or ``softmax``."""
    return "sigmoid" if getattr(model.config, "lacy_gate", None) == "sigmoid" else "softmax"


def set_gate(model: PreTrainedModel, call_negative: str) -> None:
    """Record in the model's config, which is saved with it, how its ``<CALL>`` logit is trained."""
    model.config.lacy_gate = "sigmoid" if call_negative == "sigmoid" else "softmax"
