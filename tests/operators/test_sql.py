"""Statements against a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from clearance.errors import GraphError
from clearance.operators import sql


def place(url: str) -> str:
    """The style in which the driver binds."""
    return "?" if url.startswith("sqlite") else "%s"


def operator_url(url: str) -> str:
    return url if url.startswith("postgresql") else "sqlite:///" + url.removeprefix("sqlite:///")


def test_values_are_bound_and_rows_travel(bench, database_url):
    url, mark = operator_url(database_url), place(database_url)
    bench.run(f"""
URL = {url!r}

@task
def values() -> list[str]:
    return ["Robert'); DROP TABLE pupil; --", "b"]

@task
def names(rows: list[dict[str, str]]) -> list[str]:
    return sorted(row["name"] for row in rows)

@dag
def main():
    made = sql("make", URL, "CREATE TABLE pupil (name TEXT)", result="count")
    put = sql("put", URL, "INSERT INTO pupil VALUES ({mark}), ({mark})", values(), result="count")
    rows = sql("rows", URL, "SELECT name FROM pupil WHERE name <> {mark}", ["c"])
    as_csv = sql("csv", URL, "SELECT name, 1 AS n FROM pupil ORDER BY name", result="csv")
    as_parquet = sql("parquet", URL, "SELECT name, 1 AS n FROM pupil ORDER BY name", result="parquet")
    made >> put >> [rows, as_csv, as_parquet]
    names(rows)
""")
    assert bench.result("names") == ["Robert'); DROP TABLE pupil; --", "b"]
    assert bench.result("put") == 2
    assert bench.fetch("csv").read_text().splitlines() == ["name,n", "Robert'); DROP TABLE pupil; --,1", "b,1"]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(bench.fetch("parquet")).to_pylist() == [
        {"name": "Robert'); DROP TABLE pupil; --", "n": 1},
        {"name": "b", "n": 1},
    ]


def test_named_parameters_a_limit_and_a_failure_that_leaves_nothing(bench, database_url):
    url = operator_url(database_url)
    named = ":low" if url.startswith("sqlite") else "%(low)s"
    printed = bench.run(
        f"""
URL = {url!r}
SERIES = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT i FROM n"

@task
def low() -> int:
    return 48

@dag
def main():
    sql("few", URL, SERIES + " WHERE i > {named}", {{"low": low()}})
    sql("many", URL, SERIES, limit=49)
    sql("wrong", URL, "SELECT * FROM no_such_table")
    sql("twice", URL, "SELECT 1 AS a, 2 AS a")
    sql("none", URL, "CREATE TABLE t (x INTEGER)")
""",
        expect=1,
    )
    assert bench.result("few") == [{"i": 49}, {"i": 50}]
    assert "more than 49 rows" in printed
    assert "no_such_table" in printed
    assert "two columns have one name" in printed
    assert "returns no rows: use result='count'" in printed
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("SELECT name FROM sqlite_master WHERE name = 't'").fetchall() == []


def test_another_driver_by_its_name_and_one_that_is_missing(bench, tmp_path):
    printed = bench.run(
        f"""
main = dag("main", [
    sql("one", "", "SELECT 40 + 2 AS x", driver="sqlite3", connect={{"database": {str(tmp_path / "x.db")!r}}}),
    sql("two", "", "SELECT 1", driver="no_such_driver"),
])
""",
        expect=1,
    )
    assert bench.result("one") == [{"x": 42}]
    assert "'no_such_driver' is not installed" in printed


def test_a_password_that_is_missing_fails_before_anything_is_asked(bench, database_url):
    printed = bench.run(
        f"""
main = dag("main", sql("x", {operator_url(database_url)!r}, "SELECT 1 AS x", password=Secret.env("NO_PASSWORD_HERE")))
""",
        expect=1,
    )
    assert "NO_PASSWORD_HERE" in printed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sql("x", "postgresql://me:secret@db/x", "SELECT 1"), "holds a password"),
        (lambda: sql("x", "postgresql://db/x?password=1", "SELECT 1"), "holds a password"),
        (lambda: sql("x", "sqlite:///relative.db", "SELECT 1"), "absolute path"),
        (lambda: sql("x", "mysql://db/x", "SELECT 1"), "else use driver"),
        (lambda: sql("x", "", "SELECT 1"), "give a URL, or driver"),
        (lambda: sql("x", "sqlite:////x", "SELECT 1", result="list"), "use one of rows"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()
