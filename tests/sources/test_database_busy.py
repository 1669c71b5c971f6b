"""Databases that other processes are writing, and folders without write permission."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from helpers.stores import SCHEMA, duck_with, sqlite_with
from lacy.errors import LacyError
from lacy.sources import Database
from lacy.types import Request


def ask(source, text):
    [reply] = asyncio.run(source.ask([Request(text)]))
    return reply


def test_a_look_up_waits_for_a_writer_up_to_its_timeout(tmp_path):
    path = sqlite_with(tmp_path / "facts.sqlite")
    with Database(path, timeout=0.2) as database, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.perf_counter()
        reply = ask(database, "Ada Lovelace was")
        assert reply.fault and "another process is writing it" in reply.error
        assert time.perf_counter() - begin < 4
        other.rollback()
        assert ask(database, "Ada Lovelace was").candidates


def test_a_locked_file_is_named_as_such_when_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("lacy.sources.db.stores.sqlite._OPEN_SECONDS", 0.1)
    path = sqlite_with(tmp_path / "facts.sqlite")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LacyError, match=r"E66.*another process is writing it"):
            Database(path)


def test_a_duckdb_file_that_another_process_writes_names_it(tmp_path):
    path = duck_with(tmp_path / "facts.duckdb")
    code = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline()
        with pytest.raises(LacyError, match=rf"E66.*process {writer.pid} has it open for writing"):
            Database(path)
        writer.communicate(b"\n")
    with Database(path) as database:
        assert ask(database, "Ada Lovelace was").candidates


READ = """
import os, sys
from lacy.errors import LacyError
from lacy.sources import Database
try:
    with Database(sys.argv[1]) as database:
        print(database.facts("Ada Lovelace"))
except LacyError as error:
    print(error)
"""


def as_reader(path):
    """What a process says that may write no folder but its own."""
    command = [sys.executable, "-c", READ, str(path)]
    if os.geteuid() == 0:  # root may write everywhere, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv: apt-get install util-linux")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_write_ahead_log_in_a_folder_that_may_only_be_read(tmp_path):
    shut, open_folder = tmp_path / "shut", tmp_path / "open"
    for folder in (shut, open_folder):
        folder.mkdir()
    with closing(sqlite3.connect(open_folder / "a.sqlite")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in SCHEMA:
            db.execute(statement)
        db.commit()
        for end in ("", "-wal"):  # as someone who copies a database in use
            shutil.copy(open_folder / f"a.sqlite{end}", shut / f"log.sqlite{end}")
    shutil.copy(open_folder / "a.sqlite", shut / "whole.sqlite")
    shut.chmod(0o555)
    try:
        assert "10 December 1815" in as_reader(shut / "whole.sqlite")
        assert "its last changes are in log.sqlite-wal" in as_reader(shut / "log.sqlite")
        assert len(list(shut.iterdir())) == 3
    finally:
        shut.chmod(0o755)
