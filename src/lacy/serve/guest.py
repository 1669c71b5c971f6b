"""Who asks: the key of a request, and what it may still ask for."""

from __future__ import annotations

from dataclasses import dataclass

from lacy.serve.failures import ApiError
from lacy.serve.keys import Key, Keys


@dataclass
class Guest:
    """Whoever sent a request; without keys all are the same.

    Args:
        keys: all keys.
        key: the one that came with the request.
    """

    keys: Keys | None = None
    key: Key | None = None
    paid: int = 0
    """Texts that have been counted for this request."""

    @property
    def owner(self) -> str | None:
        """Whose texts these are, where several share the server."""
        return self.key.sha256 if self.keys and self.key and self.keys.shared else None

    def pay(self, texts: int) -> None:
        """Count the texts of this request against the key's rate, those counted before included.

        Raises:
            ApiError: 400, so many can never be asked for at once; 429, not now.
        """
        if self.keys is None or self.key is None:
            return
        most = self.keys.most_of(self.key)
        if texts > most:
            why = f"{texts} texts (prompts times n) are more than the {most:g} a minute of this key"
            raise ApiError(400, why, "above_limit", "n")
        if seconds := self.keys.wait(self.key, texts, self.paid):
            self.paid = 0
            why = f"this key may ask for {self.key.per_minute:g} texts per minute"
            raise ApiError(429, why, "rate_limit_exceeded", retry=seconds)
        self.paid = texts
