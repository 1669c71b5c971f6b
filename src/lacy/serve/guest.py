"""The client of a request: its key, and how much of its rate limit is left."""

from __future__ import annotations

from dataclasses import dataclass

from lacy.serve.failures import ApiError
from lacy.serve.keys import Key, Keys


@dataclass
class Guest:
    """The client of a request; without keys, all clients are the same.

    Args:
        keys: all accepted keys.
        key: the key of the request.
    """

    keys: Keys | None = None
    key: Key | None = None
    paid: int = 0
    """Texts that have been counted for this request."""

    @property
    def owner(self) -> str | None:
        """The key that owns the texts, if several keys share the server."""
        return self.key.sha256 if self.keys and self.key and self.keys.shared else None

    def pay(self, texts: int) -> None:
        """Count the texts of this request against the key's rate, including those counted before.

        Raises:
            ApiError: 400, more than the rate ever allows at once; 429, more than it allows now.
        """
        if self.keys is None or self.key is None:
            return
        most = self.keys.most_of(self.key)
        if texts > most:
            why = f"{texts} texts (prompts times n) exceed this key's limit of {most:g} per minute"
            raise ApiError(400, why, "above_limit", "n")
        if seconds := self.keys.wait(self.key, texts, self.paid):
            self.paid = 0
            why = f"this key may ask for {self.key.per_minute:g} texts per minute"
            raise ApiError(429, why, "rate_limit_exceeded", retry=seconds)
        self.paid = texts
