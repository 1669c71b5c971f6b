"""Write the outcome of scoring in the original's format, with more beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lacy.disk import write_atomic
from lacy.factscore.measured import FactScoreResult
from lacy.results import Measurement, as_data


def original_output(measured: FactScoreResult) -> dict[str, Any]:
    """Return what the original's command writes: ``score``, ``respond_ratio``, ``decisions``, ...

    ``decisions`` has one list per response, or None for one without facts; each decision has
    ``atom`` and ``is_supported``, which is None if there is no verdict (the original always has
    one). If the judge is unfit, ``score`` and ``init_score`` are None, because they would be taken
    for FActScore.
    """
    scores = measured.scores()
    fit = measured.may_be_called_factscore

    def value(name: str) -> float | None:
        found = scores[name].value if name in scores else math.nan
        return None if math.isnan(found) else found

    output: dict[str, Any] = {
        "score": value("factscore") if fit else None,
        "respond_ratio": value("respond_ratio"),
        "decisions": [
            [{"atom": d.fact, "is_supported": d.supported} for d in response.decisions]
            if response.state == "scored"
            else None
            for response in measured.responses
        ],
        "num_facts_per_response": value("facts_per_response"),
    }
    if measured.gamma:
        output["init_score"] = value("factscore_init") if fit else None
    return output


def output_data(measured: FactScoreResult, more: Sequence[Measurement] = ()) -> dict[str, Any]:
    """Return the original's output with all that lacy knows beside it, under ``lacy``.

    Args:
        measured: the outcome.
        more: other measurements of the same responses, such as recall.
    """
    results = [*measured.results(), *(result for one in more for result in one.results())]
    return {
        **original_output(measured),
        "lacy": {
            "results": as_data(results),
            "conditions": measured.conditions(),
            "unjudged": measured.unjudged(),
            "without_facts": measured.without_facts(),
            "missing_pages": {t: list(near) for t, near in measured.missing_pages().items()},
            "counts": dict(measured.counts),
            "responses": [
                {
                    "topic": response.topic,
                    "state": response.state,
                    "title": response.title,
                    "why": response.why,
                    "decisions": as_data(response.decisions),
                }
                for response in measured.responses
            ],
        },
    }


def write_output(
    path: str | Path, measured: FactScoreResult, more: Sequence[Measurement] = ()
) -> None:
    """Write the outcome as JSON; the same decisions give the same bytes.

    Args:
        path: the file.
        measured: the outcome.
        more: other measurements of the same responses.

    Raises:
        LacyError: E19, the file cannot be written.
    """
    text = json.dumps(output_data(measured, more), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n")
