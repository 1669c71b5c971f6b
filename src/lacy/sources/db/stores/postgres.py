"""PostgreSQL by its address: transactions that only read, cut off by the server itself.

The password comes from the address, ``PGPASSWORD`` or ``~/.pgpass``; it stands in no name, message
or evidence. A connection that is lost is made once again.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.db.stores.base import (
    SETUP_SECONDS,
    Catalogue,
    Reading,
    Reference,
    StoreError,
    late,
    quoted,
)
from lacy.sources.db.values import Kind

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 10
_GRACE = 0.5
"""Seconds after a query's time at which a server that does not stop it is hung up on."""

_BEGIN = (
    "BEGIN READ ONLY; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';"
    " SET LOCAL extra_float_digits = 1;"
)
"""All settings end with the transaction: PgBouncer may give the connection to other programs."""

_INET = 869
"""The type's oid, which is the same in every PostgreSQL."""

_SYSTEM = "('pg_catalog', 'information_schema', 'pg_toast')"


class Postgres:
    """A database behind ``postgresql://user@host/name``.

    Raises:
        LacyError: E94, the address is wrong or nobody answers there; E11, ``psycopg`` is not
            installed.
    """

    blocking = True
    mark = "%s"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise LacyError(
                "E11", extra_for="a PostgreSQL database", package="psycopg", extra="postgres"
            ) from error
        self._psycopg = psycopg
        try:
            self._address: dict[str, Any] = dict(conninfo_to_dict(url))
        except psycopg.Error:
            # What libpq says of it may quote the password.
            raise LacyError("E94", place="postgresql://…", why="its address is malformed") from None
        self._secret = str(self._address.get("password") or "")
        host = str(self._address.get("host") or "")
        if "@" in host or "@" in str(self._address.get("dbname") or ""):
            why = "special characters of a password are written %40 (@), %2F (/), %3A (:)"
            raise LacyError("E94", place="postgresql://…", why=why)
        self.place = _place(self._address)
        self.name = str(self._address.get("dbname") or self._address.get("user") or "postgresql")
        self._lock = threading.Lock()
        self._closed = self._over = False
        try:
            self._db = self._connect()
        except psycopg.Error as error:
            raise LacyError("E94", place=self.place, why=self._said(error)) from None

    def catalogue(self) -> Catalogue:
        """Tables and views that may be read; those on the search path without their schema."""
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
        self._homes: dict[str, str] = {}
        self._readings: dict[tuple[str, str], Reading] = {}
        names: dict[tuple[str, str], str] = {}
        doubtful = set()
        unreadable: dict[str, str] = {}
        for schema, table, column, kind, visible, view, filled, number in found:
            name = table if visible else f"{schema}.{table}"
            if not filled:
                unreadable[name] = "it is not populated; run REFRESH MATERIALIZED VIEW"
                continue
            names[schema, table] = name
            tables.setdefault(name, {})[column] = kind
            self._homes[name] = f"{self.quoted(schema)}.{self.quoted(table)}"
            self._readings[name, column] = types.get(number, Reading(kind="none"))
            if view:
                doubtful.add(name)
        keys: dict[str, str] = {}
        references = []
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
            home = names.get((schema, table))
            if home is None or column not in tables[home]:
                continue
            there = names.get((to_schema, to))
            if kind == "p":
                keys[home] = column
            elif there is not None and to_column in tables[there]:
                references.append(Reference(home, column, there, to_column))
        # Views on a server get no time limit: its operator trusts them.
        views: frozenset[str] = frozenset()
        return Catalogue(tables, keys, tuple(references), views, frozenset(doubtful), unreadable)

    def _type_kinds(self) -> dict[int, Reading]:
        """How values of each type are read; a domain is read as its base type."""
        found = self.rows(
            "WITH RECURSIVE base AS (SELECT oid AS own, oid, typtype, typcategory, typname,"
            " typbasetype, typelem FROM pg_type WHERE typtype IN ('b', 'd', 'e')"
            " UNION ALL SELECT base.own, t.oid, t.typtype, t.typcategory, t.typname, t.typbasetype,"
            " t.typelem FROM base JOIN pg_type t ON t.oid = base.typbasetype"
            " WHERE base.typtype = 'd')"
            " SELECT own, typcategory::text, typname, typelem FROM base WHERE typtype <> 'd'"
        )
        plain = {own: _kind(group, name) for own, group, name, _ in found}
        readings = {}
        for own, group, _, element in found:
            many = group == "A" and element != 0
            kind = plain.get(element, "none") if many else plain[own]
            sql = "{}" if kind in ("bytes", "none") else f"CAST({{}} AS text{'[]' * many})"
            readings[own] = Reading(sql, kind)
        readings[_INET] = Reading("abbrev({})", "text")  # cast, it would end in /32
        return readings

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """The answer to one query; ``StoreError`` if it failed or took longer."""
        with self._lock:
            try:
                try:
                    return self._run(query, values, seconds)
                except self._psycopg.OperationalError:
                    if self._closed or not self._db.closed or self._over:
                        raise
                    self._db = self._connect()  # lost since the last query: once more
                    return self._run(query, values, seconds)
            except self._psycopg.errors.QueryCanceled as error:
                raise StoreError(late(seconds)) from error
            except (self._psycopg.Error, UnicodeError) as error:
                why = late(seconds) if self._over else self._said(error)
                raise StoreError(why) from None

    def _run(self, query: str, values: Sequence[Any], seconds: float) -> list[tuple[Any, ...]]:
        """One query; if the server does not end it in time, the line is cut."""
        db, self._over = self._db, False

        def cut() -> None:
            self._over = True
            _hang_up(db)

        timer = threading.Timer(seconds + _GRACE, cut)
        timer.daemon = True
        timer.start()
        try:
            # In one message, and for this transaction only: a pool may share the connection.
            limit = f"SET LOCAL statement_timeout = {max(1, int(1000 * seconds))}"
            db.execute(f"{_BEGIN} {limit}".encode())
            # Always with values, so that %% means % in every query.
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
        # Prepared statements belong to a connection, which a pool may give to other programs.
        return self._psycopg.connect(
            **{**wait, "client_encoding": "utf8", "application_name": "lacy"},
            autocommit=True,
            prepare_threshold=None,
        )

    def _said(self, error: BaseException) -> str:
        """What went wrong, in one line, without the password."""
        why = first_line(error)
        for secret in {self._secret, quote(self._secret), quote(self._secret, safe="")}:
            why = why.replace(secret, "***") if secret else why
        return why

    def quoted(self, name: str) -> str:
        """A name in double quotes; a % would begin a parameter."""
        return quoted(name).replace("%", "%%")

    def table(self, name: str) -> str:
        """A table of the catalogue with its schema."""
        return self._homes[name]

    def text(self, column: str) -> str:
        """The value as PostgreSQL writes it: dates as ``1815-12-10``."""
        return f"CAST({column} AS text)"

    def compared(self, column: str) -> str:
        """The column itself."""
        return column

    def reading(self, table: str, column: str) -> Reading:
        """Arrays become lists of texts, bytes stay bytes, all else is formatted by PostgreSQL."""
        return self._readings[table, column]

    def interrupt(self) -> None:
        """Asks the server to end the query that runs."""
        with suppress(self._psycopg.Error):
            self._db.cancel_safe(timeout=2.0)

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            self._closed = True
            self._db.close()


def _hang_up(db: psycopg.Connection[Any]) -> None:
    """Ends a connection whose server says nothing, so that whoever waits for it goes on."""
    with suppress(Exception):
        copy = socket.socket(fileno=os.dup(db.fileno()))
        with copy:
            copy.shutdown(socket.SHUT_RDWR)


def _kind(group: str, name: str) -> Kind:
    """How a type is read, by its category and name; "none" for types that are not words."""
    if name in ("json", "jsonb"):
        return "json"
    if name == "bytea":
        return "bytes"
    if name in ("uuid", "macaddr", "macaddr8", "money", "inet", "citext"):
        return "text"
    kinds: dict[str, Kind] = {"B": "text", "D": "time", "E": "text", "N": "number", "S": "text"}
    return {**kinds, "T": "span", "X": "text", "Z": "text"}.get(group, "none")


def _place(address: dict[str, Any]) -> str:
    """The address without its password and further options."""
    user, host, port = (str(address.get(k) or "") for k in ("user", "host", "port"))
    who = f"{quote(user, safe='')}@" if user else ""
    where = quote(host, safe=":,")  # a socket's folder has slashes
    return f"postgresql://{who}{where}{f':{port}' if port else ''}/{address.get('dbname') or ''}"
