"""Build models from presets or from any causal checkpoint, with ``<CALL>`` as the last row.

GPT-2 in ``transformers`` always has biases, but the paper's 334M (§5.1) has none (24 layers of
width 1024, tied, 32,001 tokens: 334.8M). So the ``gpt2`` presets freeze the biases at their initial
zero: the learned function is the bias-free one, the file contains 0.3M zeros, and
``config.lacy_bias_free`` makes ``load_model`` freeze them again. The learned position table (1.0M
at 1024) cannot be omitted either; nanoGPT, and apparently the paper, does not count it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.ends import end_ids
from lacy.model.forward import freeze_biases, require_call_last, require_trainable, set_taught
from lacy.model.naming import resolve
from lacy.model.presets import Preset, get_preset
from lacy.model.weights import download, read_model
from lacy.types import CALL_TOKEN

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Settings of ``generate`` that have an effect only with ``do_sample``."""


def build_model(
    preset: str | Preset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    context: int,
    seed: int = 0,
    **overrides: Any,
) -> PreTrainedModel:
    """Build a model in fp32; equal arguments give equal weights. The global RNG is not changed.

    Args:
        preset: a name in ``PRESETS``, or your own shape.
        tokenizer: a tokenizer with ``<CALL>`` as last token; its size is the vocabulary size.
        context: tokens of the longest document; a hard limit only with a position table (GPT-2).
        seed: seed of the initial weights.
        overrides: fields of ``Preset`` to change, e.g. ``layers=2``.

    Raises:
        LacyError: E12, unknown preset or field; E57, the tokenizer has no ``<CALL>``.
    """
    from transformers import AutoModelForCausalLM

    shape = preset if isinstance(preset, Preset) else get_preset(preset)
    try:
        shape = replace(shape, **overrides)
    except TypeError as error:
        raise LacyError(
            "E12", key="model", value=sorted(overrides), why=str(error), do="see lacy.model.presets"
        ) from None
    require_call_last(tokenizer, shape.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            _config(shape, tokenizer, context), dtype=torch.float32, attn_implementation="sdpa"
        )
    if shape.family == "llama":
        _scale_residuals(model, shape.layers)
    freeze_biases(model)
    return model


def from_checkpoint(
    name: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load any causal language model (folder or Hub name) in fp32 and make ``<CALL>`` its last row.

    Embedding and head are resized to exactly ``len(tokenizer)`` rows. A new ``<CALL>`` row is the
    mean of the other rows in both, so its logit starts at the mean of all logits and takes almost
    no probability from other tokens. ``<CALL>`` never occurs as an input.

    Args:
        name: folder of a model or a run, or a name on the Hub.
        tokenizer: the tokenizer that encoded the data; None uses the checkpoint's own.
        revision: Hub revision.

    Returns:
        Model and tokenizer.

    Raises:
        LacyError: E58, head or masks of the architecture are not supported; E59, ``tokenizer``
            differs from the checkpoint's; and the errors of ``read_model`` and ``load_tokenizer``.
    """
    from lacy.corpus import load_tokenizer

    found = resolve(name)
    place = found if isinstance(found, Path) else download(found, revision)
    model = read_model(place)
    require_trainable(model)
    own = load_tokenizer(place)
    if tokenizer is not None:
        _require_same_text_tokens(place, own, tokenizer)
    chosen = tokenizer if tokenizer is not None else own
    require_call_last(chosen, str(place))
    rows = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    had_call = rows == len(chosen) and _has_call(place)
    resize_rows(model, len(chosen), had_call=had_call)
    _unset_padding(model, chosen)
    fix_generation_settings(model, chosen)
    return model, chosen


def fix_generation_settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the settings for ``generate`` consistent with training, and valid for saving.

    All end tokens are listed, and the begin token is the one of training. Sampling values without
    ``do_sample`` have no effect but make ``transformers`` refuse to save, so they are removed.
    """
    from lacy.corpus import begin_end

    begin, _ = begin_end(tokenizer)  # type: ignore[arg-type]
    settings: Any = model.generation_config
    listed = settings.eos_token_id
    listed = list(listed) if isinstance(listed, list | tuple) else [listed]
    ends = [n for n in listed if n is not None]
    ends += sorted(end_ids(tokenizer, model) - set(ends))
    settings.eos_token_id = ends[0] if len(ends) == 1 else ends
    settings.bos_token_id = model.config.bos_token_id = begin
    if not settings.do_sample:
        for name in SAMPLING:
            setattr(settings, name, None)
    if hasattr(model.config, "auto_map"):  # refers to code that the saved folder does not contain
        del model.config.auto_map


@torch.no_grad()
def _scale_residuals(model: PreTrainedModel, layers: int) -> None:
    """Scale the output of each layer by 1/sqrt(2 layers), as GPT-2 does and Llama's code does not.

    Small models learn much faster with it: after 250 steps of ``demo`` at a learning rate of 6e-3,
    the validation loss is 2.33 nats per token with it and 2.62 without (3.04 with std 0.02
    everywhere).
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.mul_((2 * layers) ** -0.5)


def _config(shape: Preset, tokenizer: PreTrainedTokenizerBase, context: int) -> PretrainedConfig:
    """Make the ``transformers`` config of a shape.

    ``pad_token_id`` stays unset, because it would equal bos and Llama would freeze that row at
    zero.
    """
    from transformers import GPT2Config, LlamaConfig

    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        "tie_word_embeddings": shape.tied,
    }
    if shape.family == "gpt2":
        extra: dict[str, Any] = {"lacy_bias_free": True}
        return GPT2Config(
            **shared,
            n_positions=context,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_inner=shape.ffn,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **extra,
        )
    return LlamaConfig(
        **shared,
        max_position_embeddings=context,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.ffn,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        initializer_range=shape.width**-0.5,  # SmolLM2's rule: initial logits have unit scale
    )


def add_call(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make ``<CALL>`` the last row of a model that was not taught to call, and record this.

    The rows of all other tokens stay as they are, so the text distribution does not change. Rows
    without a token (padding of the vocabulary) are dropped.

    Args:
        model: changed in place.
        tokenizer: its tokenizer, with ``<CALL>`` as last token.

    Raises:
        LacyError: E58, the vocabulary of this architecture cannot be resized.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            resize_rows(model, len(tokenizer), had_call=False)
    except Exception as error:  # models of several modalities raise exceptions of any class
        why = f"its vocabulary cannot be resized ({first_line(error)})"
        raise LacyError("E58", architecture=type(model).__name__, why=why) from error
    _unset_padding(model, tokenizer)
    fix_generation_settings(model, tokenizer)
    set_taught(model, taught=False)


@torch.no_grad()
def resize_rows(model: PreTrainedModel, size: int, *, had_call: bool) -> None:
    """Resize embedding and head to ``size`` rows; new rows are the mean of the old rows.

    Args:
        model: changed in place.
        size: number of rows; the last one is ``<CALL>``.
        had_call: True if ``<CALL>`` already had a row, which is kept.
    """
    from transformers.initialization import no_init_weights

    old = len(model.get_input_embeddings().weight)  # type: ignore[arg-type]
    if had_call:
        model.resize_token_embeddings(size, mean_resizing=False)
        return
    with no_init_weights():  # random numbers for the whole table would only be overwritten
        model.resize_token_embeddings(size, mean_resizing=False)
    head: Any = model.get_output_embeddings()
    kept = min(old, size - 1)
    tables = [model.get_input_embeddings().weight, head.weight, getattr(head, "bias", None)]
    for table in tables:
        if table is not None:
            table[kept:] = table[:kept].mean(dim=0)  # type: ignore[index, operator]


def _unset_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the padding row trainable if it is also the begin or end token of texts."""
    from lacy.corpus import begin_end

    around = (tokenizer.bos_token_id, tokenizer.eos_token_id, *begin_end(tokenizer))  # type: ignore[arg-type]
    if tokenizer.pad_token_id in (None, *around):
        model.config.pad_token_id = None
        embedding: Any = model.get_input_embeddings()
        embedding.padding_idx = None


def _has_call(place: Path) -> bool:
    """True if the stored tokenizer has ``<CALL>``, so that its row was trained."""
    try:
        return f'"{CALL_TOKEN}"' in (place / "tokenizer.json").read_text(encoding="utf-8")
    except OSError:
        return False


def _require_same_text_tokens(
    place: str | Path,
    model_tokenizer: PreTrainedTokenizerBase,
    data_tokenizer: PreTrainedTokenizerBase,
) -> None:
    from lacy.corpus import tokenizer_fingerprint

    # Ignore begin and end: the data determine them (lacy data mark --begin-token).
    prints = {
        tokenizer_fingerprint(each, with_begin_end=False)
        for each in (model_tokenizer, data_tokenizer)
    }  # type: ignore[arg-type]
    if len(prints) > 1:
        raise LacyError(
            "E59",
            path=place,
            why=f"the data was encoded with another tokenizer ({len(data_tokenizer)} tokens) than "
            f"the model's ({len(model_tokenizer)})",
            do=f"annotate the data with the model's tokenizer: lacy data mark --tokenizer {place}",
        )
