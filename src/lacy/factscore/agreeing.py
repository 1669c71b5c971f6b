"""What is known of a judge's agreement with people, as scores print it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.judges import FIT_AUROC, Agreement, stored_agreement

UNKNOWN_AGREEMENT = "unknown: never compared with people (lacy judge check)"


@dataclass(frozen=True, slots=True)
class KnownAgreement:
    """What is known of a judge's agreement with people.

    Attributes:
        text: the figures in one line.
        unfit: True if it agrees too little for its number to be called FActScore.
    """

    text: str
    unfit: bool


def known_agreement(judge: str) -> KnownAgreement | None:
    """Return the agreement of a judge that comes with lacy, by its name; None if unknown."""
    stored = stored_agreement(judge)
    return _known(stored.agreements) if stored else None


def read_agreement(path: str | Path, judge: str) -> KnownAgreement:
    """Read what ``lacy judge check --out PATH`` wrote.

    Args:
        path: the file.
        judge: the judge that it must be about.

    Raises:
        LacyError: E230, the file is no such file, or about another judge.
    """
    try:
        data = parse_json(Path(path).read_text(encoding="utf-8"))
        agreements = [Agreement.from_data(one) for one in data["agreements"]]
        measured = str(data["judge"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise LacyError("E230", path=path, why=why) from None
    if measured != judge:
        raise LacyError("E230", path=path, why=f"it is about {measured}, not {judge}")
    return _known(agreements)


def _known(agreements: Sequence[Agreement]) -> KnownAgreement:
    if not agreements:
        return KnownAgreement("no fact was compared with people", unfit=True)
    lowest = min(agreements, key=lambda one: one.auroc.value)
    gap = max((one.gap.value for one in agreements), key=abs)
    facts = sum(one.facts for one in agreements)
    text = (
        f"AUROC {lowest.auroc.value:.3f} [{lowest.auroc.low:.3f}, {lowest.auroc.high:.3f}] on"
        f" facts of {lowest.model} (lowest of {len(agreements)}), gap {gap:+.3f} (largest),"
        f" {facts:,} facts labelled by people"
    )
    return KnownAgreement(text, unfit=not lowest.auroc.value >= FIT_AUROC)
