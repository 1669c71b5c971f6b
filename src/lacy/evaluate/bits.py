"""The number of bits a model stores about facts, and its loss on fact tokens and other tokens.

Stored bits follow "Physics of Language Models 3.3" (arXiv 2404.05405, the lower bound on a model's
knowledge from its loss): if a fact has ``A`` equally likely values and the model, given the true
text so far, spends ``c`` bits on the true value, it must store at least ``log2 A - c`` bits about
it. Per relation ``r`` with ``n_r`` facts measured:

    stored = sum_r  n_r * max(0, log2 A_r - mean_r(c))

The maximum is taken over the *mean* of a relation, not per fact: single facts are noisy, and
clipping each of them would turn noise into knowledge. If values are not equally likely,
``log2 A`` is their entropy, so guessing the frequent ones gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate.signals import DocumentSignals
from lacy.results import Score, ratio, score_sums

LN2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class StoredBits:
    """Lower bounds on what a model stores about the measured facts; intervals are over people."""

    per_fact: Score
    """Bits per measured fact."""
    per_person: Score
    share: Score
    """Stored bits as a share of the bits that these facts contain."""
    by_relation: dict[str, Score]
    """Bits per fact of each relation, before the maximum with 0 (negative if the model is worse
    than guessing)."""
    facts: int
    """Number of measured facts."""


def value_costs(document: DocumentSignals) -> dict[str, float]:
    """Return the bits that the model spends on each value when its relation is first stated.

    Later mentions can be copied from the text, so they say nothing about what is stored. A value
    that may be cut off by the context (it ends at the document's last token) is left out.
    """
    costs: dict[str, float] = {}
    present = np.unique(document.fact[document.fact >= 0])
    totals = np.bincount(document.fact[document.fact >= 0], document.loss[document.fact >= 0] / LN2)
    # The last value may continue beyond the context, so its cost would be too low.
    cut = document.fact[-1] if len(document.fact) else -1
    for k in present:
        if k != cut:
            costs.setdefault(document.relations[k], float(totals[k]))
    return costs


def stored_bits(
    documents: Sequence[DocumentSignals],
    people: Sequence[str],
    bits: Mapping[str, float],
    *,
    seed: int = 0,
) -> StoredBits:
    """Return a lower bound on the bits that a model stores.

    Args:
        documents: signals of the training texts, or of texts that state the same facts.
        people: the person that each document is about. Documents about one person are averaged,
            so each person counts once.
        bits: ``log2 A_r``, or the entropy in bits, of each relation. Relations without an entry
            are ignored.
        seed: seed of the bootstrap.
    """
    relations = sorted(bits)
    column_of = {relation: r for r, relation in enumerate(relations)}
    names, index = np.unique(np.asarray(people, dtype=object), return_inverse=True)
    spent_PR = np.zeros((len(names), len(relations)))
    count_PR = np.zeros_like(spent_PR)
    for person, document in zip(index, documents, strict=True):
        for relation, cost in value_costs(document).items():
            if relation in column_of:
                spent_PR[person, column_of[relation]] += cost
                count_PR[person, column_of[relation]] += 1
    spent_PR = np.divide(spent_PR, count_PR, out=np.zeros_like(spent_PR), where=count_PR > 0)
    known_PR = (count_PR > 0).astype(float)
    table = np.concatenate([spent_PR, known_PR, np.ones((len(names), 1))], axis=1)
    alternatives_R = np.array([bits[relation] for relation in relations])

    def stored(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        spent, known = sums[:, : len(relations)], sums[:, len(relations) : -1]
        result: NDArray[np.float64] = np.maximum(0.0, known * alternatives_R - spent).sum(1)
        return result

    def score(divisor: NDArray[np.float64], unit: str) -> Score:
        return score_sums(table, lambda sums: stored(sums) / (sums @ divisor), unit=unit, seed=seed)

    # `score` divides by a weighted sum of the columns; these are the weights.
    zeros, ones = np.zeros(len(relations)), np.ones(len(relations))
    return StoredBits(
        per_fact=score(np.concatenate([zeros, ones, [0.0]]), "bits per fact"),
        per_person=score(np.concatenate([zeros, zeros, [1.0]]), "bits per person"),
        share=score(np.concatenate([zeros, alternatives_R, [0.0]]), "share"),
        by_relation={
            relation: ratio(
                known_PR[known_PR[:, r] > 0, r] * bits[relation] - spent_PR[known_PR[:, r] > 0, r],
                known_PR[known_PR[:, r] > 0, r],
                unit="bits per fact",
                seed=seed,
            )
            for relation, r in column_of.items()
            if known_PR[:, r].any()
        },
        facts=int(known_PR.sum()),
    )


def language_loss(documents: Sequence[DocumentSignals], *, seed: int = 0) -> Score:
    """Return the loss on tokens that state no fact, in nats per token; interval over documents."""
    return _loss(documents, [~document.is_fact for document in documents], seed)


def fact_loss(documents: Sequence[DocumentSignals], *, seed: int = 0) -> Score:
    """Return the loss on fact tokens without ``<CALL>``, in nats per token."""
    return _loss(documents, [document.is_fact for document in documents], seed)


def _loss(
    documents: Sequence[DocumentSignals], masks: Sequence[NDArray[np.bool_]], seed: int
) -> Score:
    totals = [
        float(d.loss[mask].sum(dtype=np.float64)) for d, mask in zip(documents, masks, strict=True)
    ]
    return ratio(totals, [int(mask.sum()) for mask in masks], unit="nats per token", seed=seed)
