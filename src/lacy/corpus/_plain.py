"""What a file becomes that needs a program to be read, and why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass

NOTE = "\0note"
"""The key under which a row carries what is worth a word; no field of a file has it."""


class Unreadable(Exception):
    """Why nothing can be read: ``args`` are a reason and a detail, as a ``ReadReport`` wants."""


@dataclass
class Plain:
    """What was in a file."""

    text: str
    title: str = ""
    pages: tuple[int, ...] = ()
    """Where each page of a PDF begins in the text."""
    note: str = ""
    """What is worth a word: a guessed encoding, characters that could not be decoded."""
