"""The settings of the rule annotator; importing them needs neither spaCy nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lacy.config import Rare

ONTONOTES = (
    "CARDINAL", "DATE", "EVENT", "FAC", "GPE", "LANGUAGE", "LAW", "LOC", "MONEY", "NORP",
    "ORDINAL", "ORG", "PERCENT", "PERSON", "PRODUCT", "QUANTITY", "TIME", "WORK_OF_ART",
)  # fmt: skip
"""The 18 entity types of OntoNotes 5, as used by spaCy's English pipelines."""

CONLL = ("PER", "LOC", "ORG", "MISC")
"""The four entity types of CoNLL 2003 and wikigold, as used by many other pipelines."""

RULES_VERSION = 3
"""Version of the rules; stored marks and indexes of other versions are rebuilt.
2: whole values and names by the grammar. 3: numbers and dates without qualifiers."""

PAPER_SHARE = 0.25
"""Share of sub-word tokens that the paper's rules mark on Wikipedia (§4)."""

TEXT_SECONDS = 60.0
"""Time limit for marking 100,000 characters, which takes about a second (our choice)."""

MARKING = ("entities", "numbers", "dates", "proper_nouns", "keywords", "learned")
"""The switches that add marks."""

UNMARKING = ("unmark_seen", "unmark_subject", "unmark_edges", "unmark_inside")
"""The switches that remove marks."""


@dataclass(frozen=True)
class Rules:
    """Rules for which tokens count as facts (paper §3, §4; its own word lists are not public).

    The defaults mark about 27% of sub-word tokens on Wikipedia (the paper: 25%);
    ``docs/annotation.md`` lists the share of each switch.
    """

    entities: bool = True
    """Mark named entities, if the pipeline finds any."""
    entity_types: tuple[str, ...] = ONTONOTES + CONLL
    """The entity types that count as facts."""
    numbers: bool = True
    """Mark numbers, in digits and in words."""
    dates: bool = True
    """Mark dates by their form: days, months with a number, years, decades, centuries."""
    proper_nouns: bool = True
    """Mark runs of proper nouns, joined over short words such as "of" and "von"."""
    keywords: bool = True
    """Mark professions, nationalities and titles from short lists."""
    learned: bool = True
    """Mark the spans predicted by a component "facts" that was trained on a judge's labels."""
    learned_threshold: float = 0.5
    """Minimum probability of a predicted fact token, from 0 to 1. Lower values mark more."""
    unmark_seen: bool = True
    """Do not mark names and keywords that occur earlier in the text: they can be copied."""
    unmark_subject: bool = True
    """Do not mark the name of the text's subject (its title, else the first name)."""
    unmark_edges: bool = True
    """Trim articles, other function words and punctuation from the ends of marks."""
    unmark_inside: bool = False
    """Also split marks at function words and punctuation inside; this breaks values apart."""
    content: bool = True
    """Also mark content words that are not facts (CONTENT), for the ``ignore`` ablations."""

    def only(self, *switches: str) -> Rules:
        """Return a copy with only these marking switches on; other settings do not change."""
        return self.with_switches({name: name in switches for name in MARKING})

    def with_switches(self, states: Mapping[str, bool]) -> Rules:
        """Return a copy with some switches changed."""
        changes: dict[str, Any] = dict(states)
        return replace(self, **changes)

    @staticmethod
    def switches() -> tuple[str, ...]:
        """Return the names of all on/off switches, in order."""
        return tuple(f.name for f in fields(Rules) if str(f.type).startswith("bool"))


@dataclass(frozen=True)
class AnnotateConfig:
    """Settings of the annotation with spaCy and rules."""

    pipeline: str = "auto"
    """A spaCy pipeline: name, folder, "bundled" (ours) or "auto" (en_core_web_sm if installed, else
    ours)."""
    rules: Rare[Rules] = field(default_factory=Rules)
    """The switches of the rules."""
    batch_size: Rare[int] = 64
    """Number of texts that are parsed together."""
    text_seconds: Rare[float] = TEXT_SECONDS
    """Processor time in seconds for one text (or for each 100,000 characters of a longer one).
    Texts that take longer are skipped and listed."""
    n_process: int = 1
    """Worker processes; each loads the pipeline and uses one core."""
    shard_size: Rare[int] = 1000
    """Texts per stored shard; an interrupted annotation resumes after the last shard."""
