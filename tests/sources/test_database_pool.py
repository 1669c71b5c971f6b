"""PgBouncer in transaction mode: connections are shared, so no settings may remain on them."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from lacy.errors import LacyError
from lacy.sources import Database
from lacy.sources.db.stores import StoreError
from lacy.types import Request


@pytest.fixture
def pool(postgres, tmp_path):
    """A database behind a pool of one connection: its address, and its own."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    psycopg = pytest.importorskip("psycopg", exc_type=ImportError)
    own = postgres.fill()
    host = str(postgres.server.get_postmaster_info().socket_dir)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(host)  # a short path, which another user may enter
    name, users = own.rpartition("/")[2], folder / "users.txt"
    users.write_text('"postgres" ""\n')
    settings = folder / "pool.ini"
    settings.write_text(
        f"[databases]\n{name} = host={host} dbname={name}\n[pgbouncer]\n"
        f"listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=trust\n"
        f"auth_file={users}\npool_mode=transaction\ndefault_pool_size=1\n"
    )
    as_root = os.getuid() == 0  # which pgbouncer will not run as
    for file in (users, settings) if as_root else ():
        file.chmod(0o644)
    for parent in (folder, *folder.parents)[:2] if as_root else ():
        parent.chmod(parent.stat().st_mode | 0o055)
    user = pwd.getpwnam("nobody").pw_uid if as_root else None
    running = subprocess.Popen(
        [program, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/{name}"
    try:
        for _ in range(120):
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                assert running.poll() is None, "pgbouncer has stopped"
                time.sleep(0.25)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def words(source, text):
    [reply] = asyncio.run(source.ask([Request(text)]))
    assert not reply.error, reply.error
    return [candidate.text for candidate in reply.candidates]


def test_pooled_connections_keep_the_settings_of_other_programs(pool):
    import psycopg

    with closing(psycopg.connect(pool, autocommit=True, prepare_threshold=None)) as other:
        other.execute("CREATE TABLE log (x INT)")
        names = ("statement_timeout", "default_transaction_read_only", "datestyle",
                 "intervalstyle", "search_path", "client_encoding", "timezone")  # fmt: skip
        before = [other.execute(f"SHOW {name}").fetchone() for name in names]
        with Database(pool, timeout=7.0) as source:
            assert words(source, "Ada Lovelace was born on")
            with pytest.raises(StoreError):
                source.store.rows("SELECT 1 / 0")
            other.execute("INSERT INTO log VALUES (1)")
            with pytest.raises(StoreError, match="read-only"):
                source.store.rows("DELETE FROM log")
        assert [other.execute(f"SHOW {name}").fetchone() for name in names] == before
        other.execute("INSERT INTO log VALUES (2)")


def test_look_ups_work_over_a_pool(pool):
    with Database(pool, timeout=7.0) as source, Database(pool, timeout=7.0) as another:
        for _ in range(8):  # psycopg would prepare the sixth
            for one in (source, another):
                one._cache.clear()
                assert words(one, "Emil Quilodell taught") == [" ethnology"]


def test_an_error_of_the_pool_is_reported(pool):
    with pytest.raises(LacyError, match=r"E94.*unsupported startup parameter"):
        Database(f"{pool}?options=-c%20search_path%3Dpublic")
