"""The collector rests while the scheduler works, and is as it was afterwards, whatever happens."""

import gc

import pytest

from clearance.cluster.collector import paused


@paused
def calm():
    return gc.isenabled()


@paused
def fails():
    raise LookupError


def test_it_rests_during_the_call_and_goes_on_afterwards():
    assert gc.isenabled()
    assert not calm()
    assert gc.isenabled()


def test_it_goes_on_after_an_error():
    with pytest.raises(LookupError):
        fails()
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    try:
        assert not calm()
        assert not gc.isenabled()
    finally:
        gc.enable()
