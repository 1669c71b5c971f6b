"""A linear head over the features of options, with weights and a temperature for each type.

The logit of an option is ``w · x + b [it is the yes of a noul]`` with the weights of the question's
type; the probabilities of its options are the softmax of their logits over the type's temperature
(conditional logit: McFadden, 1974; temperature: Guo et al., arXiv 1706.04599 §4.2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from lacy._parse import parse_json
from lacy.decide.decision import Floats, TypedDecision, decision_of
from lacy.decide.features import OptionFeatures
from lacy.decide.questions import TYPES, YES, DecisionQuestion, DecisionType
from lacy.disk import replace_folder, write_atomic
from lacy.errors import LacyError

SETTINGS, WEIGHTS = "decide.json", "model.safetensors"


@dataclass
class DecisionHead:
    """The weights of a head.

    Attributes:
        weights: the weight of each feature ``[D]``, for each type of question.
        yes: added to the logit of *yes* in a ``noul``.
        temperatures: divides the logits of each type of question.
        uses: the features that it is for (``OptionFeatures.identity``).
        made: what it was made from, and figures on held-out decisions.
    """

    weights: dict[DecisionType, Floats]
    yes: float = 0.0
    temperatures: dict[DecisionType, float] = field(
        default_factory=lambda: dict.fromkeys(TYPES, 1.0)
    )
    uses: dict[str, Any] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    def logits(self, question: DecisionQuestion, features_KD: Floats) -> Floats:
        """Return the logit of each option, before the temperature."""
        bonus_K = [self.yes if question.type == "noul" and one.name == YES else 0.0
                   for one in question.options]  # fmt: skip
        found_K: Floats = features_KD @ self.weights[question.type] + np.array(bonus_K)
        return found_K

    def decide(self, question: DecisionQuestion, features_KD: Floats) -> TypedDecision:
        """Return the decision about a question."""
        logits_K = self.logits(question, features_KD)
        return decision_of(question, logits_K, self.temperatures[question.type])

    def save(self, folder: str | Path) -> None:
        """Write the folder of the head."""
        settings = {"uses": self.uses, "yes": self.yes, "temperatures": self.temperatures,
                    "made": self.made}  # fmt: skip
        weights = {kind: torch.tensor(self.weights[kind], dtype=torch.float32) for kind in TYPES}
        with replace_folder(folder) as place:
            write_atomic(place / WEIGHTS, save(weights))
            text = json.dumps(settings, indent=1, ensure_ascii=False)
            write_atomic(place / SETTINGS, text + "\n")


def load_head(folder: str | Path) -> DecisionHead:
    """Open the folder of a head that ``lacy decide fit`` wrote.

    Raises:
        LacyError: E383, there is none, or it is damaged.
    """
    path = Path(folder)
    if not (path / SETTINGS).is_file():
        raise LacyError("E383", path=path, why=f"there is no file {SETTINGS} in it")
    try:
        settings = parse_json((path / SETTINGS).read_text(encoding="utf-8"))
        stored = load((path / WEIGHTS).read_bytes())
        weights = {kind: stored[kind].double().numpy() for kind in TYPES}
        temperatures = {kind: float(settings["temperatures"][kind]) for kind in TYPES}
        head = DecisionHead(weights, float(settings["yes"]), temperatures,
                            dict(settings["uses"]), dict(settings["made"]))  # fmt: skip
        if len({one.shape for one in weights.values()}) > 1 or stored[TYPES[0]].ndim != 1:
            raise ValueError("its weights are not lists of equal length")
        if not all(np.isfinite([*one, head.yes]).all() for one in weights.values()):
            raise ValueError("its weights are not finite")
        if not all(0 < value < np.inf for value in temperatures.values()):
            raise ValueError("a temperature is not above 0")
    except Exception as error:
        raise LacyError("E383", path=path, why=f"{type(error).__name__}: {error}") from error
    return head


@dataclass
class Decider:
    """Decides questions: features of options, and a head that scores them.

    Attributes:
        features: computes the features.
        head: scores them.
        name: names it in messages.
    """

    features: OptionFeatures
    head: DecisionHead
    name: str = "zero-shot"

    def decide(self, state: str, questions: Sequence[DecisionQuestion]) -> list[TypedDecision]:
        """Return the decisions about some questions on one state.

        Raises:
            LacyError: E382, state and question are longer than the context.
        """
        found = self.features.features(state, questions)
        return [self.head.decide(question, features_KD)
                for question, features_KD in zip(questions, found, strict=True)]  # fmt: skip

    def decide_named(
        self, state: str, questions: Mapping[str, DecisionQuestion]
    ) -> dict[str, TypedDecision]:
        """Return the decisions about named questions."""
        found = self.decide(state, list(questions.values()))
        return dict(zip(questions, found, strict=True))


def zero_shot(temperature: float = 1.0) -> DecisionHead:
    """Return the head of a model's likelihood, which was not fitted to any decisions."""
    temperatures = dict.fromkeys(TYPES, temperature)
    return DecisionHead({kind: np.array([1.0, 0.0]) for kind in TYPES}, 0.0, temperatures)
