"""What a judge receives and returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

NO_PASSAGES = "no passages about the topic"
NO_FACT = "the fact is empty"


@dataclass(frozen=True, slots=True)
class Claim:
    """An atomic fact to be judged.

    Attributes:
        text: the fact, a short sentence.
        topic: what the fact is about, such as the name of a person.
        passages: texts about the topic, usually the passages of its page.
        response: an id of the response that the fact was taken from. Facts with the same topic and
            response are known to come from one text; "" if that is not known.
    """

    text: str
    topic: str
    passages: tuple[str, ...]
    response: str = ""


@dataclass(frozen=True, slots=True)
class Judgment:
    """A judge's opinion of one claim.

    Attributes:
        supported: whether the passages support the fact; None if the judge could not tell.
        score: how sure the judge is that they do, from 0 to 1; None if it gave no verdict, or has
            no score.
        why: why there is no verdict; "" if there is one.
    """

    supported: bool | None
    score: float | None
    why: str = ""


class Judge(Protocol):
    """Decides which claims their passages support.

    Attributes:
        name: the judge's name as scores print it.
    """

    name: str

    def judge(self, claims: Sequence[Claim]) -> list[Judgment]:
        """Return one judgment per claim, in their order."""
        ...


def not_judgeable(claim: Claim) -> Judgment | None:
    """Return the judgment of a claim that no judge can decide, or None if it can be judged."""
    if not claim.text.strip():
        return Judgment(None, None, NO_FACT)
    if not any(passage.strip() for passage in claim.passages):
        return Judgment(None, None, NO_PASSAGES)
    return None
