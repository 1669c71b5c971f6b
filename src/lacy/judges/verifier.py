"""The verifier: a small network and word features, trained on facts that people labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lacy.judges.cache import SizedCache
from lacy.judges.combination import Blend, Combination
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

KEPT_TOKENS = 300_000
"""Tokens of all pages whose words and vectors are kept: about 90 pages, 200 MB."""

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

    A fact's score is the probability that people find it supported; from a threshold on, the
    verdict is "supported". Other facts of the same response are taken into account (see
    ``lacy.judges.combination``) unless ``alone`` is True or the claims name no response. The order
    of the claims does not matter, and equal claims get equal judgments.

    Args:
        pieces: splits texts into words.
        combination: the regressions.
        blends: turn logits into scores and verdicts, of a fact alone and with its response.
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
        blends: tuple[Blend, Blend],
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
        self._pieces, self._combination, self._blends = pieces, combination, blends
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
        network = self._network(facts, read.page)
        rows = [place[claim.text] for claim in claims]
        features = np.stack([facts[row].features for row in rows])
        said = [facts[row].phrases for row in rows]
        responses = [claim.response for claim in claims]
        logits = self._combination.logits(features, said, responses)
        logits_of_rows = None if network is None else network[rows]
        alone, together = (
            blend.probabilities(one, logits_of_rows)
            for blend, one in zip(self._blends, logits, strict=True)
        )
        counts = Counter(responses)
        others = [not self._alone and r != "" and counts[r] > 1 for r in responses]
        scores = np.where(others, together, alone)
        limits = np.where(others, self._blends[1].threshold, self._blends[0].threshold)
        return {
            claim: Judgment(bool(score >= limit), float(score))
            for claim, score, limit in zip(claims, np.round(scores, DIGITS), limits, strict=True)
        }

    def read(self, passages: tuple[str, ...]) -> _ReadPage:
        """Return the passages as windows with the vectors of their words; recent ones are kept."""

        def read() -> _ReadPage:
            page = Page(passages, self._pieces)
            return _ReadPage(page, PageVectors(page, self._vectors) if self._vectors else None)

        return self._pages.get(passages, read)

    def _network(self, facts: Sequence[PreparedFact], page: Page) -> Floats | None:
        """Return the network's logits, or None without a network."""
        if self._scorer is None:
            return None
        return self._scorer.logits([fact.input for fact in facts], page.windows)

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
