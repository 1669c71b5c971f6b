"""Atomic writes, locks between processes, and errors of full or failing disks.

A process killed at any moment leaves either the old or the new file, never a partial one. When
``write_atomic`` and ``replace_folder`` return, content and name are on disk.
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

OWNER_FILE = ".lacy"
"""Name of the file that marks a folder as written by lacy, so that it may be replaced."""

LOCK_FILE = ".lock"
"""Name of the file that is locked while a process works in a folder."""

LOCK_POLL_SECONDS = 0.5
"""Maximum pause between two attempts to get a lock; the first pauses are shorter."""

DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
"""Error codes that mean that the disk is full, over quota, read-only or failing."""

_DISK_MESSAGES = (
    *(os.strerror(code) for code in DISK_ERRNOS),
    "database or disk is full",
    "disk I/O error",
)
"""Messages of libraries that do not raise ``OSError`` (safetensors, tokenizers, Arrow, SQLite)."""

_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""Matches the message of numpy's ``tofile``, which omits the system's reason."""


CACHE_VARIABLE = "LACY_CACHE"
"""Environment variable that names another folder for what ``cache_folder`` contains."""


def cache_folder() -> Path:
    """Return the folder for files that can be made again: ``LACY_CACHE``, or ``~/.cache/lacy``."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lacy"


def disk_error(error: BaseException) -> LacyError | None:
    """Return an E19 if an exception means that the disk is full or failing, else None.

    Args:
        error: an exception of any library; its causes are checked, too, because libraries wrap
            exceptions.
    """
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        if isinstance(current, LacyError):
            return current if current.code == "E19" and current is not error else None
        code = current.errno if isinstance(current, OSError) else None
        why = (
            os.strerror(code)
            if code in DISK_ERRNOS and code is not None
            else _disk_message(str(current))
        )
        if why:
            where = getattr(current, "filename", None) or "the disk"
            return LacyError("E19", path=where, why=why)
        seen.append(current)
        current = current.__cause__ or current.__context__
    return None


def _disk_message(text: str) -> str | None:
    """Return the reason in a library's message if it is about the disk, else None."""
    if _SHORT_WRITE.search(text):
        return "not everything could be written"
    return next((phrase for phrase in _DISK_MESSAGES if phrase in text), None)


@contextlib.contextmanager
def _naming_disk_errors(path: Path) -> Iterator[None]:
    """Convert errors of a full or failing disk to an E19 that names ``path``."""
    try:
        yield
    except Exception as error:
        found = disk_error(error)
        if found is None:
            raise
        raise LacyError("E19", path=path, why=found.values["why"]) from error


def write_atomic(path: str | Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file so that readers see either the old or the new content, never a mixture.

    Args:
        path: the file; its folder is created if needed.
        content: text (written as UTF-8) or bytes.
        private: make the file readable only by its owner, from the moment it is created.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    with _naming_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not private:  # mkstemp creates private files
                os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; the file there replaces ``path`` if the block succeeds.

    Raises:
        LacyError: E19, the disk is full or failing.
    """
    path = Path(path)
    with _naming_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            yield partial
            with open(partial, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that replaces ``path`` if the block succeeds.

    If the block raises or the process is killed, ``path`` does not change. A folder that lacy did
    not write is never replaced unless it is empty.

    Raises:
        LacyError: E16, ``path`` is a file or a folder with other content; E19, the disk is full or
            failing.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    with _naming_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(path)
        if path.exists() and not can_replace(path):
            raise LacyError("E16", path=path)
        owner = f"{socket.gethostname()}-{os.getpid()}"
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-{owner}-", dir=path.parent))
        os.chmod(fresh, 0o777 & ~umask())
        try:
            yield fresh
            (fresh / OWNER_FILE).write_text(
                "Written by lacy; replaced as a whole.\n", encoding="utf-8"
            )
            _sync_files(fresh)
            _swap(fresh, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def can_replace(path: Path) -> bool:
    """True if ``replace_folder`` may replace this folder: it is empty, or lacy wrote it."""
    if not path.is_dir():
        return False
    return (path / OWNER_FILE).exists() or all(
        inside.name == LOCK_FILE for inside in path.iterdir()
    )


def _swap(fresh: Path, path: Path) -> None:
    """Replace ``path`` with ``fresh``; afterwards ``fresh`` contains the old content, if any."""
    if not path.exists():
        os.rename(fresh, path)
    elif not _exchange(fresh, path):
        old = fresh.with_name(fresh.name.replace(".new-", ".old-"))
        os.rename(path, old)  # after a kill here, _clean_up moves it back
        os.rename(fresh, path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders atomically; False if not supported (only Linux's ``renameat2`` can)."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    cwd, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of the Linux headers
    if rename is None:
        return False
    return bool(rename(cwd, os.fsencode(first), cwd, os.fsencode(second), exchange) == 0)


def _clean_up(path: Path) -> None:
    """Clean up after a killed process: restore the old content, remove unfinished folders."""
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


def _sync_files(folder: Path) -> None:
    """Sync all files and names in a folder to the disk.

    Files also get the permissions that the umask allows, because safetensors makes its files
    readable only for their owner.
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
    """Sync the names in a folder to the disk; without this, a power failure may undo a rename.

    Does nothing if this is not supported (Windows, some network file systems).
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
    """Return the umask, i.e. the permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def lock(folder: str | Path, *, name: str = LOCK_FILE, wait: float = 0.0) -> Iterator[None]:
    """Lock a folder during this block, so that no other process or thread can lock it.

    The operating system releases the lock however the process ends, including ``kill -9``, so a
    leftover lock file does no harm. On file systems without locks (some network file systems), the
    block runs unlocked after a warning.

    Args:
        folder: the folder; created if needed.
        name: name of the lock file in it.
        wait: seconds to wait for the other process; ``math.inf`` waits forever.

    Raises:
        LacyError: E150, another process has the lock; E16, ``folder`` is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise LacyError("E16", path=folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    handle = _acquire(file, wait)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(file)  # before the lock is released, so nobody else has locked it
            os.close(handle)
        if made:
            with contextlib.suppress(OSError):  # the folder is no longer empty
                folder.rmdir()


def _acquire(file: Path, wait: float) -> int | None:
    """Return the open handle of the locked file, or None if the file system has no locks."""
    end, pause = time.monotonic() + wait, 0.01
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            got = _try_lock(handle)
            if got is None:
                os.close(handle)
                _warn_unlocked(file)
                return None
            if got and _is_current(handle, file):
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
            pause = min(2 * pause, LOCK_POLL_SECONDS)


def _try_lock(handle: int) -> bool | None:
    """Return True if we got the lock, False if it is taken, None if there are no locks."""
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


def _is_current(handle: int, file: Path) -> bool:
    """True if the locked file still has its name; the previous owner may have deleted it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _who(owner: str) -> str:
    """Format the owner of a lock for a message."""
    pid, _, host = owner.strip().partition(" ")
    if not pid.isdigit():
        return ""
    return f" (process {pid})" if host == socket.gethostname() else f" (process {pid} on {host})"


def _warn_unlocked(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()
    print(
        f"The file system of {file.parent} has no locks: "
        "make sure that no other lacy writes there at the same time.",
        file=sys.stderr,
    )
