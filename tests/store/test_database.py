"""The database: one set of statements, two dialects, both real."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearance.errors import LeaseLost, StoreError, UsageError
from clearance.store.database import LEASE, Batch, Database, Stale, migrations
from clearance.store.sql.statements import STATEMENTS

ORDER = ("run_add", "instance_add", "instance_change", "event_add")


@pytest.fixture
def database(database_url: str):
    with Database(database_url) as database:
        database.migrate()
        database.write("lease_create", LEASE)
        database.write("lease_take", 1, "me", "socket", 100.0, LEASE, 0)
        yield database


def test_migrations_are_numbered_from_one_without_gaps():
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_migrating_twice_does_nothing_the_second_time(database_url: str):
    with Database(database_url) as database:
        assert database.version() == 0
        assert database.migrate() == [number for number, _ in migrations()]
        assert database.migrate() == []
        database.check()


def test_an_empty_database_is_refused_by_check_with_the_mend(database_url: str):
    with Database(database_url) as database, pytest.raises(StoreError, match="clearance db migrate"):
        database.check()


def test_a_newer_database_is_refused_with_the_mend(database: Database):
    database.dialect.execute("INSERT INTO migration (number) VALUES (9999)")
    with pytest.raises(StoreError, match="upgrade clearance"):
        database.migrate()


def test_every_statement_is_accepted_by_both_dialects(database: Database):
    for name, text in STATEMENTS.items():
        parameters = [None] * text.count("?")
        if database.dialect.name == "sqlite":
            database.dialect.execute(f"EXPLAIN {text}", parameters)
        else:
            numbered = text
            for position in range(len(parameters)):
                numbered = numbered.replace("?", f"${position + 1}", 1)
            database.dialect.execute(f"PREPARE {name}_check AS {numbered}")


def test_a_batch_is_written_whole(database: Database):
    batch = Batch(ORDER)
    for number in range(3):
        batch.add("event_add", 0, number, 1.5, -1, "kind", f'{{"n":{number}}}')
    database.apply(batch, epoch=1, lease_until=200.0)
    assert [row[5] for row in database.rows("events_after", 0, -1)] == ['{"n":0}', '{"n":1}', '{"n":2}']
    assert database.rows("lease_read", LEASE)[0][3] == 200.0


def test_a_writer_with_an_older_epoch_is_fenced_out_and_writes_nothing(database: Database):
    database.write("lease_take", 2, "other", "socket", 100.0, LEASE, 1)
    batch = Batch(ORDER)
    batch.add("event_add", 0, 1, 1.5, -1, "kind", "{}")
    for until in (200.0, None):
        with pytest.raises(LeaseLost):
            database.apply(batch, epoch=1, lease_until=until)
    assert database.rows("events_after", 0, 0) == []


def test_a_guarded_row_that_moved_on_rolls_the_whole_batch_back(database: Database):
    batch = Batch(ORDER)
    batch.add("event_add", 0, 1, 1.5, -1, "kind", "{}")
    batch.guard("instance_change", "running", 1, 1, 0.0, 1.0, "", 1, 0, "queued", 1)
    with pytest.raises(Stale):
        database.apply(batch, epoch=1, lease_until=200.0)
    assert database.rows("events_after", 0, 0) == []


def test_a_failing_statement_leaves_the_connection_usable(database: Database):
    batch = Batch(ORDER)
    batch.add("instance_add", *[None] * 12)
    with pytest.raises(StoreError):
        database.apply(batch, epoch=1, lease_until=200.0)
    batch = Batch(ORDER)
    batch.add("event_add", 0, 1, 1.5, -1, "kind", "{}")
    database.apply(batch, epoch=1, lease_until=200.0)


def test_only_one_of_two_takers_of_the_same_epoch_gets_the_lease(database: Database, database_url: str):
    with Database(database_url) as other:
        assert database.write("lease_take", 2, "a", "s", 1.0, LEASE, 1) == 1
        assert other.write("lease_take", 2, "b", "s", 1.0, LEASE, 1) == 0


def event(number: int) -> Batch:
    batch = Batch(ORDER)
    batch.add("event_add", 0, number, 1.5, -1, "kind", "{}")
    return batch


def test_what_is_put_is_read_at_once_and_committed_with_the_rest(database: Database, database_url: str):
    database.enter(1)
    database.enter(1)
    database.put(event(1))
    assert database.entered
    assert len(database.rows("events_after", 0, 0)) == 1
    with Database(database_url, read_only=True) as other:
        assert other.rows("events_after", 0, 0) == []
        database.apply(event(2), epoch=1)
        assert len(other.rows("events_after", 0, 0)) == 2
    assert not database.entered


def test_what_is_abandoned_was_never_written(database: Database):
    database.enter(1)
    database.put(event(1))
    with pytest.raises(Stale):
        database.put(event(1))
    database.abandon()
    database.abandon()
    assert database.rows("events_after", 0, 0) == []
    database.apply(event(1), epoch=1)
    assert len(database.rows("events_after", 0, 0)) == 1


def test_a_failing_end_takes_back_what_was_put(database: Database):
    database.enter(1)
    database.put(event(1))
    with pytest.raises(Stale):
        database.apply(event(1), epoch=1, lease_until=200.0)
    assert not database.entered
    assert database.rows("events_after", 0, 0) == []


def test_nobody_enters_without_the_lease(database: Database):
    with pytest.raises(LeaseLost):
        database.enter(7)
    assert not database.entered
    database.enter(1)
    database.abandon()


def test_one_that_holds_the_lease_row_beyond_its_time_is_ousted(database: Database, database_url: str):
    if database_url.startswith("sqlite"):
        database.oust(LEASE)
        assert not database.lost
        return
    database.enter(1)
    database.put(event(1))
    with Database(database_url) as other:
        other.oust(LEASE)
        assert other.write("lease_take", 2, "other", "socket", 300.0, LEASE, 1) == 1
        with pytest.raises(StoreError):
            database.apply(event(2), epoch=1)
        assert database.lost
        database.abandon()
        assert other.rows("events_after", 0, 0) == []
        other.oust(LEASE)
        assert not other.lost


def test_a_file_that_another_process_holds_is_tried_again(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Database(url) as first, Database(url) as second:
        first.migrate()
        first.write("lease_create", LEASE)
        first.write("lease_take", 1, "me", "socket", 100.0, LEASE, 0)
        second.dialect.execute("PRAGMA busy_timeout = 20")
        first.enter(1)
        for act in (lambda: second.write("lease_create", LEASE), lambda: second.enter(1)):
            with pytest.raises(StoreError) as caught:
                act()
            assert second.is_away(caught.value)
        first.abandon()
        with pytest.raises(StoreError) as other:
            second.rows("instances")
        assert not second.is_away(other.value)


def test_an_unknown_url_is_refused_by_name():
    with pytest.raises(UsageError, match="mysql"):
        Database("mysql://host/name")


def test_reading_where_nothing_is_remembered_says_what_to_do(tmp_path: Path):
    with pytest.raises(StoreError, match="run a pipeline first"):
        Database(f"sqlite:///{tmp_path / 'none.db'}", read_only=True)


def test_the_database_file_is_private(tmp_path: Path):
    path = tmp_path / "clearance.db"
    with Database(f"sqlite:///{path}") as database:
        database.migrate()
    assert path.stat().st_mode & 0o077 == 0


def test_a_password_never_stands_in_an_error():
    with pytest.raises(StoreError) as caught:
        Database("postgresql://user:s3cret@127.0.0.1:1/name")
    assert "s3cret" not in str(caught.value)
