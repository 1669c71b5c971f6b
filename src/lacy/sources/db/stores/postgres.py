"""Read from PostgreSQL servers in read-only transactions with time limits enforced by the server.

The password comes from the address, ``PGPASSWORD`` or ``~/.pgpass``; names, messages and evidence
never contain it. A lost connection is reopened once.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lacy._require import require_package
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.db.stores.base import (
    SETUP_SECONDS,
    Catalogue,
    ColumnQuery,
    ForeignKey,
    Store,
    StoreError,
    quoted,
    timeout_message,
)
from lacy.sources.db.values import ValueKind

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 10
_GRACE = 0.5
"""Seconds after a query's time limit before the connection to an unresponsive server is cut."""

_BEGIN = (
    "BEGIN READ ONLY; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';"
    " SET LOCAL extra_float_digits = 1;"
)
"""All settings are local to the transaction, because PgBouncer may share the connection."""

_INET = 869
"""The oid of the type inet; it is the same in every PostgreSQL."""

_SYSTEM = "('pg_catalog', 'information_schema', 'pg_toast')"


class Postgres(Store):
    """A database behind ``postgresql://user@host/name``.

    Raises:
        LacyError: E94, the address is wrong or the server does not answer; E11, ``psycopg`` is not
            installed.
    """

    placeholder = "%s"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._psycopg = psycopg = require_package("psycopg", "postgres", "a PostgreSQL database")
        try:
            self._address: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            # No cause: libpq's message may quote the password.
            raise LacyError("E94", place="postgresql://…", why="its address is malformed") from None
        self._secret = str(self._address.get("password") or "")
        host = str(self._address.get("host") or "")
        if "@" in host or "@" in str(self._address.get("dbname") or ""):
            why = "special characters of a password are written %40 (@), %2F (/), %3A (:)"
            raise LacyError("E94", place="postgresql://…", why=why)
        self.place = _place(self._address)
        self.name = str(self._address.get("dbname") or self._address.get("user") or "postgresql")
        self._closed = self._expired = False
        try:
            self._db = self._connect()
        except psycopg.Error as error:
            raise LacyError("E94", place=self.place, why=self._problem(error)) from None

    def catalogue(self) -> Catalogue:
        """Return readable tables and views; names outside the search path include their schema."""
        found = self.rows(
            "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),"
            " pg_table_is_visible(c.oid), c.relkind IN ('v', 'f'), c.relispopulated, a.atttypid"
            " FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            f" AND n.nspname NOT IN {_SYSTEM} AND n.nspname NOT LIKE 'pg_temp%%'"
            " AND has_schema_privilege(n.oid, 'USAGE')"
            " AND has_column_privilege(c.oid, a.attnum, 'SELECT')"
            " ORDER BY NOT pg_table_is_visible(c.oid), 1, 2, a.attnum"
        )
        types = self._type_kinds()
        tables: dict[str, dict[str, str]] = {}
        self._column_queries: dict[tuple[str, str], ColumnQuery] = {}
        names: dict[tuple[str, str], str] = {}
        unverified = set()
        unreadable: dict[str, str] = {}
        for schema, table, column, kind, visible, view, filled, number in found:
            name = table if visible else f"{schema}.{table}"
            if not filled:
                unreadable[name] = "it is not populated; run REFRESH MATERIALIZED VIEW"
                continue
            names[schema, table] = name
            tables.setdefault(name, {})[column] = kind
            self._tables_sql[name] = f"{self.quoted(schema)}.{self.quoted(table)}"
            self._column_queries[name, column] = types.get(number, ColumnQuery(kind="none"))
            if view:
                unverified.add(name)
        keys: dict[str, str] = {}
        foreign_keys = []
        for kind, schema, table, column, to_schema, to, to_column in self.rows(
            "SELECT k.contype::text, n.nspname, c.relname, a.attname, fn.nspname, f.relname,"
            " fa.attname FROM pg_constraint k"
            " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]"
            " LEFT JOIN pg_class f ON f.oid = k.confrelid"
            " LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace"
            " LEFT JOIN pg_attribute fa ON fa.attrelid = f.oid AND fa.attnum = k.confkey[1]"
            " WHERE k.contype IN ('p', 'f') AND cardinality(k.conkey) = 1 ORDER BY k.oid"
        ):
            name = names.get((schema, table), "")
            if column not in tables.get(name, {}):
                continue
            target = names.get((to_schema, to), "")
            if kind == "p":
                keys[name] = column
            elif to_column in tables.get(target, {}):
                foreign_keys.append(ForeignKey(name, column, target, to_column))
        # Views on a server need no special time limit, because its operator created them.
        views: frozenset[str] = frozenset()
        return Catalogue(
            tables, keys, tuple(foreign_keys), views, frozenset(unverified), unreadable
        )

    def _type_kinds(self) -> dict[int, ColumnQuery]:
        """Return how to query values of each type; a domain is treated like its base type."""
        found = self.rows(
            "WITH RECURSIVE base AS (SELECT oid AS own, oid, typtype, typcategory, typname,"
            " typbasetype, typelem FROM pg_type WHERE typtype IN ('b', 'd', 'e')"
            " UNION ALL SELECT base.own, t.oid, t.typtype, t.typcategory, t.typname, t.typbasetype,"
            " t.typelem FROM base JOIN pg_type t ON t.oid = base.typbasetype"
            " WHERE base.typtype = 'd')"
            " SELECT own, typcategory::text, typname, typelem FROM base WHERE typtype <> 'd'"
        )
        kinds = {own: _kind(group, name) for own, group, name, _ in found}
        queries = {}
        for own, group, _, element in found:
            many = group == "A" and element != 0
            kind = kinds.get(element, "none") if many else kinds[own]
            sql = "{}" if kind in ("bytes", "none") else f"CAST({{}} AS text{'[]' * many})"
            queries[own] = ColumnQuery(sql, kind)
        queries[_INET] = ColumnQuery("abbrev({})", "text")  # a cast to text would append /32
        return queries

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Run one query and return its rows; raise ``StoreError`` if it fails or takes too long."""
        with self._lock:
            try:
                try:
                    return self._run(query, values, seconds)
                except self._psycopg.OperationalError:
                    if self._closed or not self._db.closed or self._expired:
                        raise
                    self._db = self._connect()  # the connection was lost since the last query
                    return self._run(query, values, seconds)
            except self._psycopg.errors.QueryCanceled as error:
                raise StoreError(timeout_message(seconds)) from error
            except (self._psycopg.Error, UnicodeError) as error:
                why = timeout_message(seconds) if self._expired else self._problem(error)
                raise StoreError(why) from None

    def _run(self, query: str, values: Sequence[Any], seconds: float) -> list[tuple[Any, ...]]:
        """Run one query; cut the connection if the server does not end the query in time."""
        db, self._expired = self._db, False

        def cut() -> None:
            self._expired = True
            _cut_connection(db)

        timer = threading.Timer(seconds + _GRACE, cut)
        timer.daemon = True
        timer.start()
        try:
            # One message, local to the transaction, because a pool may share the connection.
            limit = f"SET LOCAL statement_timeout = {max(1, int(1000 * seconds))}"
            db.execute(f"{_BEGIN} {limit}".encode())
            # Always pass values, so that %% means % in every query.
            found = db.execute(query.encode(), tuple(values)).fetchall()
            db.execute("COMMIT")
            return found
        except BaseException:
            with suppress(self._psycopg.Error):
                if not db.closed:
                    db.execute("ROLLBACK")
            raise
        finally:
            timer.cancel()

    def _connect(self) -> psycopg.Connection[Any]:
        wait = {"connect_timeout": _CONNECT_SECONDS, **self._address}
        # No prepared statements, because a pool may share the connection with other programs.
        return self._psycopg.connect(
            **{**wait, "client_encoding": "utf8", "application_name": "lacy"},
            autocommit=True,
            prepare_threshold=None,
        )

    def _problem(self, error: BaseException) -> str:
        """Describe an error in one line without the password."""
        why = first_line(error)
        for secret in {self._secret, quote(self._secret), quote(self._secret, safe="")}:
            why = why.replace(secret, "***") if secret else why
        return why

    def quoted(self, name: str) -> str:
        """Return a name in double quotes; % is doubled, because a single one begins a parameter."""
        return quoted(name).replace("%", "%%")

    def text(self, column: str) -> str:
        """Return SQL for the value as formatted by PostgreSQL: dates as ``1815-12-10``."""
        return f"CAST({column} AS text)"

    def column_query(self, table: str, column: str) -> ColumnQuery:
        """Query arrays as lists of texts, bytes as bytes, and all else as text by PostgreSQL."""
        return self._column_queries[table, column]

    def interrupt(self) -> None:
        """Ask the server to cancel the running query."""
        with suppress(self._psycopg.Error):
            self._db.cancel_safe(timeout=2.0)

    def close(self) -> None:
        """Close the connection; it is not reopened."""
        self._closed = True
        super().close()


def _cut_connection(db: psycopg.Connection[Any]) -> None:
    """Shut down the socket to an unresponsive server, so that the waiting thread continues."""
    with suppress(Exception):
        copy = socket.socket(fileno=os.dup(db.fileno()))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)


def _kind(group: str, name: str) -> ValueKind:
    """Return the kind of a type by its category and name; "none" if its values are not words."""
    if name in ("json", "jsonb"):
        return "json"
    if name == "bytea":
        return "bytes"
    if name in ("uuid", "macaddr", "macaddr8", "money", "inet", "citext"):
        return "text"
    kinds: dict[str, ValueKind] = {
        "B": "text",
        "D": "time",
        "E": "text",
        "N": "number",
        "S": "text",
    }
    return {**kinds, "T": "interval", "X": "text", "Z": "text"}.get(group, "none")


def _place(address: dict[str, Any]) -> str:
    """Return the address without password and options."""
    user, host, port = (str(address.get(k) or "") for k in ("user", "host", "port"))
    who = f"{quote(user, safe='')}@" if user else ""
    where = quote(host, safe=":,")  # a socket's folder has slashes
    return f"postgresql://{who}{where}{f':{port}' if port else ''}/{address.get('dbname') or ''}"
