"""Search the soft prompt with which the black box answers best (BLADE's stage 3).

An evaluation writes knowledge for all questions of a development set with one soft prompt, asks the
black box, and counts its right answers. Every evaluation is a line of ``trials.jsonl``, every reply
one of ``answers.jsonl``, so a stopped search resumes. An evaluation that fails (the
server is gone or refuses) has no value and is tried again; it is never a 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lacy.blade.asking import score_questions
from lacy.blade.black_box import BlackBox, Spent
from lacy.blade.folder import ANSWERS, TRIALS, Blade
from lacy.blade.knowledge import WrittenKnowledge
from lacy.blade.search import make_search
from lacy.blade.settings import OptimiseSettings
from lacy.blade.soft_prompt import Projection, SoftPrompt
from lacy.blade.triples import Triple
from lacy.blade.writer import KnowledgeWriter
from lacy.disk import lock
from lacy.errors import LacyError
from lacy.model import Loaded, load_model
from lacy.results import AnswerStore, answer_key
from lacy.run import Run, require_same_run

MAY_DIFFER = ("settings.evaluations", "settings.failures")
"""Settings that a search which goes on may change."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An evaluation of a soft prompt.

    Attributes:
        number: from 1; 0 is the evaluation without a soft prompt.
        point: the point z; empty for number 0.
        right: number of right answers.
        answered: number of answered questions.
        asked: number of questions.
        input_tokens: tokens that the black box read.
        output_tokens: tokens that it wrote.
        cost: of the answers in US dollars.
    """

    number: int
    point: tuple[float, ...]
    right: int
    answered: int
    asked: int
    input_tokens: int
    output_tokens: int
    cost: float

    @property
    def score(self) -> float:
        """Share of right answers."""
        return self.right / self.answered


@dataclass(frozen=True, slots=True)
class Optimised:
    """The result of a search.

    Attributes:
        blade: the small model with the best soft prompt; without one if none was better than none.
        trials: all evaluations, the one without a soft prompt first.
        best: the best one.
        spent: what the black box has cost in all, with the runs before.
    """

    blade: Blade
    trials: tuple[Trial, ...]
    best: Trial
    spent: Spent


def optimise(
    model: str | Path | Loaded,
    questions: Sequence[Triple],
    open_box: Callable[[Path], BlackBox],
    out: str | Path,
    settings: OptimiseSettings | None = None,
    *,
    examples: Sequence[Triple] = (),
    on_trial: Callable[[Trial], object] = lambda trial: None,
    notify: Callable[[str], object] = lambda sentence: None,
) -> Optimised:
    """Search a soft prompt, and write the folder ``out``.

    The same call continues a search that was stopped, by a signal, by a cap, or by a server.

    Args:
        model: the small model, or its name.
        questions: the development set; the reported questions must be others.
        open_box: opens the black box with a file of answers.
        out: the folder; see ``Blade``.
        settings: of the search.
        examples: questions with answers and knowledge that the black box reads first.
        on_trial: called with each new evaluation.
        notify: called with a sentence when an evaluation failed and is tried again.

    Raises:
        LacyError: E12, a setting is invalid; E391, there are no questions; E17, the folder is of a
            search with other settings; E392, a cap is reached; E393, the black box did not answer
            in several tries; E60, a question does not fit into the model.
    """
    settings = settings or OptimiseSettings()
    settings.check()
    out = Path(out)
    if not questions:
        raise LacyError("E391", path="the development set", why="it has no questions")
    loaded = model if isinstance(model, Loaded) else load_model(model)
    writer = KnowledgeWriter(loaded, max_tokens=settings.max_tokens)
    with lock(out), open_box(out / ANSWERS) as box, AnswerStore(out / TRIALS) as store:
        stored = {
            "model": writer.fingerprint, "black_box": box.name, "style": box.style,
            "questions": _digest(questions), "examples": _digest(examples),
            "settings": asdict(settings),
        }  # fmt: skip
        require_same_run(out, stored, may_differ=MAY_DIFFER)
        search = _Search(writer, questions, box, store, settings, tuple(examples), notify)
        first = search.trial(0, (), on_trial)
        # Only now is the black box known to answer; before, its name may be a mistake.
        Run(out, stored, may_differ=MAY_DIFFER).write_environment()
        trials = search.run(first, on_trial)
        best = max(trials, key=lambda one: (one.score, -one.number))
        soft_prompt = search.soft_prompt(best)
        blade = Blade(loaded, soft_prompt, settings.max_tokens)
        blade.save(out, {
            "black_box": box.name, "dev_right": best.right, "dev_answered": best.answered,
            "dev_without": trials[0].score, "evaluations": len(trials) - 1, "trial": best.number,
        })  # fmt: skip
        return Optimised(blade, tuple(trials), best, box.spent)


@dataclass
class _Search:
    """A search in progress."""

    writer: KnowledgeWriter
    questions: Sequence[Triple]
    box: BlackBox
    store: AnswerStore
    settings: OptimiseSettings
    examples: tuple[Triple, ...]
    notify: Callable[[str], object]

    def __post_init__(self) -> None:
        settings = self.settings
        self._projection = Projection(
            self.writer.loaded, settings.soft_tokens, settings.dimensions, settings.seed,
            fingerprint=self.writer.fingerprint,
        )  # fmt: skip

    def run(self, first: Trial, on_trial: Callable[[Trial], object]) -> list[Trial]:
        """Evaluate each point that the search asks for, after the one without a soft prompt."""
        settings, trials = self.settings, [first]
        search = make_search(settings.search, settings.dimensions, settings.start, settings.seed)
        while len(trials) <= settings.evaluations:
            left = settings.evaluations + 1 - len(trials)
            size = settings.start if len(trials) == 1 else settings.batch
            points = search.ask(min(left, size))
            batch = [
                self.trial(len(trials) + place, tuple(map(float, point)), on_trial)
                for place, point in enumerate(points)
            ]
            search.tell([one.point for one in batch], [one.score for one in batch])
            trials += batch
        return trials

    def soft_prompt(self, trial: Trial) -> SoftPrompt | None:
        """Return the soft prompt of an evaluation."""
        return self._projection(trial.point) if trial.point else None

    def trial(
        self, number: int, point: tuple[float, ...], on_trial: Callable[[Trial], object]
    ) -> Trial:
        """Return a stored evaluation, or make it. A stored one keeps its own point."""
        kept: dict[str, Any] | None = self.store.get(str(number))
        if kept is not None:
            return Trial(**{**kept, "point": tuple(kept["point"])})
        trial = Trial(number, point, 0, 0, len(self.questions), 0, 0, 0.0)
        self.writer.use(self.soft_prompt(trial))
        trial = self._evaluate(trial)
        self.store.put({str(number): {**asdict(trial), "point": list(point)}})
        on_trial(trial)
        return trial

    def _evaluate(self, trial: Trial) -> Trial:
        """Ask all questions; a failed evaluation is tried again, and the answers are kept."""
        provider = WrittenKnowledge(self.writer)
        for attempt in range(1, self.settings.failures + 1):
            try:
                found = score_questions(self.questions, provider, self.box, examples=self.examples)
            except LacyError as error:
                if error.code != "E393":
                    raise
                why = error.values["why"]
                self.notify(f"Evaluation {trial.number} failed, try {attempt}: {why}")
                last = error
            else:
                spent = found.spent
                answered = found.asked - found.unanswered
                return replace(
                    trial, right=round(found.right.value * answered), answered=answered,
                    input_tokens=spent.input_tokens, output_tokens=spent.output_tokens,
                    cost=spent.cost,
                )  # fmt: skip
        done = f"{len(self.store)} of {self.settings.evaluations + 1} evaluations are stored"
        raise LacyError("E393", name=self.box.name, why=last.values["why"], done=done)


def _digest(triples: Sequence[Triple]) -> str:
    return answer_key(*(one.as_data() for one in triples))
