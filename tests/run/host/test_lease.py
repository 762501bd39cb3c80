"""The lease: one controller leads, on both databases, whatever dies, stops or wakes late."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clearance.engine.base import Snapshot
from clearance.errors import LeaseLost
from clearance.run.controller import Controller
from clearance.run.host import lease
from clearance.settings import Settings
from clearance.store.database import LEASE, Database


class NoEngine:
    """Stands for an engine on which nothing runs: these tests are of the database's fence alone."""

    def adopt(self, epoch: int) -> Snapshot:
        return Snapshot()

    def observe(self) -> list[object]:
        return []

    due = math.inf

    def starting(self) -> dict[str, int]:
        return {}

    def nodes(self) -> list[object]:
        return []

    def prepare(self, bundle: str, preloads: object) -> None:
        raise AssertionError("nothing is run here")

    launch = cancel = acknowledge = prepare


@pytest.fixture
def database(database_url: str):
    with Database(database_url) as made:
        made.migrate()
        yield made


def test_the_first_to_come_leads_and_the_second_is_told_who(database: Database, database_url: str):
    assert lease.take(database, "socket", 100.0) == 1
    with Database(database_url) as other:
        held = lease.take(other, "elsewhere", 101.0)
    assert held == lease.Held(lease.myself(), "socket")
    assert lease.holder(database, 101.0) == held


def test_a_lease_that_has_expired_is_free(database: Database):
    lease.take(database, "socket", 100.0)
    assert lease.take(database, "socket", 100.0 + lease.SECONDS + 1) == 2


def test_a_lease_of_a_process_that_is_gone_is_free_at_once(database: Database):
    code = "import sys; from clearance.run.host import lease; print(lease.myself())"
    environment = dict(os.environ) | {"PYTHONPATH": str(Path(lease.__file__).parents[3])}
    line = [sys.executable, "-c", code]
    gone = subprocess.run(line, capture_output=True, text=True, check=True, env=environment).stdout.strip()
    database.write("lease_create", LEASE)
    database.write("lease_take", 1, gone, "socket", 1000.0, LEASE, 0)
    assert lease.take(database, "socket", 100.0) == 2


def test_a_new_epoch_is_beyond_what_the_home_has_seen_under_another_database(database: Database):
    assert lease.take(database, "socket", 100.0, beyond=41) == 42


def test_a_reused_pid_is_not_mistaken_for_the_holder():
    boot, pid, birth = lease.myself().split(":")
    assert not lease.is_dead(lease.myself())
    assert lease.is_dead(f"{boot}:{pid}:{int(birth) - 1}")
    assert not lease.is_dead(f"another-boot:{pid}:1"), "what is on another machine cannot be known to be dead"


def test_a_controller_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes(
    database: Database, database_url: str, tmp_path: Path
):
    settings = Settings(home=tmp_path / "home")
    now = 1000.0
    first_epoch = lease.take(database, "first", now)
    assert isinstance(first_epoch, int)
    first = Controller(settings, database, NoEngine(), first_epoch, clock=lambda: now)  # type: ignore[arg-type]
    first.turn()
    now += lease.SECONDS + 1
    with Database(database_url) as other:
        second_epoch = lease.take(other, "second", now)
        assert second_epoch == first_epoch + 1
        second = Controller(settings, other, NoEngine(), second_epoch, clock=lambda: now)  # type: ignore[arg-type]
        second.turn()
        first.ledger.tell_of(now, _Run(), None, "late", {})  # type: ignore[arg-type]
        with pytest.raises(LeaseLost):
            first.turn()
        assert other.rows("events_after", 1, 0) == []
        second.turn()


class _Run:
    number = 1
