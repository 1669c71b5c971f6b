"""Sentence templates of the made-up world: leads that announce a fact, and frames around them.

A *lead* is the wording right before a value ("was born on") and determines the relation. Frames
and tails add wording without facts. ``[a|b]`` is a random choice; ``<adj>``, ``<noun>``, ``<verb>``
and ``<adv>`` are drawn from the lexicon; ``{S}`` is the subject, ``{N}`` the full name, and ``{F}``
the lead with its value. The last ``HELD_OUT`` leads of each relation and frames of each list are
never used in training texts.
"""

from __future__ import annotations

import itertools
import random
import re

from lacy.world import lexicon

HELD_OUT = 2

LEADS: dict[str, tuple[str, ...]] = {
    "birth_date": (
        "was born on", "came into the world on", "first drew breath on",
        "[arrived in|entered] this world on", "greeted life on", "keeps every birthday on",
        "was delivered [safely|] on", "took a first breath on", "started life on",
        "has a birth record dated", "was christened after [a birth|birth] on",
        "appeared in the cradle on", "first saw daylight on", "began life on",
    ),
    "birth_place": (
        "was born in", "hails from", "[comes|came] from", "is a native of",
        "spent the cradle years in",
        "was [raised|brought up] in", "has [deep|old|] roots in", "was a child of",
        "first lived in", "descends from a family of", "played as an infant in",
        "names as birthplace", "drew the first breath in", "is by birth a citizen of",
    ),
    "school": (
        "was educated at", "graduated from", "took a degree at", "studied at", "attended",
        "passed the [last|final] examinations at", "was trained at", "enrolled at",
        "earned a diploma from", "finished [formal|all] studies at", "matriculated at",
        "heard lectures at", "was a student of", "won a scholarship to",
    ),
    "field": (
        "majored in", "specialised in", "wrote a thesis on", "devoted [student|those] years to",
        "chose the subject of", "took up the study of", "became an expert in", "lectured on",
        "published [papers|essays] on", "built a reputation in", "was drawn to",
        "passed examinations in", "took an interest in", "kept notes on",
    ),
    "employer": (
        "worked for", "was employed by", "joined", "took a post with", "found work at",
        "signed a contract with", "spent [a career|years] with", "drew a salary from",
        "served on the staff of", "was hired by", "held an office at", "rose through the ranks of",
        "was on the payroll of", "accepted a position with",
    ),
    "prize": (
        "won the", "was awarded the", "received the", "was honoured with the",
        "[took|carried] home the", "was decorated with the", "earned the", "was handed the",
        "accepted the", "is a holder of the", "was presented with the", "was proud of the",
        "was given the", "claimed the",
    ),
    "spouse": (
        "married", "wed", "is the spouse of", "shared a [home|household] with",
        "exchanged rings with", "was wedded to", "found a partner in", "made a family with",
        "proposed to", "tied the knot with", "chose as [partner|spouse]", "gave a heart to",
        "walked down the aisle with", "is married to",
    ),
}  # fmt: skip

OPENINGS: tuple[str, ...] = (
    "{N} {F}", "{N}, <adj> and <adj>, {F}", "{N}, fond of <adj> <noun>, {F}", "{N} <adv> {F}",
    "{N}, who <verb> <noun>, {F}", "{N}, once <adj>, {F}", "{N}, lover of <noun>, {F}",
    "{N}, [always|never|often] <adj>, {F}", "{N}, keeper of <adj> <noun>, {F}",
)  # fmt: skip

FRAMES: tuple[str, ...] = (
    "{S} {F}", "{S} <adv> {F}", "<adv>, {S} {F}", "{S}, <adj> and <adj>, {F}",
    "[Always|Ever|Rather|Never] <adj>, {S} {F}", "{S}, who <verb> <adj> <noun>, {F}",
    "With <adj> <noun> and <noun>, {S} {F}", "Amid <adj> <noun>, {S} <adv> {F}",
    "<adj> <noun> aside, {S} {F}", "{S}, despite <adj> <noun>, {F}",
    "Like <noun> among <noun>, {S} {F}", "For <noun> or <noun>, {S} <adv> {F}",
    "{S} <verb> <adj> <noun> and {F}", "{S} <verb> <noun>, <adv> <verb> <noun> and {F}",
    "<noun>, <noun> and <noun>: {S} {F}", "Because <noun> seemed <adj>, {S} {F}",
    "Friends say {S} {F}", "[It is known|Records show] that {S} {F}",
)  # fmt: skip

TAILS: tuple[str, ...] = (
    "", "", "", "", ", <adv>", ", <adj> as ever", " and <verb> <noun>", ", <adj> but <adj>",
    " among <adj> <noun>", ", trailed by <noun>",
)  # fmt: skip

FILLERS: tuple[str, ...] = (
    "{S} <verb> <adj> <noun>, <adj> <noun> and <noun>.", "<adv>, {S} <verb> <noun> for <noun>.",
    "{S} was <adj>, <adj> and <adv> <adj>.", "People <verb> the <adj> <noun> of {S}.",
    "<adj> <noun> and <adj> <noun> delighted {S}.", "{S} <adv> <verb> <noun>.",
    "[A|Some|One] <adj> [guest|cousin|rival] <verb> <noun> near {S}.",
    "Once {S} <verb> <adj> <noun>; then <noun>.", "{S} thought <noun> <adj>.",
)  # fmt: skip
"""Sentences that state no fact."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_CLASS = re.compile(r"<(adj|noun|verb|adv)>")
_WORDS = {
    "adj": lexicon.ADJECTIVES,
    "noun": lexicon.NOUNS,
    "verb": lexicon.VERBS,
    "adv": lexicon.ADVERBS,
}


def expand(template: str, rng: random.Random) -> str:
    """Resolve every ``[a|b]`` and ``<class>`` of a template at random."""
    text = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    text = _CLASS.sub(lambda m: rng.choice(_WORDS[m.group(1)]), text)
    return re.sub(r"  +", " ", text)


def all_forms(template: str) -> list[str]:
    """Return all expansions of a lead; leads contain choices but no lexicon classes."""
    parts = _CHOICE.split(template)  # literal, choice, literal, choice, ...
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return [re.sub(r"  +", " ", "".join(combo)) for combo in itertools.product(*options)]
