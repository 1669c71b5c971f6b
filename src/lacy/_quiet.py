"""Drop messages of other libraries that no user of lacy can act on.

``transformers`` imports torchao whenever it is installed. On a machine without certain GPUs,
torchao then reports that it cannot load the kernels for them, and torch that a part of torchao uses
a function that will go. Both lines would stand before the output of every command.
"""

from __future__ import annotations

import logging

MESSAGES = {
    "torchao": "Failed to load ",
    "torch.utils._pytree": "is an Enum subclass and is now natively supported",
}
"""Part of the messages to drop, by the name of the logger that sends them."""


def drop_known_messages() -> None:
    """Install filters that drop ``MESSAGES`` and nothing else; calling it again has no effect."""
    for name, part in MESSAGES.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Without) for known in logger.filters):
            logger.addFilter(_Without(part))


class _Without(logging.Filter):
    """Drops the messages that contain a certain text."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a message to drop."""
        return self.part not in record.getMessage()
