"""Training of the networks for ``train_verifier.py``."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from verifier_pairs import article_pairs, read_articles, triple_pairs

from lacy.encoder import KeysValues
from lacy.judges.inputs import FactInput, fact_batch, used_windows
from lacy.judges.network import FactBatch, FactEncoder
from lacy.judges.pages import WINDOW, Page
from lacy.judges.pieces import WordPieces
from lacy.judges.protocol import Claim
from lacy.judges.similarity import WordVectors
from lacy.judges.verifier import Verifier

SMOOTHING = 0.03
"""The targets are this and 1 minus this: people's labels are not all right."""

SAVE_EVERY = 100
LINEAR = ["query", "key", "value", "out", "up", "down"]
"""Parts of a layer that get matrices of low rank."""
NEW = ("flags", "head", "score")
"""Parts that are trained from scratch."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained; ``rank`` 0 trains all of its layers."""

    lr: float
    epochs: int
    facts: int
    rank: int
    seed: int


@dataclass(frozen=True)
class Examples:
    """Labelled facts, prepared for the network and the regressions; one entry per fact."""

    claims: list[Claim]
    models: list[str]
    topics: list[str]
    responses: list[tuple[str, str]]
    labels: NDArray[np.bool_]
    features: NDArray[np.float64]
    phrases: list[frozenset[str]]
    inputs: list[FactInput]
    pages: dict[str, Page]


@dataclass(frozen=True)
class Step:
    """Facts of one step.

    Attributes:
        batch: the facts with their windows.
        labels: 1.0 for facts that are supported.
        topic: whose page it is, if it is one page.
    """

    batch: FactBatch
    labels: Tensor
    topic: str = ""


def examples_of(labelled, pieces: WordPieces, vectors: WordVectors | None) -> Examples:
    """Look up all facts on their pages."""
    reader = Verifier(pieces, None, (), None, vectors)  # only its preparation of facts is used
    found = Examples([], [], [], [], np.zeros(0), np.zeros(0), [], [], {})
    labels, features = [], []
    for one in labelled:
        read = reader.read(one.claims[0].passages)
        found.pages[one.topic] = read.page
        prepared = reader.prepare([claim.text for claim in one.claims], one.topic, read)
        found.claims.extend(one.claims)
        found.models.extend([one.model] * len(prepared))
        found.topics.extend([one.topic] * len(prepared))
        found.responses.extend([(one.model, one.topic)] * len(prepared))
        found.phrases.extend(fact.phrases for fact in prepared)
        found.inputs.extend(fact.input for fact in prepared)
        features += [fact.features for fact in prepared]
        labels += one.supported
    return replace(found, labels=np.array(labels), features=np.stack(features))


class EncodedPages:
    """Keys and values of all windows that a labelled fact uses, in half precision."""

    def __init__(self, network: FactEncoder, data: Examples) -> None:
        self._network, self._data = network.eval(), data
        self._pages: dict[str, tuple[list[int], Tensor]] = {}

    def _page(self, topic: str) -> tuple[list[int], Tensor]:
        if topic not in self._pages:
            data, windows = self._data, self._data.pages[topic].windows
            rows = [n for n, name in enumerate(data.topics) if name == topic]
            used = used_windows([data.inputs[row] for row in rows])
            encoded = [_encoded(self._network, windows[window]) for window in used]
            self._pages[topic] = used, torch.stack(encoded, 2)
        return self._pages[topic]

    def cached(self, topic: str, windows: Sequence[int]) -> list[KeysValues]:
        """Return the keys and values of some windows of a page, per layer."""
        used, encoded = self._page(topic)
        chosen = encoded[:, :, [used.index(window) for window in windows]]
        return [(layer[0], layer[1]) for layer in chosen]


@torch.inference_mode()
def _encoded(network: FactEncoder, window: tuple[int, ...]) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layers = network.encode_windows(torch.tensor([window]))
    stacked = torch.stack([torch.stack([keys[0], values[0]]) for keys, values in layers])
    return functional.pad(stacked, (0, 0, 0, WINDOW - len(window))).bfloat16()


# --------------------------------------------------------------------------------------- steps


def steps_of(data: Examples, rows: Iterable[int], plan: Plan) -> list[tuple[Step, list[int]]]:
    """Return the steps of all epochs with the windows of each; a step has facts of one page."""
    rng = random.Random(plan.seed)
    by_page: dict[str, list[int]] = {}
    for row in rows:
        by_page.setdefault(data.topics[row], []).append(row)
    steps = []
    for _ in range(plan.epochs):
        epoch = []
        for topic, members in by_page.items():
            rng.shuffle(members)
            parts = max(1, round(len(members) / plan.facts))
            epoch += [(topic, members[part::parts]) for part in range(parts)]
        rng.shuffle(epoch)
        steps += [_step(data, topic, part) for topic, part in epoch]
    return steps


def _step(data: Examples, topic: str, rows: Sequence[int]) -> tuple[Step, list[int]]:
    facts = [data.inputs[row] for row in rows]
    batch = fact_batch(facts, data.pages[topic].windows)
    wide = functional.pad(batch.windows_WL, (0, WINDOW - batch.windows_WL.shape[1]))
    labels = torch.tensor(data.labels[list(rows)], dtype=torch.float32)
    return Step(replace(batch, windows_WL=wide), labels, topic), used_windows(facts)


def pretraining_steps(
    articles: Sequence[Path],
    triples: Sequence[Path],
    limit: int,
    exclude: set[str],
    pieces: WordPieces,
    seed: int,
    facts: int = 44,
) -> list[Step]:
    """Return steps with made pairs; a step has facts of several pages."""
    rng = random.Random(seed)
    pairs = triple_pairs(triples, rng) if triples else []
    if articles:
        pairs += article_pairs(read_articles(articles, limit, exclude), rng)
    rng.shuffle(pairs)
    steps, waiting, labels, windows = [], [], [], []
    reader = Verifier(pieces, None, ())
    for one in pairs:
        read = reader.read((one.text,))
        if one.topic in exclude or not read.page.windows:
            continue
        prepared = reader.prepare([text for text, _ in one.facts], one.topic, read)
        for fact, (_, label) in zip(prepared, one.facts, strict=True):
            shifted = tuple(window + len(windows) for window in fact.input.windows)
            waiting.append(replace(fact.input, windows=shifted))
            labels.append(float(label))
        windows += read.page.windows
        if len(waiting) >= facts:
            steps.append(Step(fact_batch(waiting, windows), torch.tensor(labels)))
            waiting, labels, windows = [], [], []
    return steps


# ------------------------------------------------------------------------------------- training


def pretrain(network: FactEncoder, steps: Sequence[Step], plan: Plan, path: Path) -> None:
    """Train all layers on made pairs."""
    for part in (network.words, network.positions):
        part.requires_grad_(False)  # the pairs are too few to change words
    _fit(network, steps, plan, path, lambda step: network(step.batch))


def tuned(
    base: FactEncoder,
    encoded: EncodedPages,
    steps: Sequence[tuple[Step, list[int]]],
    plan: Plan,
    path: Path,
) -> FactEncoder:
    """Return a copy of ``base`` that was trained on people's labels.

    Only the network for facts changes, by matrices of low rank; windows keep being encoded by
    ``base``. So all windows are encoded once for all steps, and a few thousand labels change few
    weights.
    """
    config = LoraConfig(
        r=plan.rank,
        lora_alpha=2 * plan.rank,
        lora_dropout=0.1,
        target_modules=LINEAR,
        modules_to_save=list(NEW),
    )
    torch.manual_seed(plan.seed)
    network = copy.deepcopy(base)
    model = get_peft_model(network, config)
    windows = {id(step): used for step, used in steps}

    def forward(step: Step) -> Tensor:
        cached = encoded.cached(step.topic, windows[id(step)])
        return network.score_facts(cached, step.batch.windows_WL, step.batch)

    _fit(model, [step for step, _ in steps], plan, path, forward)
    merged = model.merge_and_unload()
    assert isinstance(merged, FactEncoder)
    return merged.eval().requires_grad_(False)


def _fit(
    network: nn.Module,
    steps: Sequence[Step],
    plan: Plan,
    path: Path,
    forward: Callable[[Step], Tensor],
) -> None:
    """Train a network; a checkpoint beside ``path`` lets an interrupted call continue."""
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    new = [p for name, p in trained if any(part in name.split(".") for part in NEW)]
    old = [p for name, p in trained if not any(part in name.split(".") for part in NEW)]
    rates = (plan.lr, (1.0 if plan.rank else 3.0) * plan.lr)
    optimizer = torch.optim.AdamW([{"params": old}, {"params": new}], weight_decay=0.01)
    checkpoint = path.with_suffix(".checkpoint")
    first = 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    network.train()
    began, losses = time.time(), []
    for number in range(first, len(steps)):
        torch.manual_seed(plan.seed * 100_003 + number)  # so that a resumed run drops the same
        share = min(1.0, (number + 1) / (0.07 * len(steps))) * max(0.02, 1 - number / len(steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(steps[number])
        targets = steps[number].labels * (1 - 2 * SMOOTHING) + SMOOTHING
        loss = functional.binary_cross_entropy_with_logits(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in trained], 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (number + 1) % 25 == 0:
            seconds = time.time() - began
            print(f"{path.stem} {number + 1}/{len(steps)} loss {np.mean(losses[-25:]):.4f} "
                  f"{seconds:.0f} s", flush=True)  # fmt: skip
        if (number + 1) % SAVE_EVERY == 0:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": number + 1}, checkpoint)
    network.eval()
    checkpoint.unlink(missing_ok=True)


@torch.inference_mode()
def logits_of(
    facts: FactEncoder, encoded: EncodedPages, data: Examples, rows: Sequence[int]
) -> NDArray[np.float64]:
    """Return the network's logits of some facts."""
    found = np.zeros(len(data.labels))
    for topic in dict.fromkeys(data.topics[row] for row in rows):
        members = [row for row in rows if data.topics[row] == topic]
        for start in range(0, len(members), 64):
            part = members[start : start + 64]
            step, windows = _step(data, topic, part)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                cached = encoded.cached(topic, windows)
                logits = facts.score_facts(cached, step.batch.windows_WL, step.batch)
            found[part] = logits.float().numpy()
    return found[list(rows)]
