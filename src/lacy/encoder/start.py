"""Start an encoder from a BERT model in a folder or a package, such as all-MiniLM-L6-v2."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file

from lacy.encoder.body import EncoderBody, EncoderShape
from lacy.errors import LacyError

BERT_LAYER = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "out": "attention.output.dense", "norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "last_norm": "output.LayerNorm",
}  # fmt: skip
"""Names of a layer's parts here and in BERT."""

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def encoder_folder(name: str | Path) -> Path:
    """Return the folder of an encoder: ``name`` itself, or that inside an installed package.

    Raises:
        LacyError: E345, there is neither such a folder nor such a package with weights.
    """
    if Path(name).is_dir():
        return Path(name)
    text = str(name)
    spec = importlib.util.find_spec(text) if text.isidentifier() else None
    places = spec.submodule_search_locations if spec else None
    found = [file.parent for place in places or [] for file in Path(place).rglob(WEIGHTS)]
    if not found:
        raise LacyError("E345", path=name, why="it is neither a folder nor an installed package "
                        f"that contains {WEIGHTS}")  # fmt: skip
    return found[0]


def shape_of_bert(folder: str | Path, layers: int | None = None) -> EncoderShape:
    """Return the shape of the BERT model in a folder.

    Args:
        folder: the folder.
        layers: number of layers, if fewer than the model has are wanted.

    Raises:
        LacyError: E345, the folder has no such model, or it has fewer layers.
    """
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        shape = EncoderShape(
            layers=int(layers or config["num_hidden_layers"]),
            width=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            inner=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
        )
        if shape.layers > int(config["num_hidden_layers"]):
            raise ValueError(f"it has {config['num_hidden_layers']} layers, {layers} are wanted")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LacyError("E345", path=path, why=f"{type(error).__name__}: {error}") from error
    return shape


def load_bert(body: EncoderBody, folder: str | Path, layers: Sequence[int] | None = None) -> None:
    """Give an encoder the weights of a BERT model; both token types start as BERT's first.

    Args:
        body: the encoder, of the model's width and vocabulary; it may have fewer positions.
        folder: the model's folder.
        layers: which of the model's layers to take, by default the first ones.

    Raises:
        LacyError: E345, the folder has no such model.
    """
    path = Path(folder) / WEIGHTS
    try:
        stored = {name.removeprefix("bert."): t for name, t in load_file(path).items()}
        state = {
            "words.weight": stored["embeddings.word_embeddings.weight"],
            "positions.weight": stored["embeddings.position_embeddings.weight"],
            "kinds.weight": stored["embeddings.token_type_embeddings.weight"][[0, 0]],
        }
        state["positions.weight"] = state["positions.weight"][: body.shape.positions]
        for part in ("weight", "bias"):
            state[f"norm.{part}"] = stored[f"embeddings.LayerNorm.{part}"]
            for number, source in enumerate(layers or range(body.shape.layers)):
                for here, there in BERT_LAYER.items():
                    name = f"encoder.layer.{source}.{there}.{part}"
                    state[f"layers.{number}.{here}.{part}"] = stored[name]
        body.load_state_dict({n: t.float() for n, t in state.items()}, strict=False)
    except (OSError, KeyError, IndexError, RuntimeError) as error:
        raise LacyError("E345", path=path, why=f"{type(error).__name__}: {error}") from error


def body_of(folder: str | Path) -> EncoderBody:
    """Open the BERT model in a folder as a frozen encoder.

    Raises:
        LacyError: E345, the folder has no such model.
    """
    body = EncoderBody(shape_of_bert(folder))
    load_bert(body, folder)
    return body.eval().requires_grad_(False)
