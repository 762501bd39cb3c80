"""Signals of the nodes of a machine, from files like its own."""

import time

from clearance.engine.base import Node, Signal
from clearance.engine.local.watch import Watch
from clearance.settings import Settings

NODES = [Node("a", {"cpu": 1000, "gpu": 2000}), Node("b", {"cpu": 1000, "gpu": 1000}), Node("c", {"cpu": 1000})]


def watch(tmp_path, interval=3600.0):
    (tmp_path / "home").mkdir(exist_ok=True)
    settings = Settings(home=tmp_path / "home", health_root=str(tmp_path / "root"), health_interval=interval)
    return Watch(settings, lambda: NODES, {"a": 0, "b": 2, "c": 3})


def log(tmp_path, *errors):
    path = tmp_path / "root/dev/kmsg"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for age, device, number in errors:
            file.write(f"4,1,{age},-;NVRM: Xid (PCI:{device}): {number}, pid=1\n")


def gpus(tmp_path, *addresses):
    for address in addresses:
        (tmp_path / "root/proc/driver/nvidia/gpus" / address).mkdir(parents=True)


def errors(found):
    return [(signal.node, signal.value) for signal in found if signal.kind == "gpu_error"]


def test_an_error_is_one_of_the_node_that_has_the_gpu(tmp_path):
    gpus(tmp_path, "0000:3b:00.0", "0000:5e:00.0", "0000:af:00.0")
    log(tmp_path, (1, "0000:5e:00", 79), (2, "0000:af:00", 48))
    assert errors(watch(tmp_path).observe()) == [("a", 79), ("b", 48)]


def test_an_error_of_a_gpu_that_is_not_known_is_one_of_each_node(tmp_path):
    log(tmp_path, (1, "0000:5e:00", 79))
    assert errors(watch(tmp_path).observe()) == [("a", 79), ("b", 79), ("c", 79)]


def test_who_watches_next_is_told_only_what_is_new(tmp_path):
    gpus(tmp_path, "0000:3b:00.0")
    log(tmp_path, (1, "0000:3b:00", 79))
    assert len(errors(watch(tmp_path).observe())) == 1
    log(tmp_path, (9, "0000:3b:00", 95))
    assert errors(watch(tmp_path).observe()) == [("a", 95)]


def test_readings_are_of_each_node_and_come_when_they_are_due(tmp_path):
    table = tmp_path / "root/proc/sys/net/ipv4/neigh/default/gc_thresh3"
    table.parent.mkdir(parents=True)
    table.write_text("4\n")
    arp = tmp_path / "root/proc/net/arp"
    arp.parent.mkdir(parents=True)
    arp.write_text("IP address\n10.0.0.1\n10.0.0.2\n10.0.0.3\n")
    found = watch(tmp_path)
    seen = found.observe()
    assert [(each.node, each.kind, each.value) for each in seen if isinstance(each, Signal)] == [
        (name, "neighbour_fill", 0.75) for name in "abc"
    ]
    assert found.observe() == []
    assert found.due > time.time()


def test_what_cannot_be_read_is_said_once(tmp_path):
    found = watch(tmp_path, interval=0.1)
    said = {event.kind: event.reason for event in found.observe()}
    assert set(said) == {"gpu_error", "neighbour_fill", "inotify_left", "ip_pool_left"}
    assert said["gpu_error"] == f"{tmp_path / 'root/dev/kmsg'} cannot be read: No such file or directory"
    found.due = 0.0
    assert found.observe() == []
