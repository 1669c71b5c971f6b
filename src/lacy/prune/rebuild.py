"""Build a smaller model of the same architecture, and check that it computes what it should.

A new model is made from the changed config, and the tensors that remain are copied into it. So
everything that a model derives from its config (head sizes, the place of each layer in a cache,
kinds of layers) is right without knowing the family. What cannot be known is whether the config
describes the smaller model completely. So its logits are compared with those of the original model
in which the removed parts do nothing (``require_equal``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model import (
    FINGERPRINT,
    Loaded,
    freeze_biases,
    probe,
    relative_error,
    require_unquantized,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOLERANCE = 1e-3
"""Largest difference of logits relative to the largest logit, as for other probes of models."""

_OUTDATED = (FINGERPRINT, "parameters")
"""Entries of ``lacy.json`` that are not true of the smaller model."""


def require_prunable(loaded: Loaded) -> None:
    """Raise an error before any work if a model is quantized or broken.

    Raises:
        LacyError: E311, it is quantized; E293, weights are not finite.
    """
    require_unquantized(loaded.model, loaded.name or "the model", "pruned")
    for name, parameter in loaded.model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise LacyError("E293", name=name)


def rebuilt(
    model: PreTrainedModel, changes: Mapping[str, Any], state: Mapping[str, Tensor]
) -> PreTrainedModel:
    """Return a model of the same class with a changed config and the given tensors.

    Args:
        model: the original model; not changed.
        changes: fields of the config with new values.
        state: the tensors of the new model, by name.

    Raises:
        LacyError: E291, the architecture cannot be built like that.
    """
    require_shapes(model, changes, state)
    smaller = _built(model, changes).to(device=model.device, dtype=model.dtype)
    smaller.load_state_dict(dict(state), strict=True)
    smaller.tie_weights()
    smaller.generation_config = model.generation_config
    embedding: Any = smaller.get_input_embeddings()
    embedding.padding_idx = getattr(model.get_input_embeddings(), "padding_idx", None)
    freeze_biases(smaller)
    return smaller.train(model.training)  # type: ignore[no-any-return]


def require_shapes(
    model: PreTrainedModel, changes: Mapping[str, Any], state: Mapping[str, Tensor]
) -> PreTrainedModel:
    """Return the smaller model without values, if its tensors have these shapes.

    The arguments are those of ``rebuilt``; only the shapes of ``state`` matter.

    Raises:
        LacyError: E291, the architecture cannot be built like that.
    """
    with torch.device("meta"):
        smaller = _built(model, changes)
    wanted = smaller.state_dict()
    for name in (*wanted, *state):
        sizes = [list(own[name].shape) if name in own else "none" for own in (state, wanted)]
        if sizes[0] != sizes[1]:
            why = f"{name} would have the size {sizes[0]}, its config describes {sizes[1]}"
            raise _unsupported(model, why)
    return smaller  # type: ignore[no-any-return]


def _built(model: PreTrainedModel, changes: Mapping[str, Any]) -> Any:
    """Return a model of the same class with a changed config; its weights have no values yet.

    Raises:
        LacyError: E291, the architecture cannot be built like that.
    """
    from transformers.initialization import no_init_weights

    config: Any = model.config
    names = getattr(config, "attribute_map", {})
    fields = config.to_dict() | {names.get(name, name): value for name, value in changes.items()}
    try:
        new_config = type(config).from_dict(fields)
        new_config._attn_implementation = config._attn_implementation
        with torch.random.fork_rng(devices=[]), no_init_weights():
            return type(model)(new_config)
    except Exception as error:  # configs and classes raise exceptions of any class
        raise _unsupported(model, first_line(error)) from error


def probe_logits(model: PreTrainedModel) -> Tensor:
    """Return the model's logits_BTV on a short probe."""
    with probe(model) as ids_BT:
        logits_BTV: Any = model(input_ids=ids_BT, use_cache=False).logits
        return logits_BTV.float()  # type: ignore[no-any-return]


def require_equal(expected_BTV: Tensor, smaller: PreTrainedModel) -> None:
    """Raise E291 unless a model's logits on the probe are the expected ones."""
    error = relative_error(expected_BTV, probe_logits(smaller))
    if not error < TOLERANCE:
        why = (
            "its config does not describe the smaller model: logits differ from those of the "
            f"original with these parts switched off (by {error:.2g} of the largest)"
        )
        raise _unsupported(smaller, why)


def with_model(loaded: Loaded, model: PreTrainedModel) -> Loaded:
    """Return a model with the tokenizer and still true entries of ``lacy.json`` of another one."""
    meta = {name: value for name, value in loaded.meta.items() if name not in _OUTDATED}
    return Loaded(model, loaded.tokenizer, meta, None, loaded.name, loaded.notes)


def count_parameters(model: Any) -> int:
    """Return the number of parameters; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def block_list(model: Any, first_block: str) -> str:
    """Return the name of the list that contains a block, such as ``model.layers``."""
    return re.sub(r"\.\d+$", "", first_block)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Within the context, the model is in evaluation mode and gradients are off."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def autocast(model: Any, bf16: bool) -> torch.autocast:
    """Return a context in which the model runs in bfloat16, or as it is.

    Weights change within it, so their copies in bfloat16 must not be kept.
    """
    return torch.autocast(model.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)


def _unsupported(model: Any, why: str) -> LacyError:
    return LacyError("E291", architecture=type(model).__name__, why=why)
