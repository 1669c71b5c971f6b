"""A safety classifier in a folder: weights, tokenizer, calibration, thresholds, what it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from tokenizers import Tokenizer

from lacy._text import first_line
from lacy.disk import replace_folder, write_atomic
from lacy.encoder import EncoderShape, PieceReader, dequantised, quantised
from lacy.errors import LacyError
from lacy.safety.calibration import Floats, ScoreCalibration
from lacy.safety.network import SafetyNetwork
from lacy.safety.texts import ROLES, LabelledText, Role, TextIds, batches_of

SETTINGS, WEIGHTS, TOKENIZER = "safety.json", "model.safetensors", "tokenizer.json"

BATCH = 32
"""Texts scored at a time."""

DIGITS = 5
"""Decimals of a probability, so that the company of a text in a batch cannot change it."""


@dataclass(frozen=True)
class RoleDecision:
    """How one role is decided.

    Attributes:
        calibration: turns logits into probabilities.
        threshold: a text with this probability or more is flagged.
        rate: false positive rate that the threshold was chosen for, on held-out texts.
    """

    calibration: ScoreCalibration = field(default_factory=ScoreCalibration)
    threshold: float = 0.5
    rate: float | None = None


class SafetyClassifier:
    """Says how surely a prompt or an answer is harmful.

    Args:
        network: the network.
        ids: turns texts into ids.
        decisions: calibration and threshold of each role.
        made: what it was made from, as plain data (sources, counts, teacher), for its card.
        name: names it in reports.
    """

    def __init__(
        self,
        network: SafetyNetwork,
        ids: TextIds,
        decisions: Mapping[Role, RoleDecision] | None = None,
        made: Mapping[str, Any] | None = None,
        name: str = "classifier",
    ) -> None:
        self.network, self.ids, self.name = network.eval(), ids, name
        self.decisions: dict[Role, RoleDecision] = {role: RoleDecision() for role in ROLES}
        self.decisions.update(decisions or {})
        self.made = dict(made or {})

    def logits(self, texts: Sequence[LabelledText]) -> Floats:
        """Return ``log p(harmful) - log p(safe)`` of each text, before calibration."""
        found_N = np.zeros(len(texts))
        role_N = torch.tensor([ROLES.index(one.role) for one in texts])
        self.network.eval()
        with torch.inference_mode():
            for places, ids_NT, kinds_NT in batches_of(self.ids.rows(texts), BATCH):
                found_N[places] = self.network(ids_NT, kinds_NT, role_N[places]).double().numpy()
        return found_N

    def vectors(self, texts: Sequence[LabelledText]) -> Floats:
        """Return the vector of each text ``[N, D]``, in which the score is linear."""
        found_ND = np.zeros((len(texts), self.network.shape.width))
        with torch.inference_mode():
            for places, ids_NT, kinds_NT in batches_of(self.ids.rows(texts), BATCH):
                found_ND[places] = self.network.vectors(ids_NT, kinds_NT).double().numpy()
        return found_ND

    def probabilities(self, texts: Sequence[LabelledText]) -> Floats:
        """Return the calibrated probability that each text is harmful."""
        logits_N, found_N = self.logits(texts), np.zeros(len(texts))
        for role in ROLES:
            mine = np.array([one.role == role for one in texts], bool)
            if mine.any():
                calibration = self.decisions[role].calibration
                found_N[mine] = calibration.probabilities(logits_N[mine])
        return np.round(found_N, DIGITS)

    def prompt_scores(self, prompts: Sequence[str]) -> Floats:
        """Return the probability that each prompt is harmful."""
        return self.probabilities([LabelledText(prompt) for prompt in prompts])

    def answer_scores(self, prompts: Sequence[str], answers: Sequence[str]) -> Floats:
        """Return the probability that each answer to its prompt is harmful."""
        pairs = zip(prompts, answers, strict=True)
        return self.probabilities([LabelledText(answer, prompt=prompt) for prompt, answer in pairs])

    def threshold(self, role: Role) -> float:
        """Return the probability from which a text of a role is flagged."""
        return self.decisions[role].threshold

    def fingerprint(self) -> str:
        """Return 16 hex digits that change if a weight, a calibration or a threshold changes."""
        digest = hashlib.sha256(repr(sorted(self.decisions.items())).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: str | Path) -> None:
        """Write the folder; the weights take one byte each."""
        settings = {
            "shape": asdict(self.network.shape),
            "tokens": self.ids.limits,
            "decisions": {
                role: {"calibration": one.calibration.to_data(), "threshold": one.threshold,
                       "rate": one.rate}
                for role, one in self.decisions.items()
            },
            "made": self.made,
        }  # fmt: skip
        with replace_folder(folder) as place:
            write_atomic(place / WEIGHTS, save(quantised(self.network.state_dict())))
            write_atomic(place / TOKENIZER, self.ids.reader.tokenizer.to_str())
            write_atomic(
                place / SETTINGS, json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
            )

    def rounded(self) -> SafetyClassifier:
        """Return the classifier as its folder would hold it, with rounded weights."""
        network = SafetyNetwork(self.network.shape)
        network.load_state_dict(dequantised(quantised(self.network.state_dict())))
        return SafetyClassifier(network, self.ids, self.decisions, self.made, self.name)


def load_classifier(folder: str | Path) -> SafetyClassifier:
    """Open the folder of a classifier that ``lacy safety train`` wrote.

    Raises:
        LacyError: E346, there is none, or it is damaged.
    """
    path = Path(folder)
    try:
        settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        network = SafetyNetwork(EncoderShape(**settings["shape"]))
        network.load_state_dict(dequantised(load((path / WEIGHTS).read_bytes())))
        if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
            raise ValueError("it has weights that are not finite")
        reader = PieceReader(Tokenizer.from_file(str(path / TOKENIZER)))
        ids = TextIds(reader, settings["tokens"]["prompt"], settings["tokens"]["answer"])
        decisions: dict[Role, RoleDecision] = {}
        for role, one in settings["decisions"].items():
            calibration = ScoreCalibration.from_data(one["calibration"])
            decisions[role] = RoleDecision(calibration, float(one["threshold"]), one["rate"])
    except Exception as error:
        why = first_line(error)
        if isinstance(error, FileNotFoundError):
            why = f"{Path(error.filename).name} is missing"
        why = why if path.is_dir() else "there is no such folder"
        raise LacyError("E346", path=path, why=why) from error
    network.requires_grad_(False)
    return SafetyClassifier(network, ids, decisions, settings["made"], path.name)


def is_classifier(folder: str | Path) -> bool:
    """True if a folder is one of ``lacy safety train``."""
    return (Path(folder) / SETTINGS).is_file()
