"""SQLite: embedded, in write-ahead-log mode, with one writer.

`synchronous=NORMAL` in WAL mode loses nothing when processes die; `FULL` also holds through a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearance.errors import StoreError

TYPES = {
    "SERIAL": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "NUMBERED": "INTEGER PRIMARY KEY",  # the row's own number: no index beside the table
    "BYTES": "BLOB",
    "REAL": "REAL",
    "WITHOUT_ROWID": " WITHOUT ROWID",
    "RUN_PARAMETERS": (  # plain ones of every run, for 0009
        "SELECT run.number, each.key, CASE each.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
        " WHEN 'null' THEN 'null' ELSE json_quote(each.value) END,"
        " CASE WHEN each.type IN ('integer', 'real') THEN CAST(each.value AS REAL) END"
        " FROM run, json_each(run.parameters) AS each"
        " WHERE each.type NOT IN ('array', 'object') AND coalesce(length(each.value), 0) <= 200"
    ),
}


class SQLite:
    """One connection to a database file."""

    name = "sqlite"
    types = TYPES
    lock = ""  # BEGIN IMMEDIATE holds the whole database already
    error: type[Exception] = sqlite3.Error

    def __init__(self, path: Path, synchronous: str, read_only: bool) -> None:
        if sqlite3.sqlite_version_info < (3, 35):
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python that carries 3.35 or newer")
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._connection = sqlite3.connect(
                f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}",
                uri=True,
                isolation_level=None,
                timeout=10.0,
                cached_statements=256,
                check_same_thread=False,
            )
            if not read_only:
                path.chmod(0o600)
                self._connection.execute("PRAGMA page_size = 2048")  # of a new file; a commit writes whole pages
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute(f"PRAGMA synchronous = {synchronous}")
                self._connection.execute("PRAGMA wal_autocheckpoint = 16000")
        except sqlite3.Error as error:
            raise StoreError(f"database {path}: {error}: check that the folder exists and is yours") from None
        self._writer = self._connection.cursor()

    def prepare(self, sql: str) -> str:
        return sql

    def begin(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._writer.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        """Executes the statement for each row; returns how many database rows were changed."""
        if len(rows) == 1:
            return self._writer.execute(sql, rows[0]).rowcount
        return self._writer.executemany(sql, rows).rowcount

    def script(self, sql: str) -> None:
        for statement in sql.split(";\n"):
            if statement.strip():
                self._connection.execute(statement)

    def is_duplicate(self, error: Exception) -> bool:
        code = getattr(error, "sqlite_errorcode", 0)
        return code in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)

    def is_busy(self, error: BaseException | None) -> bool:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY

    @property
    def lost(self) -> bool:
        return False

    def oust(self, name: str) -> None:
        """Nothing can be done from outside: a stopped process that is within a transaction holds the whole file."""

    def problems(self) -> list[str]:
        found = [row[0] for row in self.execute("PRAGMA quick_check") if row[0] != "ok"]
        return found + [
            f"{row[0]} row {row[1]} refers to no {row[2]}" for row in self.execute("PRAGMA foreign_key_check")
        ]

    def close(self) -> None:
        self._connection.close()
