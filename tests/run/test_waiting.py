"""What tasks that wait for events of assets are woken by, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clearance.errors import GraphError
from clearance.run import waiting
from clearance.run.orders import Emit
from support.controllers import NOON, Tower
from support.flights import A, B

Towers = Callable[..., Tower]


def test_events_wake_under_asset_and_key_in_the_turn_that_writes_them(tower: Towers):
    one = tower()
    woken: list[tuple[str, str, dict]] = []
    one.triggers.waking = lambda *told: woken.append(told)
    one.triggers.obey(Emit("S3://lake/a/", "eu"), "me")
    one.triggers.obey(Emit(B.uri), "me")
    one.turn()
    told = {"event": 1, "asset": A.uri, "key": "eu", "at": NOON}
    assert woken == [
        ("asset", A.uri, told),
        ("asset", waiting.wait_key(A.uri, "eu"), told),
        ("asset", B.uri, {"event": 2, "asset": B.uri, "key": None, "at": NOON}),
    ]


def test_what_has_come_already_ends_a_wait(tower: Towers):
    one = tower()
    for index, key in enumerate((None, "eu", "us", "eu")):
        one.turn(NOON + index)
        one.triggers.obey(Emit(A.uri, key), "me")
        one.turn()

    def first(key: str | None, created_at: float, since: float | None = None) -> int | None:
        found = waiting.already(one.database, A.uri, key, created_at, since)
        return None if found is None else found.number

    assert first(None, NOON + 1.5) == 3, "without a key only what came after the run was made"
    assert first(None, NOON + 9) is None
    assert first("eu", NOON + 9) == 2, "a partition that was written stays written"
    assert first("eu", NOON, since=NOON + 2) == 4
    assert first("asia", NOON) is None
    assert waiting.already(one.database, B.uri, None, NOON) is None


def test_a_wait_for_no_uri_is_refused():
    with pytest.raises(GraphError, match="fragment"):
        waiting.wait_key("s3://lake/a#x")
