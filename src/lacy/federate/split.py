"""Give each client its texts: from a folder, or by splitting one collection among clients.

Federated data differ between clients. Two ways to imitate that are by topic: whole topics go to
clients, or every topic is spread over the clients with shares drawn from a symmetric Dirichlet
distribution (Hsu et al., arXiv 1909.06335), whose concentration ``alpha`` says how equal they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lacy._require import require_at_least, require_one_of
from lacy.errors import LacyError
from lacy.types import Document

Skew = Literal["none", "topic", "dirichlet"]
SKEWS: tuple[Skew, ...] = ("none", "topic", "dirichlet")


def client_folders(folder: str | Path) -> dict[str, Path]:
    """Return the clients of a folder by name: each of its files or folders is a client's texts.

    Raises:
        LacyError: E13, no such folder; E330, nothing is in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise LacyError("E13", path=folder, do="give a folder with a file of texts for each client")
    if not folder.is_dir():
        raise LacyError("E330", path=folder, why="it is a file; to split it: --data FILE")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() == "readme.md":
            continue
        name = path.name.partition(".")[0]
        found[path.name if name in found else name] = path
    if not found:
        raise LacyError("E330", path=folder, why="it is empty")
    return found


def split_documents(
    documents: Iterable[Document],
    clients: int,
    *,
    skew: Skew = "none",
    field: str = "topic",
    alpha: float = 0.5,
    seed: int = 0,
) -> dict[str, list[Document]]:
    """Split documents among clients; every document goes to one client, and none is empty.

    Args:
        documents: the texts.
        clients: number of clients.
        skew: ``none`` splits at random into equal parts; ``topic`` gives whole topics to clients;
            ``dirichlet`` spreads every topic with shares from a Dirichlet distribution.
        field: the field of ``Document.meta`` with the topic.
        alpha: concentration of the Dirichlet distribution.
        seed: seed of the split.

    Returns:
        The documents of ``client-1``, ``client-2``, ..., in the order in which they were given.

    Raises:
        LacyError: E12, an argument is invalid; E331, there are fewer documents than clients; E332,
            documents have no topic.
    """
    require_one_of("skew", skew, SKEWS)
    require_at_least("simulate", clients, 1)
    if not alpha > 0:
        raise LacyError("E12", key="alpha", value=alpha, why="not above 0", do="give 0.5, or more")
    texts = list(documents)
    if len(texts) < clients:
        raise LacyError("E331", texts=len(texts), clients=clients)
    random = np.random.default_rng([seed, clients])
    if skew == "none":
        parts = np.array_split(random.permutation(len(texts)), clients)
    elif skew == "topic":
        parts = _by_topic(_topics(texts, field), clients, random)
    else:
        parts = _by_dirichlet(_topics(texts, field), clients, alpha, random)
    _fill_empty(parts)
    return {
        f"client-{number}": [texts[index] for index in sorted(part.tolist())]
        for number, part in enumerate(parts, 1)
    }


def _topics(texts: Sequence[Document], field: str) -> list[NDArray[np.int64]]:
    """Return the numbers of the documents of each topic, the largest topic first."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(texts):
        if document.meta.get(field) is None:
            known = f" (it has: {', '.join(sorted(document.meta)) or 'no fields'})"
            raise LacyError("E332", document=f"text {document.id}", field=field, known=known)
        found[str(document.meta[field])].append(number)
    order = sorted(found, key=lambda topic: (-len(found[topic]), topic))
    return [np.array(found[topic]) for topic in order]


def _by_topic(
    topics: Sequence[NDArray[np.int64]], clients: int, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Give each topic to the client with the fewest texts; split topics if they are too few."""
    pieces = [random.permutation(topic) for topic in topics]
    while len(pieces) < clients:
        pieces.sort(key=len)
        pieces += np.array_split(pieces.pop(), 2)
    parts = [np.array([], np.int64)] * clients
    for piece in sorted(pieces, key=len, reverse=True):
        smallest = min(range(clients), key=lambda number: len(parts[number]))
        parts[smallest] = np.concatenate([parts[smallest], piece])
    return parts


def _by_dirichlet(
    topics: Sequence[NDArray[np.int64]], clients: int, alpha: float, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Spread each topic over the clients with shares of its own."""
    parts = [np.array([], np.int64)] * clients
    for topic in topics:
        shares = random.dirichlet(np.full(clients, alpha))
        ends = np.round(np.cumsum(shares)[:-1] * len(topic)).astype(int)
        for number, piece in enumerate(np.split(random.permutation(topic), ends)):
            parts[number] = np.concatenate([parts[number], piece])
    return parts


def _fill_empty(parts: list[NDArray[np.int64]]) -> None:
    """Give every empty client one document of the largest one."""
    for number, part in enumerate(parts):
        if not len(part):
            largest = max(range(len(parts)), key=lambda each: len(parts[each]))
            parts[number], parts[largest] = parts[largest][-1:], parts[largest][:-1]
