"""Ask questions whose own answers are the facts of a database, as they are and edited.

Files such as PopQA and EntityQuestions say what they ask about, so that their answers make a
database. With it, a cascade only has to find the subject and the relation; with every fact edited,
only the edited value is right, which a model that answers from memory misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lacy.errors import LacyError
from lacy.evaluate.question_files import facts_database, with_own_facts
from lacy.evaluate.questions import (
    QuestionsResult,
    TestQuestion,
    edited,
    evaluate_questions,
)

if TYPE_CHECKING:
    from lacy.cascade import Policy

OWN_FACTS, EDITED_FACTS = "own facts", "own facts, edited"
"""Names of the conditions with a database."""


def evaluate_own_facts(
    loaded: Any,
    questions: Sequence[TestQuestion],
    policy: Policy | str,
    *,
    others: Sequence[TestQuestion] = (),
    **settings: Any,
) -> QuestionsResult:
    """Ask questions alone, with a database of their own facts, and with each of these edited.

    Args:
        loaded: the model.
        questions: the questions; those without a subject or relation are only asked alone.
        policy: when to call.
        others: further questions whose facts are in the database too.
        settings: other arguments of ``evaluate_questions``, without a store.

    Raises:
        LacyError: E236, no question says what it asks about.
    """
    from lacy.sources import Database

    asked, more = with_own_facts(questions), with_own_facts(others)
    if not asked:
        raise LacyError("E236", count=len(questions))
    alone = evaluate_questions(loaded, questions, None, policies=["never"], **settings)
    conditions = dict(alone.conditions)
    with TemporaryDirectory() as folder:
        for name, some in ((OWN_FACTS, asked), (EDITED_FACTS, edited(asked))):
            path = facts_database([*some, *more], Path(folder) / f"{name}.sqlite")
            with Database(path, name="facts") as database:
                found = evaluate_questions(loaded, some, database, policies=[policy], **settings)
            [answers] = found.conditions.values()
            conditions[name] = replace(answers, condition=name)
    return QuestionsResult(conditions, alone.repeated)
