"""Keep records of answers, and users' verdicts on them, if the operator wants them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from lacy.cascade import Engine
from lacy.model import FINGERPRINT, model_fingerprint
from lacy.records import RecordLog, UserVerdict, record_answer
from lacy.serve.bodies import FeedbackBody
from lacy.serve.choice import Choice, has_content
from lacy.serve.errors import ApiError
from lacy.serve.generation import Generation
from lacy.serve.prompts import Prompt


@dataclass(frozen=True)
class Recorder:
    """Makes records of a server's answers.

    Args:
        log: where they are kept; None for no records.
        model: name of the model for clients.
        fingerprint: of its weights.
    """

    log: RecordLog | None = None
    model: str = ""
    fingerprint: str = ""

    @property
    def active(self) -> bool:
        """True if records are kept."""
        return self.log is not None

    def record(self, response: str, generation: Generation) -> None:
        """Keep a record of each answer of a response; never waits and never fails."""
        if self.log is None:
            return
        for number, choice in enumerate(generation.choices):
            prompt = generation.request.prompts[number // generation.request.count]
            self._record_choice(self.log, response, number, choice, prompt, generation)

    def _record_choice(
        self,
        log: RecordLog,
        response: str,
        number: int,
        choice: Choice,
        prompt: Prompt,
        generation: Generation,
    ) -> None:
        spans = [span for span in choice.spans if has_content(span)]
        if not spans:
            return
        request = generation.request
        shown = prompt.text if prompt.question is None else f"{prompt.question.shown}\n\n"
        log.add(
            record_answer(
                spans,
                texts=log.texts,
                prompt=shown,
                subject=request.subject,
                id=response,
                choice=number,
                time=time.time(),
                model=self.model,
                fingerprint=self.fingerprint,
                policy=str(request.engine.policy),
                unit=request.engine.unit,
                finish=choice.finish,
            )
        )

    def add_verdict(self, body: FeedbackBody) -> dict[str, Any]:
        """Keep a user's verdict, and return the response.

        Raises:
            ApiError: 400, the answer has no such part; 404, no such answer, or no records are kept;
                503, the verdict cannot be kept now.
        """
        log = self.log
        if log is None:
            why = "this server keeps no records of answers; start it with --log-calls FOLDER"
            raise ApiError(404, why, "no_records")
        lengths = log.characters(body.id, body.choice)
        if lengths is None:
            why = f"there is no record of the answer {body.id!r}, choice {body.choice}; give the "
            why += "id of a response of this server, as its records are kept only for a while"
            raise ApiError(404, why, "unknown_answer", "id")
        start, end = _part_of(body, lengths)
        if body.correct is not None and start is None:
            why = "a correct value replaces a part of the answer; give span, or start and end"
            raise ApiError(400, why, "invalid_value", "correct")
        correct = body.correct if log.texts else None
        verdict = UserVerdict(body.id, body.choice, time.time(), body.verdict, start, end, correct)
        if not log.count_verdict(body.id, body.choice):
            raise ApiError(400, "this answer has too many verdicts already", "above_limit", "id")
        if log.problem or not log.add(verdict):
            why = "the verdict cannot be kept now; the server's log says why"
            raise ApiError(503, why, "records_unwritable", retry=60)
        return {
            "object": "feedback", "id": body.id, "choice": body.choice, "verdict": body.verdict,
            "start": start, "end": end, "correct": correct,
        }  # fmt: skip


def _part_of(body: FeedbackBody, lengths: list[int]) -> tuple[int | None, int | None]:
    """Return the characters of an answer that a verdict is about; None for all of it.

    Raises:
        ApiError: 400, the answer has no such part.
    """
    if body.span is not None:
        if body.start is not None or body.end is not None:
            raise ApiError(400, "give either span, or start and end", "invalid_value", "span")
        if body.span >= len(lengths):
            why = f"the answer has {len(lengths)} spans, so their indices end at {len(lengths) - 1}"
            raise ApiError(400, why, "invalid_value", "span")
        start = sum(lengths[: body.span])
        if not lengths[body.span]:
            raise ApiError(400, "this span has no text", "invalid_value", "span")
        return start, start + lengths[body.span]
    if body.start is None and body.end is None:
        return None, None
    if body.start is None or body.end is None:
        name = "start" if body.start is None else "end"
        raise ApiError(400, "start and end belong together", "invalid_value", name)
    if not body.start < body.end <= sum(lengths):
        why = f"the answer has {sum(lengths)} characters; start must be less than end"
        raise ApiError(400, why, "invalid_value", "end")
    return body.start, body.end


def fingerprint_of(engine: Engine) -> str:
    """Return the fingerprint of an engine's weights; empty if they are not in this process."""
    if engine.hosted is not None or not isinstance(engine.model, torch.nn.Module):
        return ""
    known = getattr(engine.loaded, "meta", {}).get(FINGERPRINT)
    return str(known) if known else model_fingerprint(engine.model)
