"""Load the weights of a model and require that every weight comes from its files.

``transformers`` initialises missing weights at random with a warning, and runs code in a model's
folder if the user types "y". In lacy, both are errors.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.model.files import check_complete, damaged_model, read_model_json, stored_tensors
from lacy.model.quantized import plain_parts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""File patterns to download from the Hub; they match neither code nor pickles."""

BODY = re.compile(r"(^|\.)(h|layers?|blocks?)\.\d+\.")
"""Matches the names of weights in the layers of a model."""

HARMLESS = re.compile(r"(inv_freq|masked_bias|\.attn\.bias|\.attention\.bias|rotary_emb\..*)$")
"""Matches constants that older versions of ``transformers`` stored with the weights."""


def read_model(
    place: Path | str,
    *,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    quantization: Any = None,
) -> PreTrainedModel:
    """Load the causal language model of a folder or Hub name.

    Args:
        place: a folder, or a name on the Hub (downloaded first, safetensors only).
        revision: Hub revision.
        dtype: dtype of the weights; None means fp32, ``"auto"`` the dtype in the file.
        quantization: a config of ``transformers`` by which the weights are quantized while they are
            loaded.

    Raises:
        LacyError: E55, no model; E56, damaged, incomplete, or shapes differ from its config; E58,
            the architecture is unknown to ``transformers`` or not a causal language model; E130,
            quantised in a way that lacy does not read; E131, an adapter; E132, it needs its own
            code; E133, weights contain NaN or infinity.
    """
    folder = place if isinstance(place, Path) else download(place, revision)
    check_complete(folder)
    require_causal_lm(folder)
    model, info = _open(folder, dtype, quantization)
    lacking = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if lacking:
        raise damaged_model(folder, f"{len(lacking)} weights missing, e.g. {lacking[0]}")
    extra = sorted(k for k in info["unexpected_keys"] if BODY.search(k) and not HARMLESS.search(k))
    if extra:
        why = f"{len(extra)} weights have no place in the model of its config, e.g. {extra[0]}"
        raise damaged_model(folder, why, "put back the config.json that belongs to these weights")
    require_finite(model, place)
    _untie_if_different(model)
    return model


def _untie_if_different(model: Any) -> None:
    """Untie embedding and head in the config if the files contain two different matrices.

    ``transformers`` loads both, but the next resize or save would merge them.
    """
    config = model.config.get_text_config()
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    own = hasattr(head, "weight") and head.weight is not embedding.weight
    if own and getattr(config, "tie_word_embeddings", False):
        config.tie_word_embeddings = model.config.tie_word_embeddings = False


def require_finite(model: Any, place: Path | str) -> None:
    """Raise E133 if a weight is NaN or infinite."""
    import torch

    named = (p for item in model.state_dict().items() for p in plain_parts(*item))
    for name, weight in named:
        if not weight.is_floating_point() or weight.device.type == "meta":
            continue
        # The sum is fast and needs no memory; check all numbers only if it is not finite.
        if not torch.isfinite(weight.float().sum()) and not torch.isfinite(weight).all():
            raise LacyError("E133", path=place, name=name)


def _open(
    folder: Path, dtype: torch.dtype | str | None, quantization: Any
) -> tuple[PreTrainedModel, Any]:
    """Load the model; return it with the loading report of ``transformers``."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {
        "dtype": torch.float32 if dtype is None else dtype,
        "use_safetensors": True,
        "trust_remote_code": False,
        "output_loading_info": True,
    }
    if quantization is not None:
        options["quantization_config"] = quantization

    def read(**more: Any) -> tuple[PreTrainedModel, Any]:
        with quiet():
            opened: Any = AutoModelForCausalLM.from_pretrained(folder, **options, **more)
        model, info = opened
        return model, info

    try:
        try:
            return read(attn_implementation="sdpa")
        except ValueError as error:
            if "attention implementation" not in str(error):
                raise
            return read()  # no sdpa kernel for this family: its default is slower but equivalent
    except (SafetensorError, RuntimeError) as error:
        raise damaged_model(folder, _shape_mismatch(folder) or _lines(error)) from error
    except OSError as error:
        do = "give a causal model with safetensors"
        raise LacyError("E55", path=folder, why=first_line(error), do=do) from error
    except ImportError as error:
        raise _unknown(folder, f"transformers needs a package for it ({_lines(error)})") from error
    except Exception as error:  # inconsistent configs raise exceptions of any class
        what = f"{type(error).__name__}: {_lines(error)}"
        raise damaged_model(folder, f"config.json does not make a model ({what})") from error


def _shape_mismatch(folder: Path) -> str:
    """Describe the first weight with another shape than in the config, or return ""."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            wanted = AutoModelForCausalLM.from_config(config, trust_remote_code=False).state_dict()
    except Exception:  # the config is invalid; the caller's error says why
        return ""
    for name, (_, shape) in sorted(stored_tensors(folder).items()):
        expected = wanted.get(name)
        if expected is not None and tuple(expected.shape) != shape:
            return f"{name} is of shape {shape}, config.json wants {tuple(expected.shape)}"
    return ""


def require_causal_lm(folder: Path) -> None:
    """Raise E58 or E132 unless ``transformers`` itself contains this causal language model."""
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = read_model_json(folder / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str | None):
        raise damaged_model(folder, "config.json: model_type is not a name")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if kind not in CONFIG_MAPPING_NAMES and config.get("auto_map"):
        raise LacyError("E132", path=folder, what="model", kind=kind)
    if kind is None:
        raise damaged_model(folder, "config.json names no model_type")
    known = kind in CONFIG_MAPPING_NAMES
    why = "it is no causal language model" if known else f"transformers {__version__} has none"
    raise _unknown(folder, why, kind)


def _unknown(folder: Path, why: str, kind: str | None = None) -> LacyError:
    kind = kind or str(read_model_json(folder / "config.json").get("model_type"))
    return LacyError("E58", architecture=kind, why=why)


def download(name: str, revision: str | None) -> Path:
    """Download a model from the Hub without code, and return its folder."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=list(HUB_FILES), ignore_patterns="*/*"
        )
    except Exception as error:  # unknown name, no network, no permission: of different classes
        do = "check the name; a model on the Hub must be a causal one with safetensors"
        raise LacyError("E55", path=name, why=first_line(error), do=do) from error
    return Path(found)


def _lines(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:300]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and messages of ``transformers``; problems are raised as errors."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
