"""Network accounting: its rules, what it reads of nft, and the real thing where root, nft and cgroup v2 are there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.engine.base import EngineLost, Started, Traffic
from clearance.engine.conformance import Bench, unpack, value_of
from clearance.engine.local import accounting, frames, network
from clearance.engine.local.accounting import Accounting
from clearance.engine.local.engine import LocalEngine
from clearance.errors import EngineError
from clearance.settings import Settings

SIZE = 1_000_000
IP, UDP = 20, 8  # bytes of their headers
MOST_OVERHEAD = 1.2  # headers and acknowledgements of a stream in packets of any usual size

PIPELINE = """
import os, socket, subprocess, sys, threading, time
from pathlib import Path

CHILD = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).sendall(bytes(int(sys.argv[2])))"

def talk(size: int, child: bool = False) -> int:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if child:
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(port), str(size)], start_new_session=True)
    else:
        sender = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=lambda: (sender.sendall(bytes(size)), sender.close())).start()
    end, _ = listener.accept()
    seen = 0
    while data := end.recv(65536):
        seen += len(data)
    return seen

def quiet() -> int:
    return 1

def shout(times: int, size: int) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        for _ in range(times):
            end.sendto(bytes(size), ("198.51.100.1", 9))  # an address of documentation: nobody answers
    return times

def stay(mark: str) -> None:
    talk(1_000_000)
    Path(mark).touch()
    time.sleep(600)

def gangs() -> str:
    return next(line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
"""

CANNOT = Accounting.unavailable()
real = pytest.mark.skipif(bool(CANNOT), reason=f"network traffic cannot be counted here: {CANNOT}")


def table_is_there(table: str) -> bool:
    done = subprocess.run([accounting._command() or "nft", "list", "table", "inet", table], capture_output=True)
    return done.returncode == 0


def traces(home: Path) -> list[str]:
    """Returns what a home has left in the kernel."""
    table = network.table_of(str(home))
    own, _ = accounting.own_cgroup()
    found = [path for path in (f"{own}/{table}", f"{accounting.MADE}/{table}") if os.path.exists(path)]
    return found + [table] * table_is_there(table)


def adopted(home: Path, epoch: int) -> Bench:
    engine = LocalEngine(Settings(home=home, network_accounting="required"))
    bench = Bench(engine, home, engine.adopt(epoch))
    bench.bundle = unpack(home, {"pipeline.py": PIPELINE})
    return bench


@pytest.fixture
def counting(home: Path) -> Iterator[Bench]:
    yield adopted(home, 1)
    last = LocalEngine(Settings(home=home))
    last.adopt(1_000_000)
    last.close(stop=True)
    assert traces(home) == []


def kill_supervisor(bench: Bench) -> None:
    assert isinstance(bench.engine, LocalEngine)
    os.kill(bench.engine._child, signal.SIGKILL)
    bench.until(EngineLost)


def inside(found: list[Traffic], tenant: str) -> tuple[int, int]:
    one = next(each for each in found if each.tenant == tenant)
    return one.inside_in, one.inside_out


# -- the pure part -------------------------------------------------------------------------------------------------


def test_the_rules_count_and_decide_nothing():
    lines = network.rules("clearance_x", 3).splitlines()
    assert {line.split()[0] for line in lines} == {"add", "flush"}
    rules = [line for line in lines if line.startswith("add rule")]
    assert len(rules) == 4
    for rule in rules:
        assert "counter name socket cgroupv2 level 3 map @" in rule
        assert not {"accept", "drop", "reject", "jump", "queue", "mangle", "set"} & set(rule.split())
    chains = [line for line in lines if line.startswith("add chain")]
    assert [("hook input" in line, "hook output" in line) for line in chains] == [(True, False), (False, True)]
    assert all("policy accept" in line for line in chains)


def test_what_goes_over_loopback_is_inside_and_the_rest_is_outside():
    rules = [line for line in network.rules("t", 1).splitlines() if line.startswith("add rule")]
    assert [('"lo"' in line, "!=" in line, line.rpartition("@")[2]) for line in rules] == [
        (True, False, "inside_in"),
        (True, True, "outside_in"),
        (True, False, "inside_out"),
        (True, True, "outside_out"),
    ]


@given(st.text(max_size=300))
def test_every_tenant_has_a_name_that_nft_takes(tenant: str):
    id = network.id_of(tenant)
    assert id.isascii()
    assert id.isalnum()
    assert id[0].isalpha()
    assert len(id) < 100


@given(st.dictionaries(st.text(max_size=20), st.tuples(*[st.integers(0, 2**63)] * 4), max_size=5))
def test_a_listing_of_counters_is_read_back_as_traffic(amounts: dict[str, tuple[int, ...]]):
    table = network.table_of("/home")
    items: list[object] = [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}]
    for tenant, counts in amounts.items():
        for kind, count in zip(network.KINDS, counts, strict=True):
            name = f"{network.id_of(tenant)}_{kind}"
            counter = {"family": "inet", "name": name, "table": table, "handle": 1, "packets": 1, "bytes": count}
            items.append({"counter": counter})
            items.append({"counter": counter | {"table": "somebody_elses", "bytes": 7}})
    found = network.counted(msgspec.json.encode({"nftables": items}), table)
    tenants = {network.id_of(tenant): tenant for tenant in amounts}
    assert network.traffic(found, tenants) == [Traffic(tenant, *amounts[tenant]) for tenant in sorted(amounts)]


@given(st.one_of(st.binary(), st.text().map(str.encode), st.recursive(st.none(), st.lists).map(msgspec.json.encode)))
def test_what_is_no_listing_is_an_error_that_says_so(data: bytes):
    with pytest.raises(EngineError, match="libnftables-json"):
        network.counted(data, "t")


# -- where it cannot count -----------------------------------------------------------------------------------------


def test_without_nft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(accounting, "_command", lambda: None)
    assert "apt-get install nftables" in Accounting.unavailable()


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in Accounting.unavailable()


def test_an_engine_with_accounting_off_says_why_there_is_no_traffic(home: Path):
    engine = LocalEngine(Settings(home=home, network_accounting="off"))
    engine.adopt(1)
    with pytest.raises(EngineError, match="network_accounting is off"):
        engine.traffic()
    engine.close(stop=True)


@pytest.mark.skipif(not CANNOT, reason="it can be counted here")
def test_where_it_is_required_and_cannot_be_the_engine_refuses(home: Path):
    engine = LocalEngine(Settings(home=home, network_accounting="required"))
    with pytest.raises(EngineError, match="network_accounting is required, and cannot be"):
        engine.adopt(1)


# -- where it can --------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("isolation", ["process", "worker"])
def test_bytes_are_counted_for_the_tenant_that_sent_them_and_for_no_other(counting: Bench, isolation: str):
    counting.run("a.1", "talk", isolation, size=SIZE, tenant="root.a")
    counting.run("b.1", "quiet", isolation, tenant="root.b")
    counting.run("c.1", "talk", isolation, size=SIZE)
    counting.run("d.1", "talk", isolation, size=SIZE, tenant="root.a")
    found = counting.engine.traffic()
    assert [each.tenant for each in found] == ["root.a", "root.b"]
    for amount in inside(found, "root.a"):
        assert 2 * SIZE <= amount <= 2 * SIZE * MOST_OVERHEAD
    assert found[1] == Traffic("root.b", 0, 0, 0, 0)
    assert (found[0].outside_in, found[0].outside_out) == (0, 0)


def has_a_way_out() -> bool:
    """Returns whether a datagram can leave this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            end.connect(("198.51.100.1", 9))
        except OSError:
            return False
    return True


@real
@pytest.mark.skipif(not has_a_way_out(), reason="this machine has no way out")
def test_what_leaves_the_machine_is_outside_to_the_byte(counting: Bench):
    counting.run("a.1", "shout", times=7, size=1000, tenant="root.a")
    (found,) = counting.engine.traffic()
    assert found.outside_out == 7 * (1000 + IP + UDP)
    assert (found.inside_in, found.inside_out) == (0, 0)


@real
def test_what_a_task_starts_counts_for_its_tenant(counting: Bench):
    assert value_of(counting.run("a.1", "talk", size=SIZE, child=True, tenant="root.a").result) == SIZE
    assert min(inside(counting.engine.traffic(), "root.a")) >= SIZE


@real
def test_each_gang_runs_in_a_cgroup_of_its_own_that_ends_with_it(counting: Bench):
    places = [value_of(counting.run(key, "gangs", gang=2, tenant="root.a").result) for key in ("a.1", "b.1")]
    own, _ = accounting.own_cgroup()
    assert [place.rpartition("/")[2] for place in places] == ["gang-a.1", "gang-b.1"]
    tenant = Path(own, network.table_of(str(counting.home)), network.id_of("root.a"))
    assert tenant.is_dir()
    assert [each.name for each in tenant.iterdir() if each.is_dir()] == []


@real
def test_counters_survive_the_supervisor_and_go_on(counting: Bench):
    counting.launch("a.1", "stay", mark=counting.mark("m"), tenant="root.a")
    counting.until(Started, "a.1")
    counting.wait_mark("m")
    kill_supervisor(counting)
    again = adopted(counting.home, 2)
    assert min(inside(again.engine.traffic(), "root.a")) >= SIZE
    again.run("b.1", "talk", size=SIZE, tenant="root.a")
    assert min(inside(again.engine.traffic(), "root.a")) >= 2 * SIZE


@real
def test_an_orderly_end_leaves_nothing_behind_and_the_totals_are_kept(counting: Bench):
    counting.run("a.1", "talk", size=SIZE, tenant="root.a")
    before = counting.engine.traffic()
    counting.engine.close(stop=True)
    assert traces(counting.home) == []
    assert Accounting(str(counting.home)).traffic() == before
    again = adopted(counting.home, 2)
    assert again.engine.traffic() == before


@real
def test_what_a_killed_supervisor_left_is_taken_away_by_the_next_of_any_home(counting: Bench, tmp_path: Path):
    other = adopted(tmp_path / "other", 1)
    other.run("a.1", "talk", size=SIZE, tenant="root.a")
    kill_supervisor(other)
    kept = adopted(tmp_path / "living", 1)
    third = adopted(tmp_path / "third", 1)
    assert traces(tmp_path / "other") == []
    assert len(traces(tmp_path / "living")) == 3
    assert min(inside(Accounting(str(tmp_path / "other")).traffic(), "root.a")) >= SIZE
    kept.engine.close(stop=True)
    third.engine.close(stop=True)


@real
def test_a_table_that_somebody_took_away_is_said_and_tasks_go_on(home: Path):
    engine = LocalEngine(Settings(home=home, network_accounting="auto"))
    bench = Bench(engine, home, engine.adopt(1))
    subprocess.run([accounting._command() or "nft", "delete", "table", "inet", network.table_of(str(home))], check=True)
    with pytest.raises(EngineError, match="somebody took it away"):
        engine.traffic()
    assert bench.run("a.1", "nothing", tenant="root.a").outcome == "success"
    assert "is not counted" in bench.output("a.1", frames.STDERR)
    engine.close(stop=True)
    assert traces(home) == []
