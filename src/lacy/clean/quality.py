"""Tell texts like a reference collection from others, as for the training texts of GPT-3.

Words and pairs of words are hashed, and a logistic regression learns to tell the reference texts
from a sample of the others (arXiv 2005.14165, appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError

CHARACTERS = 4_000
"""Characters of a text that are read, from its beginning."""

FEWEST = 20
"""Fewest texts of each side from which a model can learn."""

FEATURES = 2**18


@dataclass(frozen=True, slots=True)
class QualityModel:
    """A classifier of texts.

    Attributes:
        auroc: how well it tells texts that were held out; 0.5 is chance.
        texts: number of reference texts and of others that it learned from.
    """

    auroc: float
    texts: tuple[int, int]
    _pipeline: Any

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return for each text the probability that it belongs to the reference collection."""
        cut = [text[:CHARACTERS] for text in texts]
        return np.asarray(self._pipeline.predict_proba(cut)[:, 1], np.float64)


def train_quality_model(
    like: Sequence[str], others: Sequence[str], *, seed: int = 0
) -> QualityModel:
    """Train a model to tell texts like those of a reference collection from others.

    Args:
        like: the reference texts.
        others: texts of the collection that is to be filtered, good and bad ones.
        seed: chooses the fifth of the texts that is held out to measure the model; it then
            learns from all of them.

    Raises:
        LacyError: E400, there are too few texts.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline

    for what, given in (("reference texts", like), ("texts to filter", others)):
        if len(given) < FEWEST:
            raise LacyError("E400", what=what, count=len(given), fewest=FEWEST)
    texts = [text[:CHARACTERS] for text in (*like, *others)]
    labels = np.repeat([1, 0], [len(like), len(others)])

    def fitted(chosen: Sequence[str], targets: NDArray[np.int64]) -> Any:
        vectorizer = HashingVectorizer(
            n_features=FEATURES, ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]"
        )
        classifier = LogisticRegression(C=10.0, class_weight="balanced", max_iter=200)
        return make_pipeline(vectorizer, classifier).fit(chosen, targets)

    train, held, targets, held_targets = train_test_split(
        texts, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    scores = fitted(train, targets).predict_proba(held)[:, 1]
    auroc = float(roc_auc_score(held_targets, scores))
    return QualityModel(auroc, (len(like), len(others)), fitted(texts, labels))
