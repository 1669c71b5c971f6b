"""The switches of the rule annotator and the settings of an annotation; no spaCy, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lacy.config import Rare

ONTONOTES = (
    "CARDINAL", "DATE", "EVENT", "FAC", "GPE", "LANGUAGE", "LAW", "LOC", "MONEY", "NORP",
    "ORDINAL", "ORG", "PERCENT", "PERSON", "PRODUCT", "QUANTITY", "TIME", "WORK_OF_ART",
)  # fmt: skip
"""The 18 entity types of OntoNotes 5, which spaCy's English pipelines use."""

CONLL = ("PER", "LOC", "ORG", "MISC")
"""The four entity types of CoNLL 2003 and wikigold, which the bundled pipeline uses."""

RULES_VERSION = 2
"""Version of the rules; stored marks and indexes of other versions are rebuilt.
2: whole values and names by the grammar."""

TEXT_SECONDS = 60.0
"""Time limit for marking 100,000 characters, which takes about a second (our choice)."""

MARKING = ("entities", "numbers", "dates", "proper_nouns", "keywords", "learned")
"""The switches that add marks."""

UNMARKING = ("unmark_seen", "unmark_subject", "unmark_edges", "unmark_inside")
"""The switches that take marks away."""


@dataclass(frozen=True)
class Rules:
    """Which tokens count as facts (paper §3 and §4; the paper's own lists are not public).

    The defaults mark about 25% of sub-word tokens on Wikipedia, the paper's share; the measured
    share of each switch is in ``docs/annotation.md``.
    """

    entities: bool | None = None
    """Mark named entities, where the pipeline finds any. Not set: yes, unless the pipeline has
    learned fact spans (the bundled one), to which its entities add nothing but time."""
    entity_types: tuple[str, ...] = ONTONOTES + CONLL
    """The entity types that count."""
    numbers: bool = True
    """Mark numerals, in digits and in words."""
    dates: bool = True
    """Mark dates by their written shape: days, months with a number, years, decades, centuries."""
    proper_nouns: bool = True
    """Mark runs of proper nouns, joined over short words such as "of" and "von"."""
    keywords: bool = True
    """Mark professions, nationalities and titles from a short list."""
    learned: bool = True
    """Mark spans that a component named "facts" has learned from a judge, where there is one."""
    learned_threshold: float = 0.3
    """How sure the learned component must be of a token, from 0 to 1. Lower marks more."""
    unmark_seen: bool = True
    """Leave out names and keywords that stand earlier in the same text: they can be copied."""
    unmark_subject: bool = True
    """Leave out the name of whom or what the text is about (its title, else its first name)."""
    unmark_edges: bool = True
    """Leave out articles, other function words and punctuation at the ends of a mark."""
    unmark_inside: bool = False
    """Leave out function words and punctuation inside a mark too; this cuts one value in two."""
    content: bool = True
    """Also mark content words that are no facts (CONTENT), which the ignore ablations need."""

    def only(self, *switches: str) -> Rules:
        """These rules with only the named marking switches on; the others keep their state."""
        return self.turned({name: name in switches for name in MARKING})

    def turned(self, states: Mapping[str, bool]) -> Rules:
        """These rules with some switches on or off."""
        changes: dict[str, Any] = dict(states)
        return replace(self, **changes)

    @staticmethod
    def switches() -> tuple[str, ...]:
        """The names of all switches that are on or off, in their order."""
        return tuple(f.name for f in fields(Rules) if str(f.type).startswith("bool"))


@dataclass(frozen=True)
class AnnotateConfig:
    """How a corpus is annotated."""

    pipeline: str = "auto"
    """A spaCy pipeline: name, folder, "bundled" (ours) or "auto" (en_core_web_sm, else ours)."""
    rules: Rare[Rules] = field(default_factory=Rules)
    """The switches of the rules."""
    batch_size: Rare[int] = 64
    """Texts that are parsed together."""
    text_seconds: Rare[float] = TEXT_SECONDS
    """Processor time in seconds for one text (or for each 100,000 characters of a longer one). A
    text that takes longer is left out and named."""
    n_process: int = 1
    """Worker processes; each loads the pipeline and uses one core."""
    shard_size: Rare[int] = 1000
    """Texts per stored shard; a broken annotation goes on after the last whole shard."""
