"""`sql`: one statement in one transaction, through Python's DB-API.

    rows = sql("rows", "postgresql://reader@db/shop", "SELECT id, price FROM sale WHERE day = %s", [day],
               password=Secret.env("SHOP_PASSWORD"))

Rules:

1. Values are bound by the driver, in its own style (`?` for SQLite, `%s` for PostgreSQL), never put into the text.
2. A URL is data that stands in the graph: it holds no password.
3. What is left uncommitted when the attempt ends is rolled back by the database.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clearance.errors import ClearanceError, GraphError, MissingExtra, UsageError
from clearance.graph.origin import call_site
from clearance.operators.contract import OperatorFailed, check_choice, names_of, operator, values_of
from clearance.types.references import File
from clearance.types.secret import Secret

_RESULTS = {"rows": list[dict[str, Any]], "count": int, "csv": File, "parquet": File}
_FETCH = 1000


def sql(
    name: str,
    url: str,
    statement: Any,
    parameters: Any = None,
    *,
    password: Secret | None = None,
    result: str = "rows",
    limit: int = 10_000,
    driver: str = "",
    connect: Mapping[str, Any] | None = None,
    **how: Any,
) -> Any:
    """Makes a task that executes a statement and commits.

    Args:
        name: id of the task.
        url: `sqlite:////absolute/path` or `postgresql://user@host/database`, without a password; empty with `driver`.
        statement: SQL text.
        parameters: a list, a dict, or the result of a task that returns one; bound by the driver.
        password: of the database.
        result: `rows` as a list of dicts, the `count` of changed rows, or the rows as a `csv` or `parquet` file.
        limit: rows that `rows` may have.
        driver: in place of `url`: a DB-API module by name; `password` is passed to its `connect` as `password`.
        connect: what `driver.connect` is called with.
        **how: options of the task.

    Raises:
        GraphError: a URL with a password, or of another kind; an option that is none.
    """
    site = call_site()[0]
    check_choice("result", result, tuple(_RESULTS))
    if bool(url) == bool(driver):
        raise GraphError(f"task {name!r} ({site}): give a URL, or driver=… and connect=…")
    if url:
        check_url(url, f"task {name!r} ({site})")
    named = isinstance(parameters, Mapping)
    configuration = {
        "url": url, "statement": statement, "names": names_of(parameters) if named else [],
        "parameters": values_of(parameters) if named else parameters, "password": password, "result": result,
        "limit": limit, "driver": driver, "connect": dict(connect or {}),
    }  # fmt: skip
    return operator(name, run_sql, _RESULTS[result], configuration, how)


def run_sql(
    url: str,
    statement: Any,
    names: list[str],
    parameters: Any,
    password: Secret | None,
    result: str,
    limit: int,
    driver: str,
    connect: dict[str, Any],
) -> Any:
    """Runs in the attempt's process: see `sql`."""
    if not isinstance(statement, str):
        raise OperatorFailed(f"the statement is of type {type(statement).__qualname__}: pass SQL text")
    given = dict(zip(names, parameters, strict=True)) if names else parameters
    with (
        closing(_opened(url, password, driver, connect)) as connection,
        closing(_cursor(connection, url, statement, result)) as cursor,
    ):
        try:
            cursor.execute(statement, given) if given is not None else cursor.execute(statement)
            answer = _answer(cursor, result, limit)
            connection.commit()
        except (OperatorFailed, MissingExtra):
            raise
        except Exception as error:
            raise OperatorFailed(f"{type(error).__name__}: {str(error).strip()}") from error
    return answer


def query(url: str, statement: str, parameters: Any, password: Secret | None) -> Any:
    """Returns the first column of the first row, or None, and changes nothing; for a sensor.

    Raises:
        OperatorFailed: the database refuses, or is not there.
    """
    try:
        with (
            closing(_opened(url, password, "", {}, read_only=True)) as connection,
            closing(connection.cursor()) as rows,
        ):
            rows.execute(statement, parameters) if parameters is not None else rows.execute(statement)
            row = rows.fetchone()
    except ClearanceError:
        raise
    except Exception as error:
        raise OperatorFailed(f"{type(error).__name__}: {str(error).strip()}") from error
    return row[0] if row else None


def check_url(url: str, where: str) -> None:
    if re.match(r"[a-z+]+://[^/@]*:[^/@]*@", url) or "password=" in url:
        raise GraphError(f"{where}: the URL of the database holds a password: give password=Secret.env('NAME')")
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        if path != ":memory:" and not path.startswith("/"):
            raise GraphError(f"{where}: give an absolute path, sqlite:////PATH")
    elif not url.startswith(("postgresql://", "postgres://")):
        raise GraphError(f"{where}: a database URL is sqlite:////PATH or postgresql://USER@HOST/NAME, else use driver=")


def _opened(url: str, password: Secret | None, driver: str, connect: dict[str, Any], read_only: bool = False) -> Any:
    secret: dict[str, Any] = {"password": password.reveal()} if password is not None else {}
    if driver:
        try:
            module = importlib.import_module(driver)
        except ModuleNotFoundError:
            raise UsageError(f"the driver {driver!r} is not installed: pip install it where tasks run") from None
        return module.connect(**connect, **secret)
    if url.startswith("sqlite:"):
        import sqlite3

        path = url.removeprefix("sqlite:///")
        if read_only:
            return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=60.0)
        if path != ":memory:" and not Path(path).parent.is_dir():
            raise OperatorFailed(f"{path}: its folder does not exist")
        connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        connection.execute("BEGIN")  # Python's own begins no transaction before CREATE TABLE
        return connection
    try:
        import psycopg
    except ModuleNotFoundError:
        raise MissingExtra("psycopg", "postgresql") from None
    try:
        opened = psycopg.connect(url, connect_timeout=30, **secret)
        opened.read_only = read_only or None
        return opened
    except psycopg.OperationalError as error:
        raise OperatorFailed(f"PostgreSQL: {str(error).strip()}") from None


def _cursor(connection: Any, url: str, statement: str, result: str) -> Any:
    """Returns a cursor; in PostgreSQL one that leaves the rows of a query on the server until they are fetched."""
    reads = statement.lstrip().lower().startswith(("select", "values", "table"))
    if url.startswith("postgres") and reads and result != "count":
        return connection.cursor(name="clearance")
    return connection.cursor()


def _answer(cursor: Any, result: str, limit: int) -> Any:
    if result == "count":
        return int(cursor.rowcount)
    if cursor.description is None:
        raise OperatorFailed("the statement returns no rows: use result='count'")
    columns = [column[0] for column in cursor.description]
    if len(set(columns)) < len(columns):
        raise OperatorFailed(f"two columns have one name ({', '.join(columns)}): name them with AS")
    if result == "csv":
        return _csv(cursor, columns)
    if result == "parquet":
        return _parquet(cursor, columns)
    rows: list[dict[str, Any]] = []
    for row in _rows(cursor):
        if len(rows) == limit:
            raise OperatorFailed(f"the statement returns more than {limit} rows: use result='parquet', or raise limit")
        rows.append(dict(zip(columns, row, strict=True)))
    return rows


def _rows(cursor: Any) -> Iterator[Any]:
    while some := cursor.fetchmany(_FETCH):
        yield from some


def _csv(cursor: Any, columns: list[str]) -> File:
    import csv

    made = Path.cwd() / "rows.csv"
    with made.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(_rows(cursor))
    return File(made)


def _parquet(cursor: Any, columns: list[str]) -> File:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise MissingExtra("pyarrow", "data") from None
    made = Path.cwd() / "rows.parquet"
    writer = None
    schema = None
    while True:
        some = cursor.fetchmany(50 * _FETCH)
        if not some and writer is not None:
            break
        table = arrow.table({name: [row[index] for row in some] for index, name in enumerate(columns)}, schema=schema)
        if writer is None:
            schema = table.schema
            writer = parquet.ParquetWriter(made, schema)
        writer.write_table(table)
        if not some:
            break
    writer.close()
    return File(made)
