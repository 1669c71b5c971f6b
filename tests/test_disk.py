"""The disk: writes that are whole or absent, locks, and what the system refuses."""

import errno
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy import disk
from lacy.disk import disk_error, lock, replace_folder, write_atomic
from lacy.errors import LacyError

# ------------------------------------------------------------------------------ write_atomic


@given(st.text(st.characters(codec="utf-8")) | st.binary())
def test_written_files_are_read_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("w") / "deep" / "file"
    write_atomic(path, content)
    expected = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == expected
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_users_permissions(tmp_path):
    write_atomic(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---------------------------------------------------------------------------- replace_folder


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, exchange):
    if not exchange:  # systems without an atomic swap
        monkeypatch.setattr(disk, "_exchange", lambda *_: False)
    target = tmp_path / "deep" / "out"
    for content in ("first", "second"):
        with replace_folder(target) as folder:
            assert list(folder.iterdir()) == []
            (folder / content).write_text(content)
            assert not (target / content).exists()
        assert (target / content).read_text() == content
    assert sorted(p.name for p in target.iterdir()) == [".lacy", "second"]
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_a_failing_block_leaves_the_old_folder(tmp_path):
    target = tmp_path / "out"
    with replace_folder(target) as folder:
        (folder / "a").write_text("old")

    def fail():
        with replace_folder(target) as folder:
            (folder / "a").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_lacy_did_not_write_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for name in ("thesis", "file"):
        with pytest.raises(LacyError) as caught, replace_folder(tmp_path / name):
            pytest.fail("the block must not start")
        assert caught.value.code == "E16"
    assert (tmp_path / "thesis" / "draft.txt").read_text() == "years of work"


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with replace_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("x")
    assert (tmp_path / "out" / "a").exists()


def test_a_replaced_link_points_to_the_new_content(tmp_path):
    with replace_folder(tmp_path / "real") as folder:
        (folder / "a").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replace_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "new"


KILLED = """
import sys, time
from lacy.run import replace_folder
with replace_folder(sys.argv[1]) as folder:
    (folder / "a").write_text("half")
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_the_old_folder_and_the_next_one_cleans_up(tmp_path):
    target = tmp_path / "out"
    with replace_folder(target) as folder:
        (folder / "a").write_text("old")
    command = [sys.executable, "-c", KILLED, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
    assert (target / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2  # the unfinished folder is still there
    with replace_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_of_a_running_process_is_not_cleaned_away(tmp_path):
    with replace_folder(tmp_path / "out") as outer:
        (outer / "a").write_text("outer")
        with replace_folder(tmp_path / "out") as inner:
            (inner / "a").write_text("inner")
        assert (outer / "a").exists()
    assert (tmp_path / "out" / "a").read_text() == "outer"


def test_killed_between_two_renames_the_old_folder_comes_back(tmp_path):
    left = tmp_path / ".out.old-elsewhere-1-abc"
    left.mkdir()
    (left / ".lacy").write_text("")
    (left / "a").write_text("old")
    with pytest.raises(ValueError, match="stop"), replace_folder(tmp_path / "out"):
        raise ValueError("stop")
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_file_names_are_synced_when_a_write_returns(tmp_path, monkeypatch):
    """The folder is synced after the rename, the file before it."""
    done, real, rename = [], os.fsync, os.replace

    def fsync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}") if os.path.exists("/proc") else "?")
        real(handle)

    def replace(*names):
        done.append("renamed")
        rename(*names)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "a", "x")
    file, renamed, folder = done
    assert (renamed, folder) == ("renamed", str(tmp_path)) and "/.a." in file
    done.clear()
    with replace_folder(tmp_path / "out") as fresh:
        (fresh / "deep").mkdir()
        (fresh / "deep" / "b").write_text("x")
    *inside, parent = done
    assert parent == str(tmp_path)
    assert {str(fresh), f"{fresh}/deep", f"{fresh}/deep/b", f"{fresh}/.lacy"} == set(inside)


def test_a_file_that_a_library_writes_is_whole_or_absent(tmp_path):
    with disk.replace_file(tmp_path / "deep" / "a") as half:
        half.write_text("old")
    with (
        pytest.raises(ValueError, match="stop"),
        disk.replace_file(tmp_path / "deep" / "a") as half,
    ):
        half.write_text("new")
        raise ValueError("stop")
    assert (tmp_path / "deep" / "a").read_text() == "old"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_file_permissions_follow_the_umask(tmp_path, mask):
    """safetensors makes files that only their owner may read, whatever the umask."""
    import numpy as np
    from safetensors.numpy import save_file

    from lacy.world import make_world

    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "file", "x")
        with replace_folder(tmp_path / "out") as fresh:
            (fresh / "deep").mkdir()
            save_file({"a": np.zeros(3)}, fresh / "deep" / "a.safetensors")
        make_world(12, 0).to_sqlite(tmp_path / "truth.sqlite")
        with lock(tmp_path / "run"):
            modes = {p.name: (p.is_dir(), p.stat().st_mode & 0o777) for p in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    assert len(modes) == 8
    right = {name: (0o777 if folder else 0o666) & ~mask for name, (folder, _) in modes.items()}
    right["truth.sqlite"] &= 0o644  # SQLite's own choice
    assert {name: mode for name, (_, mode) in modes.items()} == right


# ---------------------------------------------------------------------------------- disk_error


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
from lacy.disk import replace_folder
from lacy.testing import byte_tokenizer

def safetensors(folder):
    import numpy as np
    from safetensors.numpy import save_file
    save_file({"a": np.zeros(9_000)}, folder / "a")

def tokenizers(folder):
    byte_tokenizer().backend_tokenizer.save(str(folder / "a"))

def arrow(folder):
    import pyarrow as pa
    with pa.OSFile(str(folder / "a"), "wb") as file:
        file.write(b"0" * 9_000)

def numpy(folder):
    import numpy as np
    with open(folder / "a", "wb") as file:
        np.zeros(9_000).tofile(file)

def python(folder):
    (folder / "a").write_bytes(b"0" * 9_000)

for write in (safetensors, tokenizers, arrow, numpy, python):
    try:
        with replace_folder(sys.argv[1]) as folder:
            write(folder)
    except Exception as error:
        print(write.__name__, type(error).__name__, str(error).splitlines()[0])
"""


def test_write_errors_of_libraries_become_e19(tmp_path):
    """Each library itself, in a process whose files may hold 4 KiB."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", LIMITED, str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    names = ("safetensors", "tokenizers", "arrow", "numpy", "python")
    said = dict.fromkeys(names, os.strerror(errno.EFBIG))
    said["numpy"] = "not everything could be written"
    assert done.stdout.splitlines() == [
        f"{name} LacyError [E19] cannot read or write {out}: {why}" for name, why in said.items()
    ], done.stderr
    assert list(tmp_path.iterdir()) == []


def sqlite_full():
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA max_page_count = 1")
    try:
        db.execute("CREATE TABLE a (b)")
        db.execute("INSERT INTO a VALUES (zeroblob(100000))")
    except sqlite3.Error as error:
        return error
    finally:
        db.close()


def wrapped():
    try:
        try:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "big")
        except OSError as error:
            raise RuntimeError("could not generate") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "make",
    [sqlite_full, wrapped,
     *(lambda code=code: OSError(code, os.strerror(code)) for code in disk.DISK_ERRNOS)],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_a_full_disk_is_e19_whichever_library_reports_it(make, tmp_path):
    error = make()
    assert isinstance(error, Exception)
    assert disk_error(error).code == "E19"
    with pytest.raises(LacyError) as caught, replace_folder(tmp_path / "out"):
        raise error
    assert caught.value.code == "E19"
    assert str(tmp_path / "out") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), FileNotFoundError(2, "No such file"), KeyError("disk"),
     LacyError("E18", path="a", line=1)],
)  # fmt: skip
def test_other_errors_are_not_converted(error, tmp_path):
    assert disk_error(error) is None
    with pytest.raises(type(error)) as caught, replace_folder(tmp_path / "out"):
        raise error
    assert caught.value is error


# ---------------------------------------------------------------------------------------- lock

HOLDER = """
import sys, time
from lacy.disk import lock
with lock(sys.argv[1]):
    print("inside", flush=True)
    time.sleep(600)
"""


def refused(folder):
    with pytest.raises(LacyError) as caught, lock(folder):
        pytest.fail("the lock was given twice")
    assert caught.value.code == "E150"
    return str(caught.value)


def test_a_lock_is_held_until_the_process_is_killed(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "inside\n"
        assert f"(process {process.pid})" in refused(folder)
        process.send_signal(signal.SIGKILL)
    assert (folder / ".lock").exists()  # left over: it blocks nobody
    with lock(folder):
        refused(folder)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_folder_created_only_for_a_lock_is_removed(tmp_path):
    with lock(tmp_path / "a"):
        pass
    with lock(tmp_path / "b"):
        (tmp_path / "b" / "x").write_text("x")
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "x"]


def test_two_names_of_a_folder_are_one_lock(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with lock(tmp_path / "real"):
        refused(tmp_path / "link")


def test_a_waiting_process_gets_the_lock_when_it_is_released(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "LOCK_POLL_SECONDS", 0.001)
    inside, most, got = [], [], []

    def work(number):
        with lock(tmp_path, wait=math.inf):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)
            got.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(8)) and set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_locking_a_file_instead_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(LacyError) as caught, lock(tmp_path / "a"):
        pass
    assert caught.value.code == "E16"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_works_with_a_warning(tmp_path, monkeypatch, capsys, code):
    import fcntl

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(tmp_path / "run"):
        (tmp_path / "run" / "x").write_text("x")
    assert "has no locks: make sure that no other lacy writes there" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["x"]
