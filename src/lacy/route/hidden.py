"""Inputs from a small language model: its hidden states, and the likelihood of route names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lacy.cascade import ChatRefused, render_chat
from lacy.corpus import begin_end
from lacy.errors import LacyError
from lacy.layerwise import find_blocks
from lacy.model import hidden_states, load_model, new_decoder
from lacy.route.cases import Floats
from lacy.route.vectors import stored_precision

if TYPE_CHECKING:
    from lacy.model import Loaded

TOKENS = 192
"""Tokens of a text that a language model reads: two thirds from its beginning, the rest from its
end."""

BATCH = 16
"""Texts that are read at a time."""

PROMPT_CHARACTERS = 1_200
"""Characters of a text that stand in a prompt."""

PROMPT = (
    "Classify the request between the marks <<< and >>> into exactly one of these categories: "
    "{options}.\n<<<{text}>>>\nAnswer with the name of the category only."
)
"""The question of ``prompted`` (arXiv 2604.02367 asks a zero-shot model in this way)."""


@functools.lru_cache(maxsize=2)
def opened_model(name: str) -> Loaded:
    """Open a language model once for all routers of a process."""
    loaded = load_model(name)
    loaded.model.eval()
    return loaded


class HiddenFeatures:
    """Hidden states of a language model after a layer: their mean over the text, and the last one.

    Only the layers up to this one are computed.

    Args:
        model: name or folder of the model.
        layer: the layer, from 1; 0 is the embedding, and negative numbers count from the last.
    """

    name = "hidden"

    def __init__(self, model: str, layer: int = -1) -> None:
        self.model, self.layer = model, layer

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs of the training texts; there is nothing to prepare."""
        return self.matrix(texts)

    @torch.inference_mode()
    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, 2 D]``.

        Raises:
            LacyError: E12, the model has no such layer; and those of ``load_model``.
        """
        loaded = opened_model(self.model)
        blocks = len(find_blocks(loaded.model))
        layer = self.layer + blocks + 1 if self.layer < 0 else self.layer
        if not 0 <= layer <= blocks:
            raise LacyError("E12", key="layer", value=self.layer, why=f"the model has {blocks}",
                            do=f"give 0 to {blocks}, or -1 for the last")  # fmt: skip
        begin = begin_end(loaded.tokenizer)[0]
        rows = [[begin, *ids] for ids in _text_ids(loaded, texts)]
        found: list[NDArray[Any]] = [np.zeros(0)] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            width = max(len(rows[place]) for place in places)
            ids_BT = torch.tensor(
                [rows[place] + [begin] * (width - len(rows[place])) for place in places]
            )
            states_BTD = _states_after(loaded.model, ids_BT, layer, blocks)
            for place, states_TD in zip(places, states_BTD.float(), strict=True):
                own_TD = states_TD[: len(rows[place])]  # padding on the right is not seen
                found[place] = torch.cat([own_TD.mean(0), own_TD[-1]]).numpy()
        return stored_precision(np.stack(found)) if found else np.zeros((0, 1))

    def data(self) -> dict[str, Any]:
        """Return the model's name and the layer."""
        return {"model": self.model, "layer": self.layer}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


def _states_after(model: Any, ids_BT: torch.Tensor, layer: int, blocks: int) -> torch.Tensor:
    """Return the states after a layer ``[B, T, D]``; later layers are not computed."""
    if layer == blocks:
        return hidden_states(model, ids_BT)
    first_later = find_blocks(model)[layer].module
    seen: list[torch.Tensor] = []

    def stop(module: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])
        raise _Stop

    hook = first_later.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        hidden_states(model, ids_BT)
    except _Stop:
        pass
    finally:
        hook.remove()
    return seen[0]


class _Stop(Exception):
    """Ends a forward pass before a layer."""


class PromptedFeatures:
    """Log-likelihood of each route's name as the answer of a language model that is asked.

    The answer is chosen among the names by their likelihoods, so it always is one of them. The
    text stands between marks, which are removed from it, as is every control token.

    Args:
        model: name or folder of the model.
        routes: names of the routes.
    """

    name = "prompted"

    def __init__(self, model: str, routes: Sequence[str]) -> None:
        self.model, self.routes = model, tuple(routes)

    def fit(self, texts: Sequence[str]) -> Floats:
        """Return the inputs of the training texts; there is nothing to prepare."""
        return self.matrix(texts)

    @torch.inference_mode()
    def matrix(self, texts: Sequence[str]) -> Floats:
        """Return ``[N, R]``, nats."""
        loaded = opened_model(self.model)
        options = ", ".join(self.routes)
        found_NR = np.zeros((len(texts), len(self.routes)))
        for row, text in enumerate(texts):
            cut = text[:PROMPT_CHARACTERS].replace("<<<", "<").replace(">>>", ">")
            prompt = PROMPT.format(options=options, text=cut)
            ids, lead = asked_ids(loaded, prompt, "\nCategory:")
            names = [loaded.tokenizer.encode(lead + name, add_special_tokens=False)
                     for name in self.routes]  # fmt: skip
            decoder = new_decoder(loaded.model, call_id=loaded.call_id)
            decoder.feed([ids])
            found_NR[row] = decoder.score([0], [names])[0]
        return stored_precision(found_NR)

    def data(self) -> dict[str, Any]:
        """Return the model's name and the routes."""
        return {"model": self.model, "routes": list(self.routes)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}


def asked_ids(loaded: Loaded, prompt: str, cue: str = "") -> tuple[list[int], str]:
    """Return the ids of a prompt, as a chat if the model has a template, and what leads an answer.

    Args:
        loaded: the model.
        prompt: the prompt.
        cue: follows the prompt of a model without a template.
    """
    tokenizer: Any = loaded.tokenizer
    if tokenizer.chat_template:
        try:
            return _bounded(render_chat([{"role": "user", "content": prompt}], tokenizer).tokens(),
                            loaded.context), ""  # fmt: skip
        except ChatRefused:
            pass  # the text holds a control token that cannot be encoded as text
    plain = tokenizer.encode(prompt + cue, add_special_tokens=False, split_special_tokens=True)
    return _bounded([begin_end(tokenizer)[0], *plain], loaded.context), " "


def _bounded(ids: list[int], context: int) -> list[int]:
    """Cut the middle out of a prompt that leaves no room for an answer."""
    room = max(8, min(context, 2 * TOKENS + 256) - 40)
    return ids if len(ids) <= room else [*ids[: room // 2], *ids[-(room - room // 2) :]]


def _text_ids(loaded: Loaded, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text: its beginning and its end."""
    most = min(TOKENS, loaded.context - 1)
    encode: Callable[..., list[int]] = loaded.tokenizer.encode
    found = []
    for text in texts:
        ids = encode(text, add_special_tokens=False, split_special_tokens=True)
        first = 2 * most // 3
        found.append(ids if len(ids) <= most else [*ids[:first], *ids[-(most - first) :]])
    return found
