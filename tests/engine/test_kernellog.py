"""Errors of GPUs in the kernel's log, in the forms in which drivers write them (NVIDIA, "Xid Errors")."""

import os

import pytest

from clearance.engine.local.kernellog import GpuError, KernelLog, parse

RECORD = "4,815,12000000,-;NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (RECORD, GpuError("0000:3b:00", 79, 112.0, 12_000_000)),
        ("4,1,5,-;NVRM: Xid (0000:03:00): 14, Channel 00000001", GpuError("0000:03:00", 14, 100.000005, 5)),
        ("4,1,5,-;NVRM: Xid (PCI:0000:AF:00.0): 119, pid=1", GpuError("0000:af:00", 119, 100.000005, 5)),
        ("4,1,5,-;NVRM: GPU at PCI:0000:3b:00: GPU-1", None),
        ("4,1,5,-;nvidia-nvlink: Xid", None),
        ("", None),
    ],
)
def test_what_a_record_tells(record, found):
    assert parse(record, 100.0) == found


def test_a_record_without_a_time_is_of_now():
    found = parse("NVRM: Xid (PCI:0000:3b:00): 48, pid=1", 100.0)
    assert found is not None
    assert found.age == 0
    assert found.at > 1e9


def test_a_plain_file_is_read_as_it_grows_and_half_a_line_waits(tmp_path):
    path = tmp_path / "kmsg"
    path.write_text(f"6,1,1,-;booted\n{RECORD[:40]}")
    log = KernelLog(path)
    assert (log.plain, log.errors()) == (True, [])
    with path.open("a") as file:
        file.write(f"{RECORD[40:]}\n")
    assert [error.number for error in log.errors()] == [79]
    assert log.errors() == []
    log.close()


def test_this_machine_s_own_log_is_read_without_blocking_where_it_may_be():
    try:
        log = KernelLog(os.path.realpath("/dev/kmsg"))
    except OSError as error:
        pytest.skip(f"/dev/kmsg cannot be read here: {error}")
    assert all(isinstance(error, GpuError) for error in log.errors())
    log.close()
