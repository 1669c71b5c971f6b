"""List the files of a folder that should be read, and everything else by kind."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lacy.corpus.files import kind_of

Identity = tuple[int, int]

LACY_FILES = frozenset(("documents.sqlite", "lacy_data.json", "marks.json", "model.safetensors"))
"""A folder with one of these files is an index, packed data, marks or a model, not a corpus."""


@dataclass
class FolderListing:
    """The content of a folder."""

    files: list[Path] = field(default_factory=list)
    """The files to read, in sorted order."""
    unreadable: list[OSError] = field(default_factory=list)
    """Folders that could not be opened."""
    ignored: list[tuple[str, Path]] = field(default_factory=list)
    """Kind and path of everything that is not read."""


def list_folder(
    root: Path, reads: Callable[[Path], bool], *, follow: bool = False
) -> FolderListing:
    """List a folder and its subfolders without hidden entries.

    Args:
        root: the folder; it may be a link.
        reads: returns True if the file at a path should be read.
        follow: follow links to folders, and to files outside the folder. Each folder and file is
            read once, even if several links lead to it.
    """
    listing = FolderListing()
    links: list[Path] = []
    seen: set[Identity] = set()
    home = os.path.realpath(root)
    for path in _walk(root, listing, follow):
        kind = _link_problem(path, home, follow)
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if kind is not None or isinstance(error, FileNotFoundError):
                listing.ignored.append(("dead link", path))
            elif reads(path):  # a missing permission is reported later, by reading the file
                listing.files.append(path)
            else:
                listing.unreadable.append(error)
            continue
        if kind:
            listing.ignored.append((kind, path))
        elif not (stat.S_ISREG(mode) and reads(path)):
            listing.ignored.append((_kind(path, mode), path))
        elif kind is None:
            listing.files.append(path)
            seen.add(_identity(path))
        else:
            links.append(path)
    for path in sorted(links):
        if (identity := _identity(path)) in seen:
            listing.ignored.append(("link to a file that is read", path))
        else:
            seen.add(identity)
            listing.files.append(path)
    listing.files.sort()
    return listing


def _link_problem(path: Path, home: str, follow: bool) -> str | None:
    """Return why a link is not followed ("" if it is followed); None if ``path`` is not a link."""
    try:
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            return None
        outside = not os.path.realpath(path).startswith(home + os.sep)
        return "link out of the folder" if outside and not follow else ""
    except OSError:
        return None


def _walk(root: Path, listing: FolderListing, follow: bool) -> Iterator[Path]:
    """Yield all entries except folders; visit each folder once, if possible not through a link."""
    visited: set[Identity] = set()
    waiting = [root]
    while waiting:
        linked: list[Path] = []
        for start in waiting:
            if _identity(start) in visited:
                listing.ignored.append(("link to a folder that is read", start))
                continue
            for folder, inner, names in os.walk(start, onerror=listing.unreadable.append):
                visited.add(_identity(Path(folder)))
                if folder != str(root) and LACY_FILES.intersection(names):
                    kind = "folder of an index, packed data or a model"
                    listing.ignored.append((kind, Path(folder)))
                    inner.clear()
                    continue
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                paths = [Path(folder, name) for name in inner]
                linked += (path for path in paths if os.path.islink(path))
                yield from (Path(folder, name) for name in names if not name.startswith("."))
        if not follow:
            listing.ignored += (("link to a folder", path) for path in linked)
        waiting = sorted(linked) if follow else []


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except OSError:  # deleted in the meantime
        return -1, hash(path)
    return found.st_dev, found.st_ino


def _kind(path: Path, mode: int) -> str:
    """Return the kind of an entry that is not read: pipe, socket, or a file's extension."""
    if not stat.S_ISREG(mode):
        return kind_of(mode)
    endings = [part.lower() for part in path.suffixes[-2:]]
    packed = endings[-1:] in ([".gz"], [".bz2"], [".xz"], [".zst"], [".zip"])
    ending = "".join(endings if packed else endings[-1:])
    known = 1 < len(ending) <= 16 and ending.replace(".", "").isalnum()
    return ending if known else "no ending"
