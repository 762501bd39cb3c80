"""The database: what is remembered of runs, in SQLite or PostgreSQL behind one class.

Rules:

1. One writer. Only the process that holds the lease calls `apply`; every batch checks or renews the lease in the
   same transaction, under a lock on its row, and is refused as a whole (`LeaseLost`) when the epoch has moved on.
2. A transition is compare-and-set: a batch in which one guarded row did not match, or which would write a second
   row of what is unique, is rolled back (`Stale`).
3. Migrations are numbered and only go forward; a database newer than this program is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Any, Protocol

from clearance.errors import LeaseLost, StoreError, UsageError
from clearance.store.sql.searching import Where, compose
from clearance.store.sql.statements import STATEMENTS

LEASE = "controller"


class Stale(StoreError):
    """A guarded write did not find the rows in the state it believed in: nothing was written."""


class Dialect(Protocol):
    """What `SQLite` and `PostgreSQL` have in common."""

    name: str
    types: dict[str, str]
    lock: str
    error: type[Exception]

    def prepare(self, sql: str) -> str: ...
    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...
    def write(self, sql: str, rows: Sequence[Sequence[Any]]) -> int: ...
    def script(self, sql: str) -> None: ...
    def is_duplicate(self, error: Exception) -> bool: ...
    def problems(self) -> list[str]: ...
    def is_busy(self, error: BaseException | None) -> bool: ...
    @property
    def lost(self) -> bool: ...
    def oust(self, name: str) -> None: ...
    def close(self) -> None: ...


class Batch:
    """Writes that belong into one transaction.

    Rows of one statement are executed together; the statements run in the order given here, not in that of `add`.

    Args:
        order: names of the statements this batch may hold.
    """

    __slots__ = ("_order", "_writes", "guarded")

    def __init__(self, order: Sequence[str]) -> None:
        self._order = order
        self._writes: dict[str, list[Sequence[Any]]] = {}
        self.guarded: set[str] = set()

    def add(self, statement: str, *row: Any) -> None:
        """Adds one row."""
        rows = self._writes.get(statement)
        if rows is None:
            self._writes[statement] = [row]
        else:
            rows.append(row)

    def guard(self, statement: str, *row: Any) -> None:
        """Adds one row that must change exactly one database row."""
        self.guarded.add(statement)
        self.add(statement, *row)

    def writes(self) -> list[tuple[str, list[Sequence[Any]]]]:
        """Returns the rows by statement, in order.

        Raises:
            StoreError: a statement that is not in the order.
        """
        try:
            names = sorted(self._writes, key=self._order.index)
        except ValueError:
            unknown = ", ".join(sorted(self._writes.keys() - self._order))
            raise StoreError(f"a batch holds {unknown}, which its order does not name: add it there") from None
        return [(name, self._writes[name]) for name in names]

    def __bool__(self) -> bool:
        return bool(self._writes)


class Database:
    """One connection, its statements by name, and its migrations.

    Args:
        url: `sqlite:///path` or `postgresql://…`.
        synchronous: SQLite's `PRAGMA synchronous`.
        read_only: never writes, and does not create a missing file.

    Raises:
        UsageError: a URL of another kind.
        StoreError: it cannot be opened.
    """

    def __init__(self, url: str, *, synchronous: str = "NORMAL", read_only: bool = False) -> None:
        self.url = url
        self.dialect: Dialect
        if url.startswith("sqlite:///"):
            from clearance.store.sql.sqlite import SQLite

            path = Path(url.removeprefix("sqlite:///"))
            if read_only and not path.exists():
                raise StoreError(f"nothing is remembered at {path}: run a pipeline first, or set CLEARANCE_HOME")
            self.dialect = SQLite(path.absolute(), synchronous, read_only)
        elif url.startswith(("postgresql://", "postgres://")):
            from clearance.store.sql.postgresql import PostgreSQL

            self.dialect = PostgreSQL(url, read_only)
        else:
            raise UsageError(f"database URL {url!r}: use sqlite:///PATH or postgresql://USER@HOST/NAME")
        self._entered = False
        self._sql = {name: self.dialect.prepare(text) for name, text in STATEMENTS.items()}
        self._lease_check = self._sql["lease_check"] + self.dialect.lock

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Executes one statement by name and returns its rows."""
        try:
            return self.dialect.execute(self._sql[statement], parameters)
        except self.dialect.error as error:
            raise StoreError(f"database: {statement}: {str(error).strip()}") from error

    def search(self, conditions: Sequence[Where], limit: int) -> list[tuple[Any, ...]]:
        """Returns the newest runs of which all conditions hold, as rows of `run`."""
        text, parameters = compose(conditions, limit)
        try:
            return self.dialect.execute(self.dialect.prepare(text), parameters)
        except self.dialect.error as error:
            raise StoreError(f"database: search: {str(error).strip()}") from error

    def write(self, statement: str, *parameters: Any) -> int:
        """Executes one statement in a transaction of its own; returns how many rows changed."""
        try:
            return self.dialect.write(self._sql[statement], [parameters])
        except self.dialect.error as error:
            raise StoreError(f"database: {statement}: {str(error).strip()}") from error

    @property
    def lost(self) -> bool:
        """True when the connection to the server is gone."""
        return self.dialect.lost

    def is_away(self, error: StoreError) -> bool:
        """True for an error that passes: the server is gone, or another process has held the file for too long."""
        return self.lost or self.dialect.is_busy(error.__cause__)

    def oust(self, lease: str) -> None:
        """Takes back the open transaction of a controller whose lease of this name has expired.

        One that was stopped within a transaction (SIGSTOP, a paused machine) holds the lease's row, and nobody could
        take over from it. On PostgreSQL its connection is ended; on SQLite nothing can be done.

        Raises:
            StoreError: the database failed.
        """
        try:
            self.dialect.oust(lease)
        except self.dialect.error as error:
            raise self._error(error) from error

    @property
    def entered(self) -> bool:
        """True between `enter` and `apply` or `abandon`."""
        return self._entered

    def enter(self, epoch: int) -> None:
        """Opens the transaction that the next `apply` commits, under the lease; again, it does nothing.

        What is read from now on sees what `put` has written, and no other writer comes between.

        Raises:
            LeaseLost: another controller has taken the lease.
            StoreError: the database failed.
        """
        if self._entered:
            return
        try:
            self.dialect.begin()
            try:
                self._hold(epoch, None)
            except BaseException:
                self.dialect.rollback()
                raise
        except self.dialect.error as error:
            raise StoreError(f"database: {str(error).strip()}") from error
        self._entered = True

    def put(self, batch: Batch) -> None:
        """Writes the batch into the transaction that `enter` opened; after an error, only `abandon` is possible.

        Raises:
            Stale: as for `apply`.
            StoreError: the database failed.
        """
        try:
            self._write(batch)
        except self.dialect.error as error:
            raise self._error(error) from error

    def abandon(self) -> None:
        """Takes back what `put` wrote since `enter`; does nothing where nothing was entered."""
        if self._entered:
            self._entered = False
            with suppress(self.dialect.error):  # the connection may be gone, and with it the transaction
                self.dialect.rollback()

    def apply(self, batch: Batch, *, epoch: int, lease_until: float | None = None) -> None:
        """Writes the batch in one transaction under the lease, with what was put since `enter`, and commits.

        Args:
            batch: what to write.
            epoch: the lease epoch of the writer.
            lease_until: new end of the lease, seconds since 1970; None leaves it, and only checks the epoch.

        Raises:
            LeaseLost: another controller has taken the lease; nothing was written.
            Stale: a guarded row did not match, or a row that is unique is there already; nothing was written.
            StoreError: the database failed; nothing was written.
        """
        dialect, entered = self.dialect, self._entered
        self._entered = False
        try:
            if not entered:
                dialect.begin()
            try:
                if lease_until is not None or not entered:
                    self._hold(epoch, lease_until)
                self._write(batch)
                dialect.commit()
            except BaseException:
                dialect.rollback()
                raise
        except dialect.error as error:
            raise self._error(error) from error

    def _hold(self, epoch: int, until: float | None) -> None:
        """Checks or renews the lease in the open transaction."""
        if until is None:
            held = self.dialect.execute(self._lease_check, (LEASE,)) == [(epoch,)]
        else:
            held = self.dialect.write(self._sql["lease_renew"], [(until, LEASE, epoch)]) == 1
        if not held:
            raise LeaseLost(f"another controller took over from epoch {epoch}: this one stops")

    def _write(self, batch: Batch) -> None:
        for statement, rows in batch.writes():
            changed = self.dialect.write(self._sql[statement], rows)
            if statement in batch.guarded and changed != len(rows):
                raise Stale(f"{statement}: {len(rows) - changed} of {len(rows)} rows had moved on: {rows[:3]!r}")

    def _error(self, error: Exception) -> StoreError:
        kind = Stale if self.dialect.is_duplicate(error) else StoreError
        return kind(f"database: {str(error).strip()}")

    def version(self) -> int:
        """Returns the number of the newest migration applied; 0 for an empty database."""
        if self.dialect.name == "sqlite":
            found = self.dialect.execute("SELECT name FROM sqlite_master WHERE name = 'migration'")
        else:
            found = self.dialect.execute("SELECT 1 WHERE to_regclass('migration') IS NOT NULL")
        if not found:
            return 0
        return int(self.dialect.execute("SELECT coalesce(max(number), 0) FROM migration")[0][0])

    def migrate(self) -> list[int]:
        """Applies what is missing, each migration in its own transaction; returns their numbers.

        Raises:
            StoreError: the database is newer than this program.
        """
        self.check(pending_allowed=True)
        applied = []
        for number, text in migrations():
            if number <= self.version():
                continue
            self.dialect.begin()
            try:
                if self.dialect.name == "postgresql":
                    self.dialect.execute("SELECT pg_advisory_xact_lock(7241)")
                if number <= self.version():
                    self.dialect.rollback()
                    continue
                self.dialect.script("CREATE TABLE IF NOT EXISTS migration (number BIGINT PRIMARY KEY)")
                self.dialect.script(Template(text).substitute(self.dialect.types))
                self.dialect.script(f"INSERT INTO migration (number) VALUES ({number})")  # noqa: S608
                self.dialect.commit()
            except BaseException:
                self.dialect.rollback()
                raise
            applied.append(number)
        return applied

    def check(self, pending_allowed: bool = False) -> None:
        """Refuses a database that this program does not fit.

        Raises:
            StoreError: newer than this program, or (unless allowed) migrations are missing.
        """
        newest, version = migrations()[-1][0], self.version()
        if version > newest:
            raise StoreError(
                f"the database has migration {version}, this program knows {newest}: upgrade clearance to use it"
            )
        if version < newest and not pending_allowed:
            raise StoreError(f"the database is at migration {version} of {newest}: run `clearance db migrate`")

    def problems(self) -> list[str]:
        """Returns what is wrong with the stored rows, a line each: damaged pages, broken references."""
        return self.dialect.problems()

    def close(self) -> None:
        """Closes the connection."""
        self.dialect.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def migrations() -> list[tuple[int, str]]:
    """Returns number and text of every migration that ships with this program, in order."""
    folder = Path(__file__).with_name("migrations")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), _strip(entry.read_text().splitlines())) for entry in found)


def _strip(lines: Iterable[str]) -> str:
    return "\n".join(line for line in lines if not line.startswith("--")) + "\n"
