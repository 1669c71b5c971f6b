"""The disk: atomic writes, locks, and errors of a full or failing disk.

A process that is killed at any moment leaves the old file or the new one, never part of one. When
``write_atomic`` and ``replace_folder`` return, content and name are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lacy.errors import LacyError

OWNED = ".lacy"
"""File that marks a folder as written by ``replace_folder``, so that it may be replaced."""

LOCK = ".lock"
"""File that is locked while a process works in a folder."""

LOOK = 0.5
"""Most seconds between two attempts to get a lock; the first attempts follow sooner."""

# ------------------------------------------------------------------ full, read-only, failing disks

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""Errors of a disk that cannot be written: full, quota, read-only, failing, file too large."""

PHRASES = (*(os.strerror(code) for code in FULL), "database or disk is full", "disk I/O error")
"""Messages of libraries that do not raise ``OSError`` (safetensors, tokenizers, Arrow, SQLite)."""

SHORT = re.compile(r"\d+ requested and \d+ written")
"""The message of numpy's ``tofile``, which omits the system's reason."""


def refusal(error: BaseException) -> LacyError | None:
    """The E19 for an error that means that the disk cannot be written, whichever library raised it.

    Args:
        error: any exception. Its causes are examined too, because libraries wrap exceptions.

    Returns:
        The error to raise instead, or ``None`` for any other exception.
    """
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        if isinstance(link, LacyError):
            return link if link.code == "E19" and link is not error else None
        code = link.errno if isinstance(link, OSError) else None
        why = os.strerror(code) if code in FULL and code is not None else _phrase(str(link))
        if why:
            where = getattr(link, "filename", None) or "the disk"
            return LacyError("E19", path=where, why=why)
        seen.append(link)
        link = link.__cause__ or link.__context__
    return None


def _phrase(text: str) -> str | None:
    """The reason in a message of another library."""
    if SHORT.search(text):
        return "not everything could be written"
    return next((phrase for phrase in PHRASES if phrase in text), None)


@contextlib.contextmanager
def _refusals_named(path: Path) -> Iterator[None]:
    """Converts errors of a full or failing disk to an E19 that names ``path``."""
    try:
        yield
    except Exception as error:
        found = refusal(error)
        if found is None:
            raise
        raise LacyError("E19", path=path, why=found.values["why"]) from error


# ---------------------------------------------------------------------------------- atomic writes


def write_atomic(path: str | Path, content: str | bytes, *, private: bool = False) -> None:
    """Writes a file so that readers see the old content or the new, never a part.

    Args:
        path: the file; its folder is created if needed.
        content: text (written as UTF-8) or bytes.
        private: only the owner can read it, at any moment; else whoever the umask lets.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    with _refusals_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not private:  # as mkstemp made it
                os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yields the path of a new file beside ``path``, which it replaces if the block succeeds.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    path = Path(path)
    with _refusals_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{os.getpid()}.half")
        try:
            yield half
            with open(half, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(half, path)
            sync_folder(path.parent)
        finally:
            half.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside ``path``, which it replaces when the block succeeds.

    If the block raises or the process is killed, ``path`` stays as it was. A folder that was
    not written this way and is not empty is never replaced.

    Raises:
        LacyError: E16, ``path`` is a file or a folder with other content; E19, the disk is full or
            failing.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    with _refusals_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _restore(path)
        if path.exists() and not replaceable(path):
            raise LacyError("E16", path=path)
        mine = f"{socket.gethostname()}-{os.getpid()}"
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-{mine}-", dir=path.parent))
        os.chmod(fresh, 0o777 & ~umask())
        try:
            yield fresh
            (fresh / OWNED).write_text("Written by lacy; replaced as a whole.\n", encoding="utf-8")
            _flush(fresh)
            _swap(fresh, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def replaceable(path: Path) -> bool:
    """Whether a folder may be replaced: it is empty, or ``replace_folder`` wrote it."""
    if not path.is_dir():
        return False
    return (path / OWNED).exists() or all(inside.name == LOCK for inside in path.iterdir())


def _swap(fresh: Path, path: Path) -> None:
    """Replaces ``path`` with ``fresh``; afterwards ``fresh`` contains the old content."""
    if not path.exists():
        os.rename(fresh, path)
    elif not _exchange(fresh, path):
        old = fresh.with_name(fresh.name.replace(".new-", ".old-"))
        os.rename(path, old)  # after a kill here, _restore moves it back
        os.rename(fresh, path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two folders in one step, if the system supports it (Linux ``renameat2``)."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of the Linux headers
    if rename is None:
        return False
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def _restore(path: Path) -> None:
    """Cleans up after a killed process: restores the old content, removes unfinished folders."""
    for left in sorted(path.parent.glob(f".{path.name}.old-*")):
        if not path.exists():
            os.rename(left, path)
    for left in sorted(path.parent.glob(f".{path.name}.*-{socket.gethostname()}-*-*")):
        pid = left.name.rsplit("-", 2)[1]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists but belongs to another user
        return True
    return True


def _flush(folder: Path) -> None:
    """Syncs every file and name in a folder to the disk before the folder is renamed.

    Files get the permissions that the umask allows: safetensors makes its files readable only by
    their owner.
    """
    rights = 0o666 & ~umask()
    for inside in folder.rglob("*"):
        if inside.is_symlink():
            continue
        if inside.is_dir():
            sync_folder(inside)
        elif inside.is_file():
            inside.chmod(rights)
            with open(inside, "rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Syncs the names in a folder to the disk; otherwise a power failure may undo a rename.

    Does nothing on systems that do not support it (Windows, some network file systems).
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that is writable but not readable
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)


def umask() -> int:
    """The umask: permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ----------------------------------------------------------------------------------------- locks


@contextlib.contextmanager
def lock(folder: str | Path, *, name: str = LOCK, wait: float = 0.0) -> Iterator[None]:
    """Locks a folder for this block; a second process (or thread) that locks it is refused.

    The operating system releases the lock however the process ends, including ``kill -9``, so a
    leftover lock file does no harm. If the file system has no locks (some network file systems), a
    warning is printed and the block runs unlocked.

    Args:
        folder: the folder; created if needed.
        name: name of the lock file in it.
        wait: seconds to wait for the other process before refusing; ``math.inf`` waits for ever.

    Raises:
        LacyError: E150, another process has the lock; E16, ``folder`` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise LacyError("E16", path=folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    handle = _acquired(file, wait)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(file)  # while it is locked: nobody else can have locked this file
            os.close(handle)
        if made:
            with contextlib.suppress(OSError):  # the folder is no longer empty
                folder.rmdir()


def _acquired(file: Path, wait: float) -> int | None:
    """The open handle of a locked file; None where the file system has no locks."""
    end, pause = time.monotonic() + wait, 0.01
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            got = _try_lock(handle)
            if got is None:
                os.close(handle)
                _say_unlocked(file)
                return None
            if got and _is_still(handle, file):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return handle
            owner = os.pread(handle, 200, 0).decode("utf-8", "replace") if not got else ""
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        os.close(handle)
        if not got and time.monotonic() >= end:
            raise LacyError("E150", folder=file.parent, who=_who(owner))
        if not got:
            time.sleep(pause)
            pause = min(2 * pause, LOOK)


def _try_lock(handle: int) -> bool | None:
    """Whether the lock was free; None if the system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    return True


def _is_still(handle: int, file: Path) -> bool:
    """Whether the locked file still exists under its name; its last owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _who(owner: str) -> str:
    """The owner of a lock for a message."""
    pid, _, host = owner.strip().partition(" ")
    if not pid.isdigit():
        return ""
    return f" (process {pid})" if host == socket.gethostname() else f" (process {pid} on {host})"


def _say_unlocked(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
    print(
        f"The file system of {file.parent} has no locks: "
        "make sure that no other lacy writes there at the same time.",
        file=sys.stderr,
    )
