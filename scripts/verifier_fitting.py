"""Training steps for ``train_verifier.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from verifier_pairs import Pairs, article_pairs, read_articles, triple_pairs

from lacy.judges.inputs import FactInput, fact_batch
from lacy.judges.network import FactBatch, FactEncoder
from lacy.judges.pages import Page
from lacy.judges.pieces import WordPieces
from lacy.judges.protocol import Claim
from lacy.judges.verifier import Verifier

Step = tuple[FactBatch, torch.Tensor]
"""Facts with their windows, and 1.0 for each fact that is supported."""

SMOOTHING = 0.03
"""The targets are this and 1 minus this: people's labels are not all right."""

SAVE_EVERY = 100
NEW = ("flags", "head", "score")
"""Parts that are trained from scratch, at a higher learning rate."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained."""

    lr: float
    epochs: int
    facts: int
    frozen: int
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
    inputs: list[FactInput]
    pages: dict[str, Page]


def examples_of(labelled, pieces: WordPieces) -> Examples:
    """Look up all facts on their pages."""
    reader = Verifier(pieces, None, 0.5)  # only its preparation of facts is used
    found = Examples([], [], [], [], np.zeros(0), np.zeros(0), [], {})
    labels, features = [], []
    for one in labelled:
        page = found.pages.setdefault(one.topic, reader.page(one.claims[0].passages))
        prepared = reader.prepare([claim.text for claim in one.claims], one.topic, page)
        found.claims.extend(one.claims)
        found.models.extend([one.model] * len(prepared))
        found.topics.extend([one.topic] * len(prepared))
        found.responses.extend([(one.model, one.topic)] * len(prepared))
        found.inputs.extend(fact.input for fact in prepared)
        features += [fact.features for fact in prepared]
        labels += one.supported
    return replace(found, labels=np.array(labels), features=np.stack(features))


def steps_of(data: Examples, rows: NDArray, plan: Plan) -> list[Step]:
    """Return the steps of all epochs; a step has facts of one page."""
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
        for topic, part in epoch:
            batch = fact_batch([data.inputs[row] for row in part], data.pages[topic].windows)
            steps.append((batch, torch.tensor(data.labels[part], dtype=torch.float32)))
    return steps


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
    reader = Verifier(pieces, None, 0.5)
    for one in pairs:
        page = Page((one.text,), pieces)
        if one.topic in exclude or not page.windows:
            continue
        for fact, label in zip(
            reader.prepare([text for text, _ in one.facts], one.topic, page),
            [label for _, label in one.facts],
            strict=True,
        ):
            shifted = tuple(window + len(windows) for window in fact.input.windows)
            waiting.append(replace(fact.input, windows=shifted))
            labels.append(float(label))
        windows += page.windows
        if len(waiting) >= facts:
            steps.append((fact_batch(waiting, windows), torch.tensor(labels)))
            waiting, labels, windows = [], [], []
    return steps


def fit(network: FactEncoder, steps: Sequence[Step], plan: Plan, path: Path) -> None:
    """Train a network; a checkpoint beside ``path`` lets an interrupted call continue."""
    for part in (network.words, network.positions):
        part.requires_grad_(False)  # people's labels are too few to change words
    if plan.frozen:
        for part in (network.kinds, network.norm, *network.layers[: plan.frozen]):
            part.requires_grad_(False)
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    new = [p for name, p in trained if name.startswith(NEW)]
    old = [p for name, p in trained if not name.startswith(NEW)]
    rates = (plan.lr, 3 * plan.lr)
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
        batch, labels = steps[number]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(batch)
        targets = labels * (1 - 2 * SMOOTHING) + SMOOTHING
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
def logits_of(network: FactEncoder, data: Examples, rows: NDArray) -> NDArray[np.float64]:
    """Return the network's logits of some facts, in full precision."""
    found = np.zeros(len(data.labels))
    for topic in dict.fromkeys(data.topics[row] for row in rows):
        members = [row for row in rows if data.topics[row] == topic]
        for start in range(0, len(members), 64):
            part = members[start : start + 64]
            batch = fact_batch([data.inputs[row] for row in part], data.pages[topic].windows)
            found[part] = network(batch).numpy()
    return found[rows]


__all__ = ["Examples", "Pairs", "Plan", "examples_of", "fit", "logits_of", "pretraining_steps"]
