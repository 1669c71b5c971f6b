"""The verifier's folder: weights, tokenizer, regressions and agreement with people."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load
from tokenizers import Tokenizer

from lacy.errors import LacyError
from lacy.judges.agreement import Agreement
from lacy.judges.combination import Blend, Combination
from lacy.judges.features import FEATURES
from lacy.judges.pieces import WordPieces
from lacy.judges.scoring import CACHE_MB, FactScorer
from lacy.judges.similarity import SIMILARITIES, WordVectors
from lacy.judges.verifier import Verifier

VERIFIER = Path(__file__).parent / "en_verifier"
"""The verifier that ships with lacy."""

SETTINGS, WEIGHTS = "verifier.json", "model.safetensors"
REGRESSIONS = "regressions.safetensors"
TOKENIZER, AGREEMENT = "tokenizer.json", "agreement.json"


@dataclass(frozen=True, slots=True)
class StoredAgreement:
    """How a shipped judge agrees with people it was not trained on.

    Attributes:
        judge: the judge's name.
        agreements: one per model that wrote the facts.
        data: which labels, and how people were kept apart.
    """

    judge: str
    agreements: tuple[Agreement, ...]
    data: str


def load_verifier(
    folder: str | Path = VERIFIER,
    *,
    lexical: bool = False,
    alone: bool = False,
    cache_mb: float = CACHE_MB,
) -> Verifier:
    """Load the verifier.

    Args:
        folder: a folder of ``scripts/train_verifier.py``; by default the one that ships with lacy.
        lexical: True to use word features only, without the network.
        alone: True to judge each fact without the other facts of its response.
        cache_mb: memory for encoded windows, in megabytes.

    Raises:
        LacyError: E218, the folder has no verifier of this version of lacy.
    """
    path = Path(folder)
    name = "lexical" if lexical else "verifier"
    try:
        text = (path / SETTINGS).read_bytes()
        settings = json.loads(text)
        weights = b"" if lexical else (path / WEIGHTS).read_bytes()
        if settings["features"] != [*FEATURES, *SIMILARITIES]:
            raise ValueError("it was made by another version of lacy")
        pieces = WordPieces(Tokenizer.from_file(str(path / TOKENIZER)))
        scorer, vectors = (None, None) if lexical else _networks(weights, settings, cache_mb)
        regressions = (path / REGRESSIONS).read_bytes()
        arrays = {
            n.removeprefix(f"{name}."): array.astype(float)
            for n, array in load(regressions).items()
            if n.startswith(f"{name}.")
        }
        combination = Combination.from_arrays(arrays, settings["phrases"])
        chosen = settings["judges"][name]
        blends = (Blend(**chosen["alone"]), Blend(**chosen["with_response"]))
    except Exception as error:
        if isinstance(error, LacyError):
            raise
        raise LacyError("E218", path=path, why=f"{type(error).__name__}: {error}") from error
    name += "-alone" if alone else ""
    identity = ("verifier", hashlib.sha256(text + regressions + weights).hexdigest()[:16])
    return Verifier(
        pieces, combination, blends, scorer, vectors,
        alone=alone, name=name, identity=identity,
    )  # fmt: skip


def _networks(
    weights: bytes, settings: dict[str, Any], cache_mb: float
) -> tuple[FactScorer, WordVectors]:
    """Load the networks and the vectors of words."""
    from lacy.encoder import EncoderShape
    from lacy.judges.weights import load_encoders

    facts, windows = load_encoders(weights, EncoderShape(**settings["shape"]))
    return FactScorer(facts, windows, cache_mb), WordVectors(windows.words.weight.numpy())


def training_topics(folder: str | Path = VERIFIER) -> frozenset[str]:
    """Return the hashes of the topics whose labels the verifier was trained on."""
    settings = json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
    return frozenset(settings["trained_on"])


def stored_agreement(name: str, folder: str | Path = VERIFIER) -> StoredAgreement | None:
    """Return the stored agreement of a judge with people, or None if there is none.

    Args:
        name: the judge's name (``Judge.name``).
        folder: folder of the verifier.
    """
    stored = json.loads((Path(folder) / AGREEMENT).read_text(encoding="utf-8"))
    if name not in stored["judges"]:
        return None
    agreements = tuple(Agreement.from_data(one) for one in stored["judges"][name])
    return StoredAgreement(name, agreements, stored["data"])
