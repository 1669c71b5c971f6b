"""Decide where calls are due: at value starts, misses, or tokens of high loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lacy.corpus import Encoded
from lacy.evaluate import contains_value
from lacy.tune.settings import Target
from lacy.tune.states import States
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Flags = NDArray[np.bool_]


def first_mentions(articles: Sequence[Encoded], tokenizer: PreTrainedTokenizerFast) -> Flags:
    """Return True for each predicted token that begins a value that the text did not contain yet.

    Args:
        articles: tokens and marks; the tokens after the first of each article are predicted.
        tokenizer: decodes the values.
    """
    return np.concatenate([_first_mentions(article, tokenizer) for article in articles])


def _first_mentions(article: Encoded, tokenizer: PreTrainedTokenizerFast) -> Flags:
    found = np.zeros(len(article.input_ids), bool)
    for start, end in value_spans(article.marks):
        value = _text(tokenizer, article.input_ids[start:end])
        before = _text(tokenizer, article.input_ids[:start])
        found[start] = bool(value.strip()) and not contains_value(before, value)
    return found[1:]


def calls_due(
    target: Target, table: States, first_N: Flags, wrong_N: Flags | None, call_rate: float
) -> Flags:
    """Return True for each predicted token at which a call is due.

    Args:
        target: ``where`` (value starts), ``miss`` (first mentions of values that the model gets
            wrong) or ``value`` (fact tokens with the highest loss, as in the paper).
        table: one row per predicted token.
        first_N: True for first mentions.
        wrong_N: True for values that the model does not generate; by default those whose first
            token is not the model's likeliest.
        call_rate: share of tokens for ``value``.
    """
    if target == "where":
        return table.is_start
    if target == "miss":
        return table.is_start & first_N & (~table.right_N if wrong_N is None else wrong_N)
    facts = np.flatnonzero(table.is_fact)
    wanted = min(round(call_rate * len(table)), len(facts))
    due_N = np.zeros(len(table), bool)
    due_N[facts[np.argsort(-table.loss_N[facts], kind="stable")[:wanted]]] = True
    return due_N


def value_spans(marks: Sequence[int]) -> list[tuple[int, int]]:
    """Return the token ranges ``[start, end)`` of the values of an article."""
    marks_T = np.asarray(marks, np.uint8)
    fact_T, start_T = (marks_T & MarkFlag.FACT) > 0, (marks_T & MarkFlag.START) > 0
    spans = []
    for start in np.flatnonzero(start_T).tolist():
        end = start + 1
        while end < len(marks_T) and fact_T[end] and not start_T[end]:
            end += 1
        spans.append((start, end))
    return spans


def _text(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text
