"""The readings of this machine's tables: on the machine itself, and on a copy of what it tells with other numbers."""

import ctypes
import os

import pytest

from clearance.cluster.condition import RULES, SIGNALS
from clearance.engine.local.signals import PROC, inotify_left, neighbour_fill, readings

LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def watched(tmp_path):
    """An inotify instance of this process with three watches; gives the way to open more."""
    opened = []

    def open_one(watches):
        descriptor = LIBC.inotify_init()
        assert descriptor >= 0, os.strerror(ctypes.get_errno())
        opened.append(descriptor)
        for number in range(watches):
            folder = tmp_path / f"{descriptor}-{number}"
            folder.mkdir()
            assert LIBC.inotify_add_watch(descriptor, os.fsencode(folder), 0x100) > 0

    yield open_one
    for descriptor in opened:
        os.close(descriptor)


def copy(tmp_path, **files):
    """A /proc that has these files, by path with `__` for a slash."""
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_this_machine_tells_both_and_each_is_a_part():
    found = readings()
    assert set(found) == {"neighbour_fill", "inotify_left"}
    assert all(0 <= value <= 1 for value in found.values())


def test_the_readings_are_signals_that_the_rules_are_about():
    assert set(readings()) <= set(SIGNALS) & {rule.signal for rule in RULES}


def test_each_inotify_instance_of_this_process_takes_its_part(watched):
    most = int((PROC / "sys/fs/inotify/max_user_instances").read_text())
    before = inotify_left()
    for _ in range(3):
        watched(1)
    assert inotify_left() == pytest.approx(before - 3 / most)


def test_watches_are_counted_too(tmp_path, watched):
    watched(3)
    process = tmp_path / str(os.getpid())
    process.symlink_to(PROC / str(os.getpid()))
    fake = copy(tmp_path, sys__fs__inotify__max_user_instances="1000000\n", sys__fs__inotify__max_user_watches="12\n")
    assert inotify_left(fake) == pytest.approx(0.75)


def test_the_fuller_neighbour_table_counts(tmp_path):
    fake = copy(
        tmp_path,
        sys__net__ipv4__neigh__default__gc_thresh3="1024\n",
        sys__net__ipv6__neigh__default__gc_thresh3="64\n",
        net__arp="IP address  HW type\n" + "10.0.0.1 0x1\n" * 256,
        net__stat__ndisc_cache="entries  allocs\n" + "00000030 00000001\n" * 2,
    )
    assert neighbour_fill(fake) == 0.75
    (fake / "net/stat/ndisc_cache").unlink()
    assert neighbour_fill(fake) == 0.25


def test_what_cannot_be_read_is_left_out(tmp_path):
    assert readings(tmp_path) == {}
    assert readings(copy(tmp_path, sys__fs__inotify__max_user_instances="many")) == {}
