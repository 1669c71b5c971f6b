"""Run packed rows through any causal model, and handle the ``<CALL>`` row and its gate.

A row contains several documents; ``segments`` assigns tokens to documents. Positions restart with
each document and attention stays inside it, so a packed document has the same hidden states and
gradients as the document alone.

``transformers`` detects document borders in ``position_ids`` (any step other than +1 is a border)
and builds the block-diagonal mask for sdpa, eager and flash attention. It does so only if neither
``attention_mask`` nor a cache is given, and a model's default ``use_cache=True`` creates a cache.
``tests/model/test_forward.py`` checks this for Llama and GPT-2, and ``separates_documents`` checks
any other model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.quantized import require_unquantized
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Gate = Literal["softmax", "sigmoid"]
"""How the ``<CALL>`` logit becomes a probability: by the softmax over all tokens, or as a separate
binary gate (``call_negative="sigmoid"``)."""


def positions(segments_BT: torch.Tensor) -> torch.Tensor:
    """Return each token's position in its document as int64 (B, T); padding is a document, too."""
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
    """Return the last hidden states (after the final norm, before the head).

    Args:
        model: a causal language model, not a wrapper such as DDP.
        input_ids_BT: token ids.
        segments_BT: number of each token's document in its row (0 is padding); None if every row
            is one document.
        positions_BT: ``positions(segments_BT)``, if the caller has already computed it.

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


def layer_states(model: PreTrainedModel, input_ids_BT: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the hidden states after the embedding and after each layer.

    The last ones are those of ``hidden_states``: after the final norm.

    Args:
        model: a causal language model.
        input_ids_BT: token ids; padding on the right is not seen by earlier tokens.

    Returns:
        One hidden_BTD per layer, and one more.
    """
    output: Any = model.base_model(
        input_ids=input_ids_BT, use_cache=False, output_hidden_states=True, return_dict=True
    )
    found: tuple[torch.Tensor, ...] = output.hidden_states
    return (*found[:-1], output.last_hidden_state)


def head_inputs(model: Any, input_ids_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input of the model's head, and the model's own logits.

    For every architecture, the logit of a row is its product with these states, after the model's
    bias, scale or cap, if any, which do not change the order of positions.

    Args:
        model: a causal language model.
        input_ids_BT: token ids; padding on the right is not seen by earlier tokens.

    Returns:
        hidden_BTD and logits_BTV.
    """
    inputs: list[torch.Tensor] = []
    head: Any = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    try:
        logits_BTV: torch.Tensor = model(input_ids=input_ids_BT, use_cache=False).logits
    finally:
        hook.remove()
    return inputs[-1], logits_BTV


@torch.no_grad()
def set_call_row(model: PreTrainedModel, row_D: torch.Tensor) -> None:
    """Write the ``<CALL>`` row so that its logit is the product of ``row_D`` and the head's input.

    A bias of the head is 0 for this row, and a scale of the logits (Cohere, Granite) is divided
    out. A cap (Gemma 2) flattens large logits but keeps their order and sign.

    Args:
        model: changed in place; a tied embedding changes as well, but ``<CALL>`` is never an input.
        row_D: the row, for states as ``head_inputs`` returns them.
    """
    head: Any = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        head.bias[-1] = 0
    head.weight[-1] = row_D.to(head.weight) / logit_scale(model)


def logit_scale(model: PreTrainedModel) -> float:
    """Return the factor between the head's output and the logits; exactly 1 for most models.

    It is measured on small logits, on which a cap has no effect.
    """
    head: Any = model.get_output_embeddings()
    with probe(model) as ids_BT:
        hidden_BTD, logits_BTV = head_inputs(model, ids_BT)
        plain_BTV = torch.nn.functional.linear(hidden_BTD, head.weight, head.bias)
    sizes = plain_BTV.abs()
    small = (sizes > sizes.max() * 1e-3) & (sizes <= sizes.median())
    scale = float((logits_BTV[small] / plain_BTV[small]).median())
    return 1.0 if abs(scale - 1) < 0.01 else scale


def head_weight(model: PreTrainedModel) -> torch.Tensor:
    """Return the output matrix head_VD with ``<CALL>`` as last row; tied models share it.

    Raises:
        LacyError: E58, the model's logits are not ``hidden @ head.T`` (it has a bias, a cap or a
            scale), so losses computed from hidden states and head would be wrong.
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
    """Raise E58 unless losses computed from hidden states and head are correct; E311 if quantized.

    The logits must be ``hidden @ head.T``, attention must be causal, and packed documents must give
    the same results as single documents.
    """
    require_unquantized(model, model.config.name_or_path or "memory", "trained")
    head_VD = head_weight(model)
    kind = type(model).__name__
    rows = {len(head_VD), len(model.get_input_embeddings().weight)}  # type: ignore[arg-type]
    if rows != {getattr(model.config, "vocab_size", None)}:
        why = "its tables of tokens are not of one size (a part of a model for images or sounds?)"
        raise LacyError("E58", architecture=kind, why=why)
    try:
        plain, ahead, apart = has_plain_head(model), looks_ahead(model), separates_documents(model)
        cached = continues_from_cache(model)
    except Exception as error:  # models with other inputs may raise exceptions of any class
        line = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise LacyError("E58", architecture=kind, why=f"a forward pass fails ({line})") from error
    if not plain:
        why = "its logits are more than its hidden states times its head"
        raise LacyError("E58", architecture=kind, why=why)
    if ahead:
        raise LacyError("E58", architecture=kind, why="its attention is not causal")
    if not cached:
        why = "what it keeps of a text is more than keys and values"
        raise LacyError("E58", architecture=kind, why=why)
    if not apart:
        why = "documents packed into one row see or shift one another"
        raise LacyError("E58", architecture=kind, why=why)


def has_plain_head(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if logits are exactly hidden states times head (measured on a probe)."""
    with probe(model) as ids_BT:
        expected_BTV = hidden_states(model, ids_BT) @ head_weight(model).T
        logits_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits
        return relative_error(expected_BTV, logits_BTV) < tolerance


def looks_ahead(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if later tokens change earlier hidden states, as in BERT (measured on a probe)."""
    with probe(model) as ids_BT:
        size = len(head_weight(model))
        other_BT = ids_BT.clone()
        other_BT[0, -1] = (other_BT[0, -1] + size // 2) % size
        first_BTD = hidden_states(model, ids_BT)[:, :-1]
        return not relative_error(first_BTD, hidden_states(model, other_BT)[:, :-1]) < tolerance


def require_decoder(model: PreTrainedModel) -> None:
    """Raise E58 unless a model can continue texts; its head may have a bias, a cap or a scale."""
    kind = type(model).__name__
    if getattr(model.config, "vocab_size", None) is None or model.get_output_embeddings() is None:
        why = "it has parts for images or sounds; save its language model alone in another folder"
        raise LacyError("E58", architecture=kind, why=why)
    try:
        encoder = sees_later_tokens(model)
    except Exception as error:  # models with other inputs may raise exceptions of any class
        why = f"a forward pass fails ({first_line(error)})"
        raise LacyError("E58", architecture=kind, why=why) from error
    if encoder:
        why = "it is an encoder (its attention sees later tokens), which cannot continue a text"
        raise LacyError("E58", architecture=kind, why=why)


def sees_later_tokens(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if later tokens change earlier logits, as in BERT; works for any head."""
    with probe(model) as ids_BT:
        size = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
        other_BT = ids_BT.clone()
        other_BT[0, -1] = (other_BT[0, -1] + size // 2) % size
        first_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        other_BTV: Any = model(input_ids=other_BT, use_cache=False).logits[:, :-1]
        return not relative_error(first_BTV, other_BTV) < tolerance


def continues_from_cache(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if reading a text in two parts with our cache equals reading it at once."""
    from lacy.model.cache import keeps_keys_and_values, new_cache

    if not keeps_keys_and_values(model):
        return False
    with probe(model) as ids_BT:
        whole_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits
        cache = new_cache()
        model(input_ids=ids_BT[:, :9], past_key_values=cache, use_cache=True)
        rest_BTV: Any = model(input_ids=ids_BT[:, 9:], past_key_values=cache, use_cache=True).logits
        return relative_error(whole_BTV[:, 9:], rest_BTV) < tolerance


def separates_documents(model: PreTrainedModel, *, tolerance: float = 1e-3) -> bool:
    """True if packed documents give the same results as single ones (measured on a probe)."""
    with probe(model) as ids_BT:
        segments_BT = torch.tensor([[1] * 5 + [2] * 7], device=ids_BT.device)
        packed_BTD = hidden_states(model, ids_BT, segments_BT)
        return relative_error(hidden_states(model, ids_BT[:, 5:]), packed_BTD[:, 5:]) < tolerance


@contextlib.contextmanager
def probe(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Yield ids_BT of one short text; the model is in evaluation mode and gradients are off."""
    was_training = model.training
    model.eval()
    size = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            yield (torch.arange(1, 13, device=model.device) * 7 % size).view(1, 12)
    finally:
        model.train(was_training)


def relative_error(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Return the largest difference relative to the largest expected value."""
    return float((expected - actual).abs().max() / expected.abs().max().clamp_min(1e-12))


def require_call_last(tokenizer: PreTrainedTokenizerBase, where: str) -> int:
    """Return the id of ``<CALL>``, which must be the last token.

    Raises:
        LacyError: E57, the tokenizer has no ``<CALL>``, or it has tokens after it.
    """
    call_id = tokenizer.get_vocab().get(CALL_TOKEN)
    if call_id is None or call_id != len(tokenizer) - 1:
        raise LacyError("E57", path=where)
    return int(call_id)


def freeze_biases(model: PreTrainedModel) -> None:
    """Freeze all biases if the config says that the model is bias-free."""
    if getattr(model.config, "lacy_bias_free", False):
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.requires_grad_(False)


def gate_of(model: Any) -> Gate:
    """Return the gate in ``config.lacy_gate``, or ``softmax``."""
    return "sigmoid" if getattr(model.config, "lacy_gate", None) == "sigmoid" else "softmax"


def set_gate(model: PreTrainedModel, call_negative: str) -> None:
    """Record in the model's config that its ``<CALL>`` logit was trained, and how."""
    model.config.lacy_gate = "sigmoid" if call_negative == "sigmoid" else "softmax"
    set_taught(model, taught=True)


def competes(model: Any) -> bool:
    """True if ``<CALL>`` competes with the text tokens: it was trained, and not as a gate."""
    return gate_of(model) == "softmax" and taught_to_call(model)


def forbid_call(model: Any) -> None:
    """Let ``generate()`` of plain ``transformers`` write ``<CALL>`` only where it competes.

    The logit of a separate gate is a probability of its own, and that of a row that was only added
    means nothing: GPT-2's text logits, for example, are all far below zero, so either would be the
    likeliest token everywhere.
    """
    settings = getattr(model, "generation_config", None)
    if settings is None:
        return
    call_id = model.config.vocab_size - 1
    others = [n for n in getattr(settings, "suppress_tokens", None) or [] if n != call_id]
    found = others if competes(model) else [*others, call_id]
    settings.suppress_tokens = found or None


def taught_to_call(model: Any) -> bool:
    """False if the model's ``<CALL>`` row was only added (``add_call``) and never trained."""
    return getattr(model.config, "lacy_taught", None) is not False


def set_taught(model: PreTrainedModel, *, taught: bool) -> None:
    """Record in the model's config whether its ``<CALL>`` row was trained."""
    if not taught:
        model.config.lacy_taught = False
    elif hasattr(model.config, "lacy_taught"):
        del model.config.lacy_taught
