"""Train all or a part of a model (``depth``), and store what was trained.

Frozen parts have no gradient, no optimizer state and no copy in a checkpoint:

- ``full``: everything is trained; a checkpoint is a complete model folder.
- ``lora``: low-rank adapters (Hu et al., arXiv 2106.09685) and the ``<CALL>`` row are trained; a
  checkpoint is a folder that ``peft`` reads.
- ``last=N``: the last N layers, the final norm and the row are trained; a checkpoint contains these
  tensors (``trained.safetensors``).
- ``norms``: the scales (and biases) of all norms and the row are trained, for example after the
  matrices were rounded (Norm Tweaking, Li et al., arXiv 2309.02784); stored like ``last=N``.
- ``row``: only the row is trained; a checkpoint is a folder that ``peft`` reads.

``peft`` holds adapters and row, also for ``last=N`` and ``norms``: it trains single rows of a
matrix that is otherwise frozen (``trainable_token_indices``), even if the matrix is also the
embedding. The row is attached to the head alone, because ``<CALL>`` is never an input. After
training, ``merge`` writes the trained parts into the model's weights. All other weights stay
bit-identical.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.model import (
    freeze_biases,
    from_checkpoint,
    gate_of,
    model_fingerprint,
    set_gate,
    write_beside,
    write_model,
)
from lacy.train.config import TrainConfig
from lacy.train.depth import parse_depth

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ADAPTER = "adapter_model.safetensors"
"""File of ``peft``'s adapters."""
TENSORS = "trained.safetensors"
"""File of the trained tensors of ``last=N`` and ``norms``."""
_LAYER = re.compile(r"(?:^|\.)(?:h|layers?|blocks?)\.(\d+)\.")
_FINAL = re.compile(r"(?:^|\.)(?:norm|ln_f|final_\w*norm|final_norm|norm_f)\.(?:weight|bias)$")


@dataclass(frozen=True, slots=True)
class Base:
    """The model that a partial training starts from; its frozen weights are not saved again."""

    place: str
    """Folder, file or name of the model."""
    weights: str
    """Fingerprint of its weights without the ``<CALL>`` row (``model_fingerprint``)."""


@dataclass(slots=True)
class Trained:
    """A model under training, and which part of it is trained.

    Args:
        model: the model; its parameters with ``requires_grad`` are trained.
        depth: ``full``, ``lora``, ``last=N``, ``norms`` or ``row``.
        base: where the frozen weights come from; None for ``full``.
        peft: ``peft``'s view of the model; None for ``full``.
    """

    model: PreTrainedModel
    depth: str = "full"
    base: Base | None = None
    peft: PeftModel | None = None

    @classmethod
    def start(cls, model: PreTrainedModel, config: TrainConfig, place: str) -> Trained:
        """Freeze what the settings do not train, and add adapters.

        Args:
            model: a model whose last row is ``<CALL>``.
            config: the settings (``depth``, ``lora_rank``, ...).
            place: folder, file or name of the model.

        Raises:
            LacyError: E45, the model has no such layers.
        """
        if parse_depth(config.depth)[0] == "full":
            return cls(model)
        base = Base(place, model_fingerprint(model))
        return cls(model, config.depth, base, freeze(model, config, place))

    @classmethod
    def reopen(
        cls,
        folder: Path,
        base: Base,
        config: TrainConfig,
        tokenizer: PreTrainedTokenizerFast,
    ) -> Trained:
        """Load the base and the trained part of a checkpoint.

        Raises:
            LacyError: E172, the base is missing or has changed; E49, the trained part is damaged.
        """
        try:
            model, _ = from_checkpoint(base.place, tokenizer)
        except LacyError as error:
            raise LacyError("E172", path=folder, base=base.place, why=error.what) from error
        if gate := _stored_gate(folder):
            set_gate(model, gate)
        trained = cls.start(model, config, base.place)
        assert trained.base is not None
        if trained.base.weights != base.weights:
            why = "its weights are not those from which this run started"
            raise LacyError("E172", path=folder, base=base.place, why=why)
        trained._load(folder)
        return trained

    def write(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerFast,
        meta: dict[str, Any],
        weights: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the model if everything is trained, else the trained part, into a new folder.

        Args:
            folder: the folder.
            tokenizer: the tokenizer of the model.
            meta: entries of ``lacy.json``.
            weights: the whole weights, if the model has only parts of them.
        """
        if self.peft is None or self.base is None:
            write_model(folder, self.model, tokenizer, meta, weights=weights)
            return
        from safetensors.torch import save_file

        if self._whole_tensors:
            tensors = {name: p.detach().cpu().contiguous() for name, p in self._parameters()}
            save_file(tensors, folder / TENSORS)
        else:
            with _quiet():
                self.peft.save_pretrained(str(folder), save_embedding_layers=False)
        about = adapter_meta(self.model, self.base, self.depth)
        write_beside(folder, self.model, tokenizer, {**about, **meta})

    def merge(self) -> None:
        """Write adapters and row into the model's weights; it becomes an ordinary model."""
        if self.peft is None:
            return
        with _quiet():
            self.peft.merge_and_unload()
        self.model.requires_grad_(True)
        freeze_biases(self.model)
        self.depth, self.peft, self.base = "full", None, None

    @property
    def _whole_tensors(self) -> bool:
        """True if whole tensors of the model are trained, not adapters to them."""
        return parse_depth(self.depth)[0] in ("last", "norms")

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    @torch.no_grad()
    def _load(self, folder: Path) -> None:
        """Restore the trained part written by ``write``."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        last = self._whole_tensors
        try:
            tensors = load_file(folder / (TENSORS if last else ADAPTER))
            if last:
                found = dict(self._parameters())
                if found.keys() != tensors.keys():
                    raise ValueError("it has other tensors than this depth trains")
                for name, parameter in found.items():
                    parameter.copy_(tensors[name])
            else:
                _load_adapter(cast("PeftModel", self.peft), tensors)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            line = str(error).splitlines()[0][:120]
            do = "use another checkpoint, or start again"
            why = f"its trained weights are missing or damaged ({line})"
            raise LacyError("E49", path=folder, why=why, do=do) from error


def adapter_meta(model: PreTrainedModel, base: Base, depth: str) -> dict[str, Any]:
    """Return the entries of ``lacy.json`` that ``load_model`` needs to load an adapter."""
    weights = {"weights": base.weights} if base.weights else {}
    return {"depth": depth, "base": {"place": base.place, **weights}, "gate": gate_of(model)}


def freeze(model: PreTrainedModel, config: TrainConfig, place: str) -> PeftModel | None:
    """Freeze what the settings do not train, and add adapters; for ``full``, do nothing.

    Args:
        model: a model whose last row is ``<CALL>``; changed in place.
        config: the settings (``depth``, ``lora_rank``, ...).
        place: folder, file or name of the model.

    Raises:
        LacyError: E45, the model has no such layers or matrices.
    """
    kind, layers = parse_depth(config.depth)
    if kind == "full":
        return None
    whole: frozenset[str] = frozenset()
    if kind == "last":
        whole = _last_layers(model, layers)
    elif kind == "norms":
        whole = _norms(model)
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed % 2**63)
        peft = _add_adapters(model, config, lora=kind == "lora", place=place)
    for name, parameter in model.named_parameters():
        if name in whole:
            parameter.requires_grad_(True)
    freeze_biases(model)
    return peft


def _add_adapters(
    model: PreTrainedModel, config: TrainConfig, *, lora: bool, place: str
) -> PeftModel:
    """Freeze the model, and add the trainable row and, if requested, LoRA to its layers."""
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import DUMMY_TARGET_MODULES

    head = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is head)
    targets: Any = DUMMY_TARGET_MODULES
    if lora:
        given = config.lora_targets
        targets = "all-linear" if given == ("all-linear",) else list(given)
    settings = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=place,
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,  # type: ignore[arg-type]
        target_modules=targets,
        trainable_token_indices={name.rsplit(".", 1)[-1]: [model.config.vocab_size - 1]},
    )
    try:
        peft = get_peft_model(model, settings)
    except ValueError as error:
        problem = f"\n  - lora_targets {', '.join(config.lora_targets)}: {str(error)[:200]}"
        raise LacyError("E45", count=1, problems=problem) from error
    settings.base_model_name_or_path = place
    return cast("PeftModel", peft)


def _load_adapter(peft: PeftModel, tensors: dict[str, Tensor]) -> None:
    """Set the weights of the adapter; every one must be in the file."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    expected = get_peft_model_state_dict(peft, save_embedding_layers=False)
    if expected.keys() != tensors.keys():
        raise ValueError("it has other tensors than this depth trains")
    with _quiet():
        set_peft_model_state_dict(peft, tensors)


def _last_layers(model: PreTrainedModel, count: int) -> frozenset[str]:
    """Return the names of the parameters of the last layers and the final norm.

    Raises:
        LacyError: E45, the model has fewer layers.
    """
    numbers = {
        name: int(match.group(1))
        for name, _ in model.named_parameters()
        if (match := _LAYER.search(name))
    }
    layers = max(numbers.values(), default=-1) + 1
    if count > layers:
        problem = f"\n  - depth last={count}: the model has {layers} layers"
        raise LacyError("E45", count=1, problems=problem)
    last = {name for name, number in numbers.items() if number >= layers - count}
    outside = {name for name, _ in model.named_parameters() if name not in numbers}
    return frozenset(last | {name for name in outside if _FINAL.search(name)})


def _norms(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of the parameters of all norms.

    Raises:
        LacyError: E45, the norms have no parameters.
    """
    found = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        for own, _ in module.named_parameters(recurse=False)
    }
    if not found:
        problem = "\n  - depth norms: the norms of this model have no weights"
        raise LacyError("E45", count=1, problems=problem)
    return frozenset(found)


def _stored_gate(folder: Path) -> str:
    from lacy._parse import parse_json
    from lacy.model import META

    try:
        return str(parse_json((folder / META).read_text(encoding="utf-8")).get("gate", ""))
    except (OSError, ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings of ``peft`` about choices that are made here on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
