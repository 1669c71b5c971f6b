"""Collect garbage less often in processes that belong to lacy, so that they start faster."""

import gc

ALLOCATIONS = 20_000
"""New objects until Python looks for unused cycles among them; by default 700, or 2,000."""


def collect_garbage_less() -> None:
    """Let Python look for unused cycles less often, in this process.

    torch and transformers make a million objects while they are imported, all of which stay. To
    search them again and again takes a tenth of a command that loads a model. Objects outside
    cycles, such as tensors, are freed at once as before. Call it only in a process of lacy's own,
    never in a function that users call.
    """
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
