"""Evaluation of one model in a made-up world.

The model writes a biography of each person under each policy (this measures facts, calls and cost),
reads true texts in wording it has not seen (call positions, loss per token), and is probed with
calls switched off (closed-book recall).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lacy.evaluate.bits import StoredBits, fact_loss, language_loss, stored_bits
from lacy.evaluate.calls import CallQuality, call_quality
from lacy.evaluate.closed_book import (
    ClosedBookRecall,
    closed_book_recall,
    make_probes,
    most_frequent,
)
from lacy.evaluate.facts import FactScores, GradedAnswer, grade, summarise
from lacy.evaluate.signals import read_signals
from lacy.results import NO_DATA, Result, Score, as_data, model_scores, results_of
from lacy.types import Answer, Document, Unit

if TYPE_CHECKING:
    from lacy.cascade import Policy
    from lacy.sources import Source
    from lacy.world import Split, World

PROBE_TOKENS = 16
"""Maximum length of the continuation of a probe; longer than any value of a world."""

PROBE_BATCH = 64


@dataclass(frozen=True, slots=True)
class WorldAnswers:
    """The answers of a model under one condition, and their scores."""

    policy: str
    source: str
    """The source that answered calls; empty if there was none."""
    facts: FactScores
    subjects: tuple[str, ...] = field(metadata=NO_DATA)
    answers: tuple[Answer, ...] = field(metadata=NO_DATA)
    graded: tuple[GradedAnswer, ...] = field(metadata=NO_DATA)
    """Verdicts on each answer."""


@dataclass(frozen=True, slots=True)
class WorldResult:
    """Everything that was measured of one model in a world."""

    conditions: dict[str, WorldAnswers]
    """The answers by condition name."""
    calls: CallQuality | None
    language_loss: Score | None
    """Nats per token on the tokens that state no fact."""
    fact_loss: Score | None
    """Nats per token on the fact tokens."""
    bits: StoredBits | None
    closed_book: ClosedBookRecall | None
    seed: int = 0

    def results(self) -> list[Result]:
        """Return the metrics of each condition, then those of the model itself."""
        results = []
        for name, answers in self.conditions.items():
            conditions = {"condition": name, "policy": answers.policy, "source": answers.source}
            results += results_of(answers.facts.scores, seed=self.seed, conditions=conditions)
        return results + results_of(model_scores(as_data(self)), seed=self.seed)


def evaluate_world(
    loaded: Any,
    world: World,
    source: Source | None = None,
    policies: Mapping[str, Policy | str] | Sequence[str] = ("never",),
    *,
    people: int | None = 100,
    split: Split = "valid",
    unit: Unit = "value",
    max_new_tokens: int = 192,
    call_rate: float | None = None,
    read: bool = True,
    probe: bool = True,
    seed: int = 0,
    **engine_options: Any,
) -> WorldResult:
    """Evaluate a model in a world.

    Args:
        loaded: ``.model`` and ``.tokenizer``, as from ``lacy.model.load_model``.
        world: the people and their facts.
        source: the source that answers calls; None for no source.
        policies: a policy per condition name, or policy texts that serve as their own names.
        people: the number of people; the first ones of the split are taken. None for all.
        split: which people are asked about, and in which wording the true texts are: ``valid``
            (people of the training texts in new texts), ``fresh`` (the same people in phrasings
            never trained on) or ``unseen`` (people never trained on).
        unit: how much text one call returns.
        max_new_tokens: maximum length of an answer.
        call_rate: the call rate at which call precision and recall are measured; by default the
            realised rate of the first policy that calls.
        read: False to skip call quality, language loss and stored bits.
        probe: False to skip closed-book recall.
        seed: seed of the bootstrap.
        engine_options: further arguments of ``cascade.Engine``.
    """
    persons = world.people(split)[:people]
    subjects = tuple(person.name for person in persons)
    policy_by_name = (
        policies if isinstance(policies, Mapping) else {text: text for text in policies}
    )
    conditions = {
        name: answer_all(
            loaded, world, source, policy, subjects,
            unit=unit, max_new_tokens=max_new_tokens, seed=seed, **engine_options,
        )
        for name, policy in policy_by_name.items()
    }  # fmt: skip
    names = set(subjects)
    texts = [d for d in world.documents(split) if d.meta["person"] in names]
    if call_rate is None:
        rates = [condition.facts["call_rate"].value for condition in conditions.values()]
        call_rate = next((rate for rate in rates if rate > 0), None)
    calls = word_loss = loss_on_facts = bits_stored = None
    if read:
        from lacy.world import RELATIONS

        signals = read_signals(loaded, texts)
        bits = {relation: world.values.bits(relation) for relation in RELATIONS}
        calls = call_quality(signals, call_rate=call_rate, seed=seed)
        word_loss, loss_on_facts = language_loss(signals, seed=seed), fact_loss(signals, seed=seed)
        bits_stored = stored_bits(signals, [_person(d) for d in texts], bits, seed=seed)
    closed_book = probe_closed_book(loaded, world, texts, seed=seed) if probe else None
    return WorldResult(conditions, calls, word_loss, loss_on_facts, bits_stored, closed_book, seed)


def answer_all(
    loaded: Any,
    world: World,
    source: Source | None,
    policy: Policy | str,
    subjects: Sequence[str],
    *,
    unit: Unit = "value",
    max_new_tokens: int = 192,
    seed: int = 0,
    **engine_options: Any,
) -> WorldAnswers:
    """Generate a biography of each subject under one policy, and judge the answers.

    Args:
        loaded: the model.
        world: parses and judges the answers.
        source: the source that answers calls; None for no source.
        policy: when the model calls.
        subjects: names of the people; each name is its own prompt.
        unit: how much text one call returns.
        max_new_tokens: maximum length of an answer.
        seed: seed of the bootstrap.
        engine_options: further arguments of ``cascade.Engine``.
    """
    from lacy.cascade import Engine

    engine = Engine(
        loaded, source, policy, unit=unit, max_new_tokens=max_new_tokens, **engine_options
    )
    answers = tuple(engine.generate(list(subjects), list(subjects)))
    graded = tuple(grade(a, s, world, unit=unit) for a, s in zip(answers, subjects, strict=True))
    facts = summarise(answers, subjects, graded, seed=seed)
    name = source.name if source is not None else ""
    return WorldAnswers(str(engine.policy), name, facts, tuple(subjects), answers, graded)


def probe_closed_book(
    loaded: Any,
    world: World,
    texts: Sequence[Document],
    *,
    max_new_tokens: int = PROBE_TOKENS,
    seed: int = 0,
) -> ClosedBookRecall:
    """Measure the closed-book recall of a model.

    Probes that do not fit into the model's context are left out.

    Args:
        loaded: the model.
        world: the world, for the most frequent value of each relation.
        texts: true texts; each probe is a text that is cut before a value.
        max_new_tokens: maximum length of the continuation.
        seed: seed of the bootstrap.
    """
    from lacy.cascade import Engine, Never
    from lacy.model import context_of

    alone = Engine(loaded, None, Never(), max_new_tokens=max_new_tokens, batch_size=PROBE_BATCH)

    def generate(prompts: Sequence[str]) -> list[str]:
        # Prompts of similar length share a batch, as a batch decodes as long as its longest row.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        texts = {}
        for i, answer in zip(order, alone.generate([prompts[i] for i in order]), strict=True):
            texts[i] = answer.continuation
        return [texts[i] for i in range(len(prompts))]

    frequent = most_frequent(person.facts for person in world.people("train"))
    longest = context_of(alone.model) - max_new_tokens - 1
    fitting = [
        probe
        for probe in make_probes(texts, _person)
        if len(alone.token_text.encode(probe.prompt)) < longest
    ]
    return closed_book_recall(fitting, generate, frequent, seed=seed)


def _person(document: Document) -> str:
    return str(document.meta["person"])
