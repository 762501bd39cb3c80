"""What tasks that wait for events of assets are woken by, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clearance.errors import GraphError
from clearance.run.host.orders import Emit
from clearance.run.starts import waiting
from clearance.types.cause import Trigger
from support.controllers import NOON, Tower
from support.flights import A, B

Towers = Callable[..., Tower]


def test_events_wake_under_asset_and_key():
    assert waiting.keys_of(Trigger(1, A.uri)) == (A.uri,)
    assert waiting.keys_of(Trigger(1, A.uri, key="eu")) == (A.uri, waiting.wait_key(A.uri, "eu"))
    for name in waiting.keys_of(Trigger(1, A.uri, key="a#b")):
        assert waiting.split(name) in ((A.uri, None), (A.uri, "a#b"))


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
