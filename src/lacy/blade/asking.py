"""Ask the black box questions with knowledge, and measure how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lacy.blade.black_box import NOTHING, BlackBox, BoxPrompt, Spent
from lacy.blade.knowledge import Knowledge, KnowledgeProvider
from lacy.blade.triples import LETTERS, Triple, is_right
from lacy.errors import LacyError
from lacy.results import NO_DATA, Score, difference, wilson

OPEN = "Answer each question in a few words."
CHOICE = "Answer each question with the letter of the right option."

REPLY_TOKENS, LETTER_TOKENS = 24, 3
"""Maximum number of tokens of a reply to an open question, and to one with options."""

UNANSWERED = 0.1
"""Share of the questions that may stay without a reply (a server may refuse some for good)."""


@dataclass(frozen=True, slots=True)
class BladeAnswer:
    """The black box's answer to a question, with the knowledge that it read.

    Attributes:
        text: the answer; "" if there is none.
        knowledge: the pieces of knowledge, with their origin.
        speaker: name of the black box.
        spent: what the answer cost.
        error: why there is no answer, or "".
        right: whether it is right, if that is known.
    """

    text: str
    knowledge: tuple[Knowledge, ...]
    speaker: str
    spent: Spent = NOTHING
    error: str = ""
    right: bool | None = None


@dataclass(frozen=True, slots=True)
class AskedQuestions:
    """How often the black box was right on questions.

    Attributes:
        right: share of the answered questions, with its Wilson interval.
        asked: number of questions.
        unanswered: questions that the server did not answer; they do not count as wrong.
        spent: what the answers cost.
        answers: all answers, in the order of the questions.
    """

    right: Score
    asked: int
    unanswered: int
    spent: Spent
    answers: tuple[BladeAnswer, ...] = field(default=(), metadata=NO_DATA)

    def more_than(self, other: AskedQuestions) -> Score | None:
        """Return the paired difference of shares, with its bootstrap interval.

        Args:
            other: how often it was right on the same questions with other knowledge.

        Returns:
            Difference in accuracy over the questions that both answered; None if there are none.
        """
        pairs = [
            (int(mine.right), int(theirs.right))
            for mine, theirs in zip(self.answers, other.answers, strict=True)
            if mine.right is not None and theirs.right is not None
        ]
        if not pairs:
            return None
        ones = [1] * len(pairs)
        return difference(([a for a, _ in pairs], ones), ([b for _, b in pairs], ones))


def box_prompt(
    triple: Triple, knowledge: Sequence[str] = (), examples: Sequence[Triple] = ()
) -> BoxPrompt:
    """Return what the black box reads: a task, examples, and the question with its knowledge.

    Args:
        triple: the question; its answer is not shown.
        knowledge: pieces of knowledge.
        examples: questions with answers, which show a base model the form. Their knowledge is
            shown if they have any.
    """
    parts = [CHOICE if triple.options else OPEN]
    for one in examples:
        answer = one.letter or one.answer
        parts.append(f"{_block(one, [one.knowledge] if one.knowledge else [])} {answer}")
    parts.append(_block(triple, knowledge))
    letters = LETTERS[: len(triple.options)]
    return BoxPrompt("\n\n".join(parts), LETTER_TOKENS if letters else REPLY_TOKENS, letters)


def ask_questions(
    triples: Sequence[Triple],
    provider: KnowledgeProvider,
    box: BlackBox,
    *,
    examples: Sequence[Triple] = (),
) -> list[BladeAnswer]:
    """Return the black box's answer to each question.

    Args:
        triples: the questions; ``right`` is None for one whose answer is "".
        provider: gives the knowledge.
        box: the black box.
        examples: questions with answers that it reads first.

    Raises:
        LacyError: E392, a cap is reached; E60, a question does not fit into the small model.
    """
    pieces = provider.provide([one.question for one in triples])
    prompts = [
        box_prompt(one, [piece.text for piece in own], examples)
        for one, own in zip(triples, pieces, strict=True)
    ]
    found = []
    for triple, own, reply in zip(triples, pieces, box.ask(prompts), strict=True):
        right = is_right(triple, reply.text) if triple.answer and not reply.error else None
        found.append(BladeAnswer(reply.text, own, box.name, reply.spent, reply.error, right))
    return found


def score_questions(
    triples: Sequence[Triple],
    provider: KnowledgeProvider,
    box: BlackBox,
    *,
    examples: Sequence[Triple] = (),
) -> AskedQuestions:
    """Ask questions and count the right answers.

    Raises:
        LacyError: E393, more than ``UNANSWERED`` of the questions got no answer; and the errors of
            ``ask_questions``.
    """
    answers = ask_questions(triples, provider, box, examples=examples)
    return counted(answers, box)


def counted(answers: Sequence[BladeAnswer], box: BlackBox) -> AskedQuestions:
    """Count right answers (see ``score_questions``)."""
    lost = [one for one in answers if one.error]
    if len(lost) > UNANSWERED * len(answers):
        done = f"{len(answers) - len(lost)} of {len(answers)} questions are answered"
        raise LacyError("E393", name=box.name, why=lost[0].error, done=done)
    right = sum(bool(one.right) for one in answers)
    spent = sum((one.spent for one in answers), NOTHING)
    score = wilson(right, len(answers) - len(lost))
    return AskedQuestions(score, len(answers), len(lost), spent, tuple(answers))


def _block(triple: Triple, knowledge: Sequence[str]) -> str:
    """Return a question with knowledge and options, up to where its answer begins."""
    lines = [f"Knowledge: {' '.join(one.split())}" for one in knowledge]
    lines.append(f"Question: {triple.question}")
    lines += [f"{letter}. {one}" for letter, one in zip(LETTERS, triple.options, strict=False)]
    return "\n".join([*lines, "Answer:"])
