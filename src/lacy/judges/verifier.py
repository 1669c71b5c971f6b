"""The verifier: a small network and word features, trained on facts that people labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lacy.judges.cache import SizedCache
from lacy.judges.combination import Combination
from lacy.judges.features import fact_features, fact_phrases, fact_words, topic_words
from lacy.judges.inputs import FactInput, fact_input
from lacy.judges.pages import Page
from lacy.judges.pieces import WordPieces
from lacy.judges.protocol import Claim, Judgment, not_judgeable
from lacy.judges.similarity import PageVectors, WordVectors
from lacy.judges.words import MAX_FACT_CHARACTERS

if TYPE_CHECKING:
    from lacy.judges.scoring import FactScorer

DIGITS = 6
"""Decimals of a score. Rounding hides that sums differ in the seventh digit when a fact is computed
in another batch or by another number of threads."""

KEPT_TOKENS = 2_000_000
"""Tokens of all pages whose words are kept."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PreparedFact:
    """A fact whose words were looked up on its page."""

    features: Floats
    phrases: frozenset[str]
    input: FactInput


@dataclass(frozen=True, slots=True)
class _ReadPage:
    """A page, and the vectors of its words if words are compared by them."""

    page: Page
    vectors: PageVectors | None


class Verifier:
    """Judges facts by the passages of their topic.

    A fact's score is the probability that people find it supported; a score of ``threshold`` or
    more is the verdict "supported". Other facts of the same response are taken into account (see
    ``lacy.judges.combination``) unless ``alone`` is True or the claims name no response. The order
    of the claims does not matter, and equal claims get equal judgments.

    Args:
        pieces: splits texts into words.
        combination: turns values of a fact into its score.
        threshold: the lowest score of a supported fact.
        scorer: the network; None to do without.
        vectors: vectors of words; None to compare words letter by letter only.
        alone: True to judge each fact without the other facts of its response.
        name: the judge's name.
        identity: changes with everything that a judgment depends on, for stores of answers.

    Attributes:
        uses_response: whether other facts of a response matter.
    """

    def __init__(
        self,
        pieces: WordPieces,
        combination: Combination,
        threshold: float,
        scorer: FactScorer | None = None,
        vectors: WordVectors | None = None,
        *,
        alone: bool = False,
        name: str = "verifier",
        identity: tuple[str | int, ...] = (),
    ) -> None:
        self.name = name
        self.identity = (*identity, name)
        self.uses_response = not alone
        self._pieces, self._combination, self._threshold = pieces, combination, threshold
        self._scorer, self._vectors, self._alone = scorer, vectors, alone
        self._pages: SizedCache[_ReadPage] = SizedCache(KEPT_TOKENS, lambda one: one.page.tokens)

    def judge(self, claims: Sequence[Claim]) -> list[Judgment]:
        """Return one judgment per claim, in their order."""
        judged: dict[Claim, Judgment] = {}
        pages: dict[tuple[str, tuple[str, ...]], list[Claim]] = {}
        for claim in dict.fromkeys(claims):
            if undecidable := not_judgeable(claim):
                judged[claim] = undecidable
            else:
                pages.setdefault((claim.topic, claim.passages), []).append(claim)
        for (topic, passages), found in pages.items():
            judged.update(self._judge_page(topic, passages, found))
        return [judged[claim] for claim in claims]

    def _judge_page(
        self, topic: str, passages: tuple[str, ...], claims: Sequence[Claim]
    ) -> dict[Claim, Judgment]:
        """Judge claims about one topic with one page."""
        read = self.read(passages)
        if not read.page.windows:  # the passages consist of marks and spaces
            return {claim: Judgment(None, None, "the passages have no words") for claim in claims}
        # A canonical order, so that sums do not depend on the order of the claims.
        claims = sorted(claims, key=lambda claim: (claim.response, claim.text))
        place = {text: n for n, text in enumerate(sorted({claim.text for claim in claims}))}
        facts = self.prepare(list(place), topic, read)
        values = self._values(facts, read.page)
        rows = [place[claim.text] for claim in claims]
        responses = [None if self._alone or not c.response else c.response for c in claims]
        scores = self._combination.scores(
            values[rows], [facts[row].phrases for row in rows], responses
        )
        return {
            claim: Judgment(bool(score >= self._threshold), float(score))
            for claim, score in zip(claims, np.round(scores, DIGITS), strict=True)
        }

    def read(self, passages: tuple[str, ...]) -> _ReadPage:
        """Return the passages as windows with the vectors of their words; recent ones are kept."""

        def read() -> _ReadPage:
            page = Page(passages, self._pieces)
            return _ReadPage(page, PageVectors(page, self._vectors) if self._vectors else None)

        return self._pages.get(passages, read)

    def _values(self, facts: Sequence[PreparedFact], page: Page) -> Floats:
        """Return the values that the combination takes: features, and the network's logit."""
        features = np.stack([fact.features for fact in facts])
        if self._scorer is None:
            return features
        logits = self._scorer.logits([fact.input for fact in facts], page.windows)
        return np.concatenate([features, logits[:, None]], 1)

    def prepare(self, texts: Sequence[str], topic: str, read: _ReadPage) -> list[PreparedFact]:
        """Look up the words of facts on their page."""
        page, named = read.page, topic_words(topic, self._pieces)
        cut = [text[:MAX_FACT_CHARACTERS] for text in texts]
        prepared = []
        for text, encoding in zip(cut, self._pieces.encode(cut), strict=True):
            words = fact_words(text, encoding, named, self._pieces)
            features = fact_features(words, page, self._pieces)
            if read.vectors is not None:
                features = np.concatenate([features, read.vectors.similarities(words.content)])
            prepared.append(
                PreparedFact(
                    features,
                    fact_phrases(words, self._pieces),
                    fact_input(words, named, page, self._pieces),
                )
            )
        return prepared
