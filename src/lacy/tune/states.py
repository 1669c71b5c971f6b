"""Compute the hidden states of a frozen model on articles once, and keep them on disk.

One file per article holds what every later step needs: the last hidden state before each predicted
token, and the loss, entropy and correctness of the model's own prediction. The file is named after
the weights' fingerprint, the precision and the article's tokens, so a later run reuses the files of
an interrupted or earlier one, but never those of another model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.corpus import Encoded
from lacy.errors import LacyError
from lacy.model import head_inputs, head_weight, hidden_states
from lacy.run import write_atomic
from lacy.tune.progress import progress_bar
from lacy.types import MarkFlag

BATCH = 8
"""Articles per forward pass."""

MAX_LOGITS = 1 << 24
"""Logits that are computed at once (64 MiB in float32)."""

FORMAT = 1
"""Version of the files; it increases when their content changes."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class States:
    """One row per predicted token of all articles; N rows.

    Losses and entropies are in nats and exclude ``<CALL>``.
    """

    hidden_ND: Floats
    """The last hidden state before the token."""
    article_N: NDArray[np.int64]
    """Index of the token's article."""
    input_N: NDArray[np.int64]
    """The token before it."""
    previous_N: NDArray[np.int64]
    """The token before that; at the beginning of a text, the begin token again."""
    target_N: NDArray[np.int64]
    """The token itself."""
    marks_N: NDArray[np.uint8]
    """Its ``MarkFlag`` bits."""
    loss_N: Floats
    """``-log p`` of the token."""
    entropy_N: Floats
    """Entropy of the model's prediction."""
    right_N: NDArray[np.bool_]
    """True if the token is the likeliest one."""

    def __len__(self) -> int:
        return len(self.article_N)

    @property
    def is_start(self) -> NDArray[np.bool_]:
        """True for each token that begins a value."""
        return (self.marks_N & MarkFlag.START) > 0

    @property
    def is_fact(self) -> NDArray[np.bool_]:
        """True for each token of a value."""
        return (self.marks_N & MarkFlag.FACT) > 0


def read_states(
    model: Any,
    articles: Sequence[Encoded],
    folder: Path,
    *,
    fingerprint: str,
    bf16: bool,
    progress: bool = True,
) -> tuple[States, int]:
    """Return the states of all articles, computing those that are not stored.

    Args:
        model: a frozen model with ``<CALL>`` as last row, on the device to use.
        articles: tokens and marks.
        folder: where the states are stored.
        fingerprint: of the model's weights (``lacy.model.model_fingerprint``).
        bf16: compute in bfloat16.
        progress: show a progress bar on a terminal.

    Returns:
        The states, and the number of articles that were computed now.
    """
    paths = [folder / f"{_key(article, fingerprint, bf16)}.safetensors" for article in articles]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    missing.sort(key=lambda number: len(articles[number].input_ids), reverse=True)
    with progress_bar("reading articles", len(articles), progress) as tick:
        tick(len(articles) - len(missing))
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for number, tensors in zip(
                batch, _compute(model, [articles[n].input_ids for n in batch], bf16), strict=True
            ):
                _store(paths[number], tensors)
            tick(len(batch))
    return _assemble(articles, paths), len(missing)


def _key(article: Encoded, fingerprint: str, bf16: bool) -> str:
    found = hashlib.blake2b(f"{FORMAT} {fingerprint} {bf16} ".encode(), digest_size=16)
    found.update(np.asarray(article.input_ids, np.int32).tobytes())
    return found.hexdigest()


@torch.inference_mode()
def _compute(
    model: Any, rows: Sequence[Sequence[int]], bf16: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield hidden states and statistics of each article of a batch."""
    try:
        head_VD = head_weight(model)
    except LacyError:  # the head has a bias, a cap or a scale
        yield from _compute_any_head(model, rows, bf16)
        return
    device = head_VD.device
    width = max(map(len, rows)) - 1
    input_BT = torch.tensor([(list(ids[:-1]) + [0] * width)[:width] for ids in rows], device=device)
    # Attention is causal, so padding on the right changes nothing.
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        hidden_BTD = hidden_states(model, input_BT)
    for ids, hidden_TD in zip(rows, hidden_BTD.float(), strict=True):
        targets_T = torch.tensor(ids[1:], device=device)
        hidden_TD = hidden_TD[: len(targets_T)]
        yield {"hidden": _compact(hidden_TD), **_statistics(hidden_TD, head_VD[:-1], targets_T)}


def _compute_any_head(
    model: Any, rows: Sequence[Sequence[int]], bf16: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the same for a model whose logits are not exactly states times head."""
    for ids in rows:
        input_1T = torch.tensor([list(ids[:-1])], device=model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            hidden_1TD, logits_1TV = head_inputs(model, input_1T)
        targets_T = torch.tensor(ids[1:], device=model.device)
        logp_TV = torch.log_softmax(logits_1TV[0, :, :-1].float(), dim=-1)
        yield {"hidden": _compact(hidden_1TD[0].float()), **_predictions(logp_TV, targets_T)}


def _compact(hidden_TD: torch.Tensor) -> torch.Tensor:
    """Return the states in fp16, or unchanged if they exceed its range."""
    small = hidden_TD.half()
    return (small if bool(small.isfinite().all()) else hidden_TD).cpu().contiguous()


def _statistics(
    hidden_TD: torch.Tensor, text_VD: torch.Tensor, targets_T: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return loss, entropy and correctness of the model's predictions, a few rows at a time."""
    parts = []
    rows = max(1, MAX_LOGITS // len(text_VD))
    for hidden, targets in zip(hidden_TD.split(rows), targets_T.split(rows), strict=True):
        parts.append(_predictions(torch.log_softmax(hidden @ text_VD.float().T, dim=-1), targets))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _predictions(logp_TV: torch.Tensor, targets_T: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return loss, entropy and correctness of predictions."""
    return {
        "loss": -logp_TV.gather(-1, targets_T[:, None])[:, 0].cpu(),
        "entropy": -(logp_TV.exp() * logp_TV.clamp(min=-1e30)).sum(-1).cpu(),
        "right": (logp_TV.argmax(-1) == targets_T).cpu(),
    }


def _store(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    write_atomic(path, save(tensors))


def _assemble(articles: Sequence[Encoded], paths: Sequence[Path]) -> States:
    """Return the stored states of all articles as arrays."""
    from safetensors.numpy import load_file

    stored = [load_file(path) for path in paths]
    ids = [np.asarray(article.input_ids, np.int64) for article in articles]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([arrays[name] for arrays in stored])

    return States(
        hidden_ND=joined("hidden").astype(np.float32),
        article_N=np.repeat(np.arange(len(articles)), [len(row) - 1 for row in ids]),
        input_N=np.concatenate([row[:-1] for row in ids]),
        previous_N=np.concatenate([np.concatenate([row[:1], row[:-2]]) for row in ids]),
        target_N=np.concatenate([row[1:] for row in ids]),
        marks_N=np.concatenate([np.asarray(a.marks[1:], np.uint8) for a in articles]),
        loss_N=joined("loss"),
        entropy_N=joined("entropy"),
        right_N=joined("right").astype(bool),
    )
