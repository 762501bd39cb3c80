"""Addresses that are left, from the files that CNI's `host-local` keeps."""

import json

import pytest

from clearance.engine.local.addresses import ip_pool_left


def network(root, ipam, used, name="pods", folder="var/lib/cni/networks"):
    configs = root / "etc/cni/net.d"
    configs.mkdir(parents=True, exist_ok=True)
    plugins = [{"type": "bridge", "ipam": {"type": "host-local", **ipam}}, {"type": "portmap"}]
    (configs / f"10-{name}.conflist").write_text(json.dumps({"name": name, "plugins": plugins}))
    where = root / folder / name
    where.mkdir(parents=True)
    for address in used:
        (where / address).write_text("container")


def test_a_machine_without_such_a_network_tells_nothing(tmp_path):
    assert ip_pool_left(tmp_path) is None


def test_a_subnet_is_counted_without_its_ends_and_its_gateway(tmp_path):
    network(tmp_path, {"subnet": "10.1.0.0/29"}, ["10.1.0.2", "lock", "last_reserved_ip.0"])
    assert ip_pool_left(tmp_path) == pytest.approx(1 - 1 / 5)


def test_the_range_and_the_folder_are_those_that_are_said(tmp_path):
    ranges = [[{"subnet": "10.1.0.0/16", "rangeStart": "10.1.3.10", "rangeEnd": "10.1.3.13"}]]
    used = ["10.1.3.10", "10.1.3.11", "10.1.9.9"]
    network(tmp_path, {"ranges": ranges, "dataDir": "/run/cni"}, used, folder="run/cni")
    assert ip_pool_left(tmp_path) == 0.5


def test_the_range_set_with_the_least_counts(tmp_path):
    ranges = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/125"}]]
    network(tmp_path, {"ranges": ranges}, ["10.1.0.2", *(f"fd00::{number}" for number in range(2, 8))])
    assert ip_pool_left(tmp_path) == 0.0


def test_a_configuration_that_is_half_written_is_left_out(tmp_path):
    network(tmp_path, {"subnet": "10.1.0.0/29"}, [])
    (tmp_path / "etc/cni/net.d/00-new.conflist").write_text('{"name": ')
    assert ip_pool_left(tmp_path) == 1.0
