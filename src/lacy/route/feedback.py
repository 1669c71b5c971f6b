"""Cases from what users said about a server's answers."""

from __future__ import annotations

from pathlib import Path

from lacy.records import read_records
from lacy.route.cases import RouteCase, joined_cases

SOURCE = "verdicts"
"""Source of cases that come from users' verdicts."""


def cases_from_records(folder: str | Path) -> list[RouteCase]:
    """Return outcomes of the answers in a server's records that users judged as a whole.

    The route is the name of the model that wrote the answer; the last verdict counts. Answers of
    several models to the same prompt are one case. Records
    without texts give none, because there is no prompt to learn from.

    Args:
        folder: folder of ``lacy serve --log-calls``, or one of its files.

    Raises:
        LacyError: E13, no such folder; E204, it has no records.
    """
    found: list[RouteCase] = []
    for answer in read_records(folder).answers:
        whole = [one for one in answer.verdicts if one.start is None]
        if whole and answer.record.prompt:
            right = 1.0 if whole[-1].verdict == "right" else 0.0
            found.append(
                RouteCase(answer.record.prompt, None, {answer.record.model: right}, {}, SOURCE)
            )
    return joined_cases(found)
