"""Run a model block by block, so that a caller can change each block before the next one is run.

Only the inputs of one block are kept: for N tokens of calibration texts, N times D numbers. All
other arguments of the blocks (rotary positions, masks) are recorded in one run of the whole model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lacy.errors import LacyError
from lacy.layerwise.blocks import Block, Matrix, find_blocks
from lacy.layerwise.statistics import InputStatistics, collecting


@dataclass
class BlockVisit:
    """One block of a walk; the caller may change its weights until it asks for the next block."""

    block: Block
    inputs: list[Tensor]
    """Its input states_BTD, one per tensor of rows: outputs of the changed blocks before it."""
    _arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """The weight matrices of the block's linear layers."""
        return self.block.matrices

    def statistics(
        self, names: Sequence[str] | None = None, *, hessian: bool = True
    ) -> dict[str, InputStatistics]:
        """Run the block on its inputs, and return statistics of the inputs of its linear layers.

        They are those of the block's current weights: call it again after a change to see what the
        later layers of the block receive now.

        Args:
            names: full names of the layers (``Matrix.name``); by default all.
            hessian: False collects squares only, which is faster.

        Returns:
            Statistics by name; a layer that was not used (an expert) has a count of 0.
        """
        wanted = [m for m in self.matrices if names is None or m.name in names]
        with collecting(wanted, hessian=hessian) as found:
            for _ in self.outputs():
                pass
        return found

    def outputs(self) -> Iterator[Tensor]:
        """Run the block with its current weights; yield its output states_BTD in turn."""
        for states_BTD, (args, named) in zip(self.inputs, self._arguments, strict=True):
            with torch.no_grad():
                yield first_of(self.block.module(states_BTD, *args, **named))


@torch.no_grad()
def walk_blocks(model: Any, rows: Sequence[Tensor]) -> Iterator[BlockVisit]:
    """Yield the blocks of a model in order, with the inputs that the rows give them.

    Weights that the caller changes during a visit count for all later blocks. The model is in
    evaluation mode until the walk ends.

    Args:
        model: a causal model of ``transformers``.
        rows: token ids, as from ``text_rows``.

    Raises:
        LacyError: E281, no blocks are found, or they do not simply follow one another.
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("no rows")
    blocks = find_blocks(model)
    was_training = model.training
    model.eval()
    try:
        states, arguments = _recorded(model, blocks, rows)
        for block, own in zip(blocks, arguments, strict=True):
            visit = BlockVisit(block, states, own)
            yield visit
            states = list(visit.outputs())
    finally:
        model.train(was_training)


def first_of(output: Any) -> Tensor:
    """Return the hidden states in the output of a block, which may be a tuple."""
    states: Tensor = output[0] if isinstance(output, tuple | list) else output
    return states


def _recorded(
    model: Any, blocks: Sequence[Block], rows: Sequence[Tensor]
) -> tuple[list[Tensor], list[list[tuple[tuple[Any, ...], dict[str, Any]]]]]:
    """Run the model, and return the first block's inputs and all blocks' further arguments.

    Raises:
        LacyError: E281, a block's input is not the output of the one before.
    """
    device = model.get_input_embeddings().weight.device
    first: list[Tensor] = []
    arguments: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = [[] for _ in blocks]
    previous: list[Tensor] = []

    def enter(number: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            named = dict(named)
            states = args[0] if args else named.pop("hidden_states")
            if number == 0:
                first.append(states)
            elif states is not previous[0] and not torch.equal(states, previous[0]):
                why = f"the input of block {number} is not the output of block {number - 1}"
                raise LacyError("E281", architecture=type(model).__name__, why=why)
            arguments[number].append((args[1:], named))

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        previous[:] = [first_of(output)]

    hooks = [b.module.register_forward_pre_hook(enter(b.index), with_kwargs=True) for b in blocks]
    hooks += [b.module.register_forward_hook(leave) for b in blocks]
    try:
        for ids_BT in rows:
            model.base_model(input_ids=ids_BT.to(device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    if len(first) != len(rows) or any(len(own) != len(rows) for own in arguments):
        why = "a block does not run once for each text"
        raise LacyError("E281", architecture=type(model).__name__, why=why)
    return first, arguments
