"""The states before a model's head on true texts, read once and kept on disk.

One file per text holds the state before every predicted token, and for each layer the sum of the
states as unit vectors, from which anisotropy is computed. The file is named after the weights'
fingerprint, the precision, and the text's tokens and marks, so a stopped measurement continues and
never uses the states of another model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lacy.errors import LacyError
from lacy.model import has_plain_head, head_inputs, layer_states, model_fingerprint
from lacy.types import Document, MarkFlag

if TYPE_CHECKING:
    from lacy.corpus import Encoded

FORMAT = 1
"""Version of the files; it increases when their content changes."""

MAX_TOKENS = 4096
"""Tokens of one forward pass, with padding; a longer text is read alone."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class HeadStates:
    """One row per predicted token of all texts (N), and sums over each text (U)."""

    hidden_ND: Tensor
    """The state before the head, float32, from which the token is predicted."""
    text_N: NDArray[np.int64]
    """Index of the token's text."""
    target_N: Tensor
    """The token itself, int64."""
    fact_N: Bools
    """True for each token of a fact."""
    layer_sums_LG: NDArray[np.float32]
    """Sums of the unit vectors of states, ``[U, layer, group, D]``; the groups are the states
    before tokens of facts and before other tokens."""
    texts: int
    """Number of texts (U)."""
    left_out: int
    """Number of texts that are too short to predict anything."""
    digest: str
    """Names model, texts and precision."""

    def __len__(self) -> int:
        return len(self.text_N)


def read_head_states(
    loaded: Any,
    documents: Iterable[Document],
    *,
    tokens: int,
    bf16: bool = False,
    folder: Path | None = None,
    notify: Callable[[str], object] = lambda sentence: None,
) -> HeadStates:
    """Run a model over marked texts.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        documents: texts with marks.
        tokens: maximum number of predicted tokens per text.
        bf16: compute in bfloat16.
        folder: where the states are kept; None keeps nothing.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E260, fewer than two texts have tokens to predict.
    """
    from lacy.annotate import encode_many
    from lacy.model import context_of

    model = loaded.model.eval()
    limit = min(tokens, context_of(model)) + 1
    every = list(encode_many(documents, loaded.tokenizer, limit))
    encoded = [one for one in every if len(one.input_ids) > 1]
    if len(encoded) < 2:
        raise LacyError("E260", texts=len(encoded))
    fingerprint = model_fingerprint(model)
    keys = [_key(one, fingerprint, bf16) for one in encoded]
    stored = {key: _stored(folder, key) for key in keys}
    missing = {key: one for key, one in zip(keys, encoded, strict=True) if stored[key] is None}
    done = len(stored) - len(missing)
    plain = bool(missing) and _is_plain(model)
    for batch in _batches(list(missing), missing):
        found = _compute(model, [missing[key] for key in batch], bf16, plain)
        for key, tensors in zip(batch, found, strict=True):
            stored[key] = tensors
            _store(folder, key, tensors)
        done += len(batch)
        notify(f"states of {done} of {len(stored)} texts")
    return _assemble(encoded, [stored[key] for key in keys], len(every) - len(encoded), keys)


def _key(encoded: Encoded, fingerprint: str, bf16: bool) -> str:
    found = hashlib.blake2b(f"{FORMAT} {fingerprint} {bf16} ".encode(), digest_size=16)
    found.update(np.asarray(encoded.input_ids, np.int32).tobytes())
    found.update(_facts(encoded).tobytes())
    return found.hexdigest()


def _facts(encoded: Encoded) -> Bools:
    """Return True for each predicted token of a fact."""
    return (np.asarray(encoded.marks[1:], np.uint8) & MarkFlag.FACT) > 0


def _batches(keys: list[str], encoded: dict[str, Encoded]) -> Iterable[list[str]]:
    """Yield keys of texts of similar length, whose batches have at most ``MAX_TOKENS``."""
    batch: list[str] = []
    for key in sorted(keys, key=lambda key: len(encoded[key].input_ids), reverse=True):
        if batch and (len(batch) + 1) * len(encoded[batch[0]].input_ids) > MAX_TOKENS:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def _is_plain(model: Any) -> bool:
    """True if the last layer's states are the input of the head."""
    try:
        return has_plain_head(model)
    except LacyError:  # the head has a bias, a scale or a cap
        return False


@torch.inference_mode()
def _compute(
    model: Any, batch: Sequence[Encoded], bf16: bool, plain: bool
) -> list[dict[str, Tensor]]:
    """Return states and sums of each text; attention is causal, so padding changes nothing."""
    width = max(len(one.input_ids) for one in batch) - 1
    rows = [(list(one.input_ids[:-1]) + [0] * width)[:width] for one in batch]
    input_BT = torch.tensor(rows, device=model.device)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        layers = layer_states(model, input_BT)
        rows_1T = () if plain else input_BT.split(1)
        hidden = list(layers[-1]) if plain else [head_inputs(model, r)[0][0] for r in rows_1T]
    found = []
    for row, one in enumerate(batch):
        facts_T = torch.from_numpy(_facts(one)).to(input_BT.device)
        size = len(facts_T)
        groups_GT = torch.stack([facts_T, ~facts_T]).float()
        unit = [
            torch.nn.functional.normalize(layer[row, :size].float(), dim=-1) for layer in layers
        ]
        sums_LGD = torch.stack([groups_GT @ states_TD for states_TD in unit])
        found.append({"hidden": hidden[row][:size].float().cpu(), "sums": sums_LGD.cpu()})
    return found


def _stored(folder: Path | None, key: str) -> dict[str, Tensor] | None:
    from safetensors.torch import load_file

    path = None if folder is None else folder / f"{key}.safetensors"
    return load_file(path) if path is not None and path.is_file() else None


def _store(folder: Path | None, key: str, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    from lacy.disk import write_atomic

    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_atomic(folder / f"{key}.safetensors", save(whole))


def _assemble(
    encoded: Sequence[Encoded], stored: Sequence[Any], left_out: int, keys: Sequence[str]
) -> HeadStates:
    lengths = [len(one.input_ids) - 1 for one in encoded]
    return HeadStates(
        hidden_ND=torch.cat([tensors["hidden"] for tensors in stored]),
        text_N=np.repeat(np.arange(len(encoded)), lengths),
        target_N=torch.tensor([token for one in encoded for token in one.input_ids[1:]]),
        fact_N=np.concatenate([_facts(one) for one in encoded]),
        layer_sums_LG=torch.stack([tensors["sums"] for tensors in stored]).numpy(),
        texts=len(encoded),
        left_out=left_out,
        digest=hashlib.blake2b("".join(keys).encode(), digest_size=16).hexdigest(),
    )
