"""Let blocks of a model do nothing, to see what the model loses without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lacy.layerwise import Block


class Bypass:
    """Runs a model with some of its blocks switched off.

    Args:
        blocks: the model's blocks, in order.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self._tails: dict[int, tuple[Any, ...] | None] = {}

    @contextmanager
    def recording(self, kept: Sequence[int]) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
        """Within the context, runs of the model record inputs and outputs of blocks.

        Args:
            kept: numbers of the blocks that are not switched off.

        Yields:
            Input and output states_BTD by the block's number, of the last run.
        """
        found: dict[int, tuple[Tensor, Tensor]] = {}

        def hook_of(index: int) -> Any:
            def hook(module: Any, args: Any, named: dict[str, Any], output: Any) -> None:
                states = args[0] if args else named["hidden_states"]
                several = isinstance(output, tuple)
                self._tails[index] = output[1:] if several else None
                found[index] = (states, output[0] if several else output)

            return hook

        hooks = [
            self.blocks[index].module.register_forward_hook(hook_of(index), with_kwargs=True)
            for index in kept
        ]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def off(self, numbers: Mapping[int, Tensor | None]) -> Iterator[None]:
        """Within the context, blocks return their input, or given states.

        Each block must have been recorded once, because its form of output is not known before.

        Args:
            numbers: the states_BTD that a block returns, by its number; None for its input.
        """

        def forward_of(index: int, states: Tensor | None) -> Any:
            tail = self._tails[index]

            def forward(*args: Any, **named: Any) -> Any:
                own = args[0] if args else named["hidden_states"]
                found = own if states is None else states
                return found if tail is None else (found, *tail)

            return forward

        modules = {index: self.blocks[index].module for index in numbers}
        for index, states in numbers.items():
            # An instance's attribute comes before the method of its class.
            modules[index].forward = forward_of(index, states)
        try:
            yield
        finally:
            for module in modules.values():
                del module.forward
