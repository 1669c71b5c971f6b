"""Read the outcome files of RouteLLM and LLMRouter as router cases.

``route_mmlu`` and ``route_gsm8k`` read what RouteLLM published (two models), ``route_matrix``
LLMRouter's scores of nine models; all lie in the folder `routing`.
"""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

from lacy.route import RouteCase

WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"

BILLIONS = {
    "qwen2.5-7b-instruct": 7, "mistral-7b-instruct-v0.3": 7, "codegemma-7b": 7,
    "llama-3.1-8b-instruct": 8, "llama3-chatqa-1.5-8b": 8, "gemma-2-9b-it": 9,
    "llama-3.3-nemotron-super-49b-v1": 49, "llama-3.1-nemotron-51b-instruct": 51,
    "llama3-chatqa-1.5-70b": 70,
}  # fmt: skip
"""Parameters of LLMRouter's models: the cost of an answer here, because the file has no costs."""


def route_mmlu(data: Path) -> list[RouteCase]:
    """Return RouteLLM's outcomes on MMLU; the source is the subject."""
    return [
        one
        for file in sorted((data / "routing" / "routellm_mmlu").glob("*.csv"))
        for one in _outcomes(file, file.stem.removeprefix("mmlu_"))
    ]


def route_gsm8k(data: Path) -> list[RouteCase]:
    """Return RouteLLM's outcomes on GSM8K."""
    return _outcomes(data / "routing" / "routellm_gsm8k.csv", "gsm8k")


def _outcomes(file: Path, source: str) -> list[RouteCase]:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [
        RouteCase(
            row["prompt"],
            scores={name: float(row[name] == "True") for name in (WEAK, STRONG)},
            source=source,
        )
        for row in rows
    ]


def route_matrix(data: Path) -> list[RouteCase]:
    """Return LLMRouter's matrix; the source is the task; of repeated questions, the first counts.

    Scores are those of the file, cut to 0 to 1.
    """
    folder = data / "routing"
    with (folder / "llmrouter_default_query_train.jsonl").open(encoding="utf-8") as stream:
        task = {row["query"]: row["task_name"] for row in map(json.loads, stream)}
    rows = json.loads((folder / "llmrouter_scores_train.json").read_text(encoding="utf-8"))
    found: dict[str, RouteCase] = {}
    for row in rows:
        scores = row["scores"]  # a mapping, or one written as text
        scores = ast.literal_eval(scores) if isinstance(scores, str) else scores
        scores = {name: min(1.0, max(0.0, float(score))) for name, score in scores.items()}
        text = row["question"]
        found.setdefault(text, RouteCase(text, scores=scores, source=task[text]))
    return list(found.values())
