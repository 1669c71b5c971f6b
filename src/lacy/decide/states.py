"""Options as hidden states of a causal model, at its last or at an early layer.

    feature(option) = h(option | state, question) - h(option | question)

with h the state at the option's last token after some of the model's layers and its last norm. The
state is read once; then all questions with all their options go through the model as one tree, in
which every token sees its own path only.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lacy._require import require_at_least
from lacy.decide.decision import Floats
from lacy.decide.features import Recent
from lacy.decide.prompt_tokens import PromptTokens
from lacy.decide.questions import DecisionQuestion
from lacy.errors import LacyError
from lacy.layerwise import find_blocks
from lacy.model import context_of, model_fingerprint, new_cache, takes_trees

TREE_TOKENS = 512
"""Tokens of questions and options in one pass; the cost of attention grows with its square."""

REFERENCES = 256
"""Questions whose references are kept (K times D numbers each)."""


@dataclass
class TokenTree:
    """Runs of tokens, each after another run or after what was read before."""

    tokens: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Position of each token after what was read before."""
    sees: list[list[int]] = field(default_factory=list)
    """Runs that each run can see, itself last."""
    runs: list[int] = field(default_factory=list)
    """Run of each token."""

    def add(self, tokens: Sequence[int], after: int | None = None) -> int:
        """Add a run after another one (None: after the beginning), and return its number."""
        path = [] if after is None else self.sees[after]
        start = sum(self.runs.count(run) for run in path)
        number = len(self.sees)
        self.sees.append([*path, number])
        self.tokens += tokens
        self.places += range(start, start + len(tokens))
        self.runs += [number] * len(tokens)
        return number

    def end(self, run: int) -> int:
        """Return the index of a run's last token."""
        return len(self.runs) - 1 - self.runs[::-1].index(run)

    def visible(self) -> np.ndarray:
        """Return whether each token sees each other one ``[N, N]``."""
        run_N = np.array(self.runs)
        on_path_RR = np.zeros((len(self.sees), len(self.sees)), bool)
        for run, path in enumerate(self.sees):
            on_path_RR[run, path] = True
        earlier_NN = np.tri(len(run_N), dtype=bool)
        return on_path_RR[run_N[:, None], run_N[None, :]] & earlier_NN


def cut_body(model: Any, layers: int | None = None) -> Any:
    """Return a causal model's body with its first layers only; weights are shared, not copied.

    Args:
        model: a causal model.
        layers: number of layers; None for all.

    Raises:
        LacyError: E12, the model has fewer layers; E281, its layers are not found.
    """
    body: Any = model.base_model
    if layers is None:
        return body
    blocks = find_blocks(model)
    require_at_least("layer", layers, 1)
    if layers > len(blocks):
        do = f"give {len(blocks)} or fewer"
        raise LacyError("E12", key="layer", value=layers, why="the model has fewer layers", do=do)
    names = blocks[0].name.rsplit(".", 1)[0].split(".")
    for name, module in model.named_modules():
        if module is body and name:
            names = names[len(name.split(".")) :]
    return _shortened(body, names, layers)


def _shortened(module: Any, path: list[str], layers: int) -> Any:
    """Return a copy of a module, sharing its weights, whose list of layers at ``path`` is cut."""
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    inner = module._modules[path[0]]
    if len(path) == 1:
        clone._modules[path[0]] = nn.ModuleList(list(inner)[:layers])
    else:
        clone._modules[path[0]] = _shortened(inner, path[1:], layers)
    return clone


class StateFeatures:
    """Hidden states at the ends of options, minus those without the state.

    Args:
        model: a causal model.
        tokenizer: its tokenizer.
        layer: number of layers to run; None for all.

    Raises:
        LacyError: E12, the model has fewer layers; E281, its layers are not found.
    """

    def __init__(self, model: Any, tokenizer: Any, layer: int | None = None) -> None:
        self._model, self.layer = model, layer
        self._body = cut_body(model, layer)
        self._trees = takes_trees(model)
        self._tokens = PromptTokens(tokenizer, context_of(model))
        self._references = Recent[DecisionQuestion, Floats](REFERENCES)
        self._lock = threading.Lock()

    def features(self, state: str, questions: Sequence[DecisionQuestion]) -> list[Floats]:
        """Return the features of each question's options ``[K, D]``, in their given order.

        Raises:
            LacyError: E382, state and question are longer than the context.
        """
        with self._lock:
            known = {question: self._references.get(question) for question in questions}
            new = [question for question, reference in known.items() if reference is None]
            for question, states_KD in zip(new, self._states([], new), strict=True):
                known[question] = self._references.put(question, states_KD)
            found = self._states(self._tokens.state(state), questions)
            references = [known[question] for question in questions]
            return [one - before for one, before in zip(found, references, strict=True)
                    if before is not None]  # fmt: skip

    def tokens(self, state: str, questions: Sequence[DecisionQuestion]) -> int:
        """Return the number of tokens of a state and questions with all options."""
        with self._lock:
            return self._tokens.count(state, questions)

    def identity(self) -> dict[str, Any]:
        """Return kind, layer and fingerprint of the model."""
        fingerprint = model_fingerprint(self._model)
        return {"kind": "states", "layer": self.layer, "fingerprint": fingerprint}

    @torch.inference_mode()
    def _states(self, state: list[int], questions: Sequence[DecisionQuestion]) -> list[Floats]:
        """Return the hidden states at the ends of each question's options ``[K, D]``."""
        if not questions:
            return []
        before = [*self._tokens.begin, *state]
        encoded = [(self._tokens.prompt(q), self._tokens.options(q)) for q in questions]
        for prompt, options in encoded:
            self._tokens.require_room(len(before), prompt, options)
        if not self._trees:
            return [self._path_states(before, *one) for one in encoded]
        cache: Any = new_cache() if before else None
        if before:
            self._run(torch.tensor([before]), cache)
        found: list[Floats] = []
        for group in _groups(questions, encoded):
            found += self._tree_states(group, len(before), cache)
        return found

    def _tree_states(
        self, group: list[tuple[DecisionQuestion, list[int], list[list[int]]]], before: int,
        cache: Any,
    ) -> list[Floats]:  # fmt: skip
        """Run some questions as one tree after a cache, which is left as it was."""
        tree, ends = TokenTree(), []
        for question, prompt, options in group:
            root, last = tree.add(prompt), dict[int, int]()
            # In an order of their own, so that not even rounding depends on the given one.
            for place in question.in_order():
                last[place] = tree.end(tree.add(options[place], root))
            ends.append([last[place] for place in range(len(options))])
        ids_1N = torch.tensor([tree.tokens])
        sees_NM = np.concatenate([np.ones((len(tree.tokens), before), bool), tree.visible()], 1)
        dtype = self._model.dtype
        mask_11NM = torch.zeros((1, 1, *sees_NM.shape), dtype=dtype)
        mask_11NM.masked_fill_(torch.from_numpy(~sees_NM), torch.finfo(dtype).min)
        place_1N = torch.tensor([tree.places]) + before
        hidden_ND = self._run(ids_1N, cache, mask_11NM, place_1N)[0]
        if cache is not None:
            cache.crop(-len(tree.tokens))
        found = [hidden_ND[torch.tensor(places)].double().cpu().numpy() for places in ends]
        return found

    def _path_states(
        self, before: list[int], prompt: list[int], options: list[list[int]]
    ) -> Floats:
        """Run every option with all that is before it, one by one: slow, for any causal model."""
        rows = []
        for tokens in options:
            ids_1T = torch.tensor([[*before, *prompt, *tokens]])
            rows.append(self._run(ids_1T)[0, -1].double().cpu().numpy())
        return np.stack(rows)

    def _run(
        self, ids_1N: Tensor, cache: Any = None, mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the last hidden states ``[1, N, D]``."""
        device, more = self._model.device, dict[str, Any]()
        if mask is not None and positions is not None:
            more = {"attention_mask": mask.to(device), "position_ids": positions.to(device)}
        output: Any = self._body(
            input_ids=ids_1N.to(device), past_key_values=cache, use_cache=cache is not None,
            return_dict=True, **more,
        )  # fmt: skip
        states: Tensor = output.last_hidden_state
        return states


def _groups(
    questions: Sequence[DecisionQuestion], encoded: Sequence[tuple[list[int], list[list[int]]]]
) -> list[list[tuple[DecisionQuestion, list[int], list[list[int]]]]]:
    """Return questions with their tokens in groups of at most ``TREE_TOKENS``, or of one."""
    groups: list[list[tuple[DecisionQuestion, list[int], list[list[int]]]]] = []
    held = 0
    for question, (prompt, options) in zip(questions, encoded, strict=True):
        size = len(prompt) + sum(map(len, options))
        if not groups or held + size > TREE_TOKENS:
            groups.append([])
            held = 0
        groups[-1].append((question, prompt, options))
        held += size
    return groups
