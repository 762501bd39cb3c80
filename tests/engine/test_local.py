"""What only the local engine promises: its supervisor outlives controllers, and its spool outlives everything."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from clearance.engine.base import EngineLost, Finished, Started
from clearance.engine.conformance import Bench, is_alive, unpack, value_of, wait_until
from clearance.engine.local import frames, processes
from clearance.engine.local.engine import LocalEngine
from clearance.errors import EngineError, LeaseLost
from clearance.settings import Settings

CONTROLLER = """
import sys
from pathlib import Path
from clearance.engine.base import Started
from clearance.engine.conformance import Bench
from clearance.engine.local.engine import LocalEngine
from clearance.settings import Settings

home = Path(sys.argv[1])
engine = LocalEngine(Settings(home=home))
bench = Bench(engine, home, engine.adopt(2))
bench.launch("slow.1", "sleep", seconds=600)
bench.launch("warm.1", "sleep", "worker", seconds=600)
bench.launch("quick.1", "add", a=1, b=1)
bench.until(Started, "slow.1", "warm.1")
bench.finished("quick.1")
print("ready", flush=True)
sys.stdin.read()
"""


def supervisor_of(home: Path) -> int:
    """Returns the pid of the supervisor of this home."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                above = Path(f"/proc/{parent}/cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            supervises = str(home).encode() in command and b"supervisor.main" in b" ".join(command)
            if supervises and b"supervisor.main" not in above:
                return int(entry.name)
    raise AssertionError(f"no supervisor of {home}")


def lose(bench: Bench) -> None:
    """Kills the supervisor and waits until the controller knows."""
    pid = supervisor_of(bench.home)
    os.kill(pid, signal.SIGKILL)
    bench.until(EngineLost)


def adopted(home: Path, epoch: int) -> Bench:
    engine = LocalEngine(Settings(home=home))
    return Bench(engine, home, engine.adopt(epoch))


def test_tasks_survive_the_death_of_the_controller_and_the_next_one_adopts_them(bench: Bench) -> None:
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(bench.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert controller.stdout is not None
    assert controller.stdout.readline() == b"ready\n"
    controller.kill()
    controller.wait()
    next_one = adopted(bench.home, 3)
    running = {started.attempt: started for started in next_one.snapshot.running}
    assert set(running) == {"slow.1", "warm.1"}
    for started in running.values():
        assert processes.birth_of(started.pids[0]) == started.births[0]
    assert [(event.attempt, value_of(event.result)) for event in next_one.snapshot.finished] == [("quick.1", 2)]
    next_one.engine.cancel(["slow.1", "warm.1"], 0.0)
    assert {event.outcome for event in next_one.until(Finished, "slow.1", "warm.1")} == {"cancelled"}


def test_a_lower_epoch_is_refused_and_a_higher_one_fences_out(bench: Bench) -> None:
    second = adopted(bench.home, 5)
    with pytest.raises(LeaseLost, match="epoch 5"):
        adopted(bench.home, 4)
    assert select.select([bench.engine], [], [], 30)[0]
    with pytest.raises(LeaseLost, match="epoch 5"):
        bench.engine.observe()
    assert second.run("a.1", "add", a=1, b=1).outcome == "success"


def test_an_epoch_is_remembered_by_the_next_supervisor(bench: Bench) -> None:
    second = adopted(bench.home, 7)
    second.engine.close(stop=True)
    with pytest.raises(LeaseLost, match="epoch 7"):
        adopted(bench.home, 6)


def test_what_was_spooled_is_found_after_everything_was_killed(bench: Bench) -> None:
    bench.run("fresh.1", "add", a=1, b=2)
    bench.run("warm.1", "add", "worker", a=2, b=2)
    bench.run("failed.1", "fail")
    bench.run("late.1", "sleep", seconds=60.0, timeout=0.1, grace=0.0)
    bench.run("gang.1", "rank_of", gang=2)
    bench.run("done.1", "add", a=0, b=0)
    bench.run("warmed.1", "add", "worker", a=0, b=0)
    bench.engine.acknowledge(["done.1", "warmed.1"])
    bench.launch("slow.1", "sleep", seconds=600.0)
    started = bench.until(Started, "slow.1")[0]
    bench.finished("warmed.1")
    bench.run("after.1", "add", a=1, b=1)  # the acknowledgement was read: it came before this launch
    lose(bench)
    again = adopted(bench.home, 1)
    found = {event.attempt: event for event in again.snapshot.finished}
    assert {key: event.outcome for key, event in found.items()} == {
        "fresh.1": "success",
        "warm.1": "success",
        "failed.1": "failure",
        "late.1": "timeout",
        "gang.1": "success",
        "after.1": "success",
    }
    assert value_of(found["fresh.1"].result) == 3
    assert value_of(found["warm.1"].result) == 4
    assert again.snapshot.running == ()
    assert not is_alive(started.pids[0])
    again.engine.acknowledge(list(found))
    assert again.run("b.1", "add", a=1, b=1).outcome == "success"
    assert {path.name for path in (bench.home / "spool").iterdir()} == {"acknowledged", "b.1.0"}


def test_a_result_that_is_written_while_nobody_watches_is_found(bench: Bench) -> None:
    """The task writes its spool file and the supervisor dies before it has read it."""
    bench.launch("a.1", "sleep", seconds=600.0)
    bench.until(Started, "a.1")
    record = {"type": "spooled", "attempt": "a.1"}
    (bench.home / "spool" / "a.1.0").write_bytes(msgspec.msgpack.encode(record))
    (bench.home / "spool" / "b.1.0~").write_bytes(b"torn")
    lose(bench)
    again = adopted(bench.home, 1)
    assert [(event.attempt, event.outcome) for event in again.snapshot.finished] == [("a.1", "success")]
    assert not (bench.home / "spool" / "b.1.0~").exists()


def test_a_dead_supervisors_processes_are_killed_by_the_next_one(bench: Bench) -> None:
    """A zygote that is stopped cannot end its attempts when the supervisor dies."""
    bench.launch("a.1", "sleep", seconds=600.0)
    pid = bench.until(Started, "a.1")[0].pids[0]
    zygote = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    os.kill(zygote, signal.SIGSTOP)
    try:
        lose(bench)
        assert is_alive(pid)
        again = adopted(bench.home, 1)
        wait_until(lambda: not is_alive(pid), "the death of what a dead supervisor left")
        assert again.snapshot.running == ()
    finally:
        os.kill(zygote, signal.SIGKILL)


def test_orphans_of_a_dead_supervisor_are_found_by_their_mark(bench: Bench) -> None:
    """Supervisor and zygote are killed at once: a grandchild in a session of its own is nobody's child."""
    bench.launch("a.1", "stubborn", mark=bench.mark("m"))
    orphans = [int(part) for part in bench.wait_mark("m").split()]
    pid = bench.until(Started, "a.1")[0].pids[0]
    zygote = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    os.kill(zygote, signal.SIGSTOP)
    lose(bench)
    os.kill(zygote, signal.SIGKILL)
    adopted(bench.home, 1)
    assert [is_alive(orphan) for orphan in orphans] == [False, False]


def test_a_stopped_attempt_is_superseded_by_a_higher_epoch(bench: Bench) -> None:
    bench.launch("run.train.1", "stopped", mark=bench.mark("m"), checkpoint="c")
    pid = int(bench.wait_mark("m"))
    bench.launch("run.train.2", "count", checkpoint="c")
    assert bench.finished("run.train.2").outcome == "success"
    assert not is_alive(pid)
    assert [event.attempt for event in bench.seen if isinstance(event, Finished)] == ["run.train.2"]
    bench.launch("run.train.3", "sleep", seconds=600.0)
    bench.until(Started, "run.train.3")
    bench.launch("run.train.2x.1", "add", a=1, b=1)
    bench.launch("run.train.1", "add", a=1, b=1)
    assert bench.finished("run.train.2x.1").outcome == "success"
    assert bench.finished("run.train.1").outcome == "lost"


def test_a_chain_of_higher_epochs_leaves_the_last_one(bench: Bench) -> None:
    bench.launch("a.1", "stubborn", mark=bench.mark("m"))
    bench.wait_mark("m")
    bench.engine.launch([bench.make("a.2", "sleep", seconds=600.0), bench.make("a.3", "add", a=1, b=1)])
    assert value_of(bench.finished("a.3").result) == 2
    bench.engine.acknowledge(["a.3"])
    assert adopted(bench.home, 2).snapshot.running == ()


def test_a_zygote_with_threads_spawns_instead_of_forking_and_says_so_once(bench: Bench) -> None:
    threads = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    pid = "import os\ndef pid() -> int: return os.getpid()\n"
    bundle = unpack(bench.home, {"pipeline.py": pid, "warm.py": threads})
    pids = [
        value_of(bench.run(key, "pid", isolation, bundle=bundle, preload=("warm",)).result)
        for key, isolation in (("a.1", "process"), ("b.1", "process"), ("c.1", "worker"))
    ]
    assert len(set(pids)) == 3
    assert "fresh interpreter" in bench.output("a.1", frames.NOTE)
    assert bench.output("b.1", frames.NOTE) == ""


def test_a_preload_that_cannot_be_imported_fails_the_attempt_by_name(bench: Bench) -> None:
    failure = bench.run("a.1", "add", preload=("no_such_module",), a=1, b=1).failure
    assert failure is not None
    assert failure.kind == "builtins.ModuleNotFoundError"
    assert "no_such_module" in failure.message


def test_what_an_import_prints_is_in_the_zygotes_log(bench: Bench) -> None:
    bundle = unpack(bench.home, {"pipeline.py": "print('imported')\ndef one() -> int: return 1\n"})
    bench.run("a.1", "one", bundle=bundle)
    assert (bench.home / "logs" / f"zygote-{bundle[7:19]}.log").read_text() == "imported\n"


def test_an_import_that_hangs_ends_at_the_timeout_and_the_bundle_can_be_used_again(bench: Bench) -> None:
    code = "import os, time\nif not os.path.exists({mark!r}):\n    open({mark!r}, 'w').close()\n    time.sleep(600)\n"
    code = code.format(mark=bench.mark("hung")) + "def one() -> int: return 1\n"
    bundle = unpack(bench.home, {"pipeline.py": code})
    assert bench.run("a.1", "one", bundle=bundle, timeout=0.5, grace=0.0).outcome == "timeout"
    assert bench.run("b.1", "one", bundle=bundle).outcome == "success"


def test_a_zygote_that_dies_takes_its_attempts_with_it_and_is_replaced(bench: Bench) -> None:
    bench.launch("a.1", "sleep", seconds=600.0)
    bench.launch("b.1", "sleep", "worker", seconds=600.0)
    pid = bench.until(Started, "a.1", "b.1")[0].pids[0]
    zygote = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    os.kill(zygote, signal.SIGKILL)
    assert {event.outcome for event in bench.until(Finished, "a.1", "b.1")} == {"lost"}
    assert not is_alive(pid)
    assert bench.run("c.1", "add", a=1, b=1).outcome == "success"


def test_a_zygote_that_dies_while_an_attempt_is_being_ended_leaves_its_outcome(bench: Bench) -> None:
    bench.engine.launch([bench.make(key, "sleep", "worker", seconds=0.1) for key in ("a.1", "b.1")])
    bench.until(Finished, "a.1", "b.1")
    bench.launch("c.1", "stubborn", "worker", mark=bench.mark("m"))
    orphans = [int(part) for part in bench.wait_mark("m").split()]
    pid = bench.until(Started, "c.1")[0].pids[0]
    zygote = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    bench.engine.cancel(["c.1"], 600.0)
    bench.run("d.1", "nothing", "worker")  # the supervisor has read the cancellation: it came before this launch
    os.kill(zygote, signal.SIGKILL)
    assert bench.finished("c.1").outcome == "cancelled"
    assert [is_alive(orphan) for orphan in orphans] == [False, False]
    assert bench.run("e.1", "add", "worker", a=1, b=1).outcome == "success"


def test_an_import_that_crashes_is_a_failure_that_names_the_log(bench: Bench) -> None:
    bundle = unpack(bench.home, {"pipeline.py": "import os\nos.abort()\n"})
    finished = bench.run("a.1", "one", bundle=bundle)
    assert finished.outcome == "failure"
    assert finished.failure is not None
    assert "SIGABRT" in finished.failure.message
    assert "zygote-" in finished.failure.message


def test_memory_beyond_the_limit_is_a_memory_error(bench: Bench) -> None:
    failure = bench.run("a.1", "big", size=1 << 30, memory=256 << 20).failure
    assert failure is not None
    assert failure.kind == "builtins.MemoryError"
    assert bench.run("b.1", "big", "worker", size=1 << 30, memory=256 << 20).outcome == "failure"
    assert bench.run("c.1", "big", "worker", size=1 << 20).outcome == "success"


def test_working_directories_are_removed_once_the_result_is_committed(bench: Bench) -> None:
    for key in ("a.1", "b.1"):
        bench.run(key, "litter" if key == "a.1" else "nothing")
        assert (bench.home / "attempts" / key / "0").is_dir()
        assert (bench.home / "attempts" / key).stat().st_mode & 0o077 == 0
    bench.engine.acknowledge(["a.1", "b.1"])
    bench.run("c.1", "nothing")
    assert [path.name for path in (bench.home / "attempts").iterdir()] == ["c.1"]
    wait_until(lambda: not list((bench.home / "trash").iterdir()), "the emptying of the trash")


def test_files_and_sockets_are_the_users_alone(bench: Bench) -> None:
    bench.run("a.1", "shout")
    bench.run("b.1", "shout", "worker")
    for path in bench.home.rglob("*"):
        if "bundles" not in path.parts and "marks" not in path.parts and "blobs" not in path.parts:
            assert path.stat().st_mode & 0o077 == 0, path


def test_an_unsafe_key_is_refused(bench: Bench) -> None:
    for key in ("../a.1", "", "A.1", "a/b.1", ".a.1", "a..1"):
        with pytest.raises(EngineError, match="cannot name an attempt"):
            bench.launch(key, "nothing")
    with pytest.raises(EngineError, match="cannot name an attempt"):
        bench.launch("a.1", "count", checkpoint="../../etc")


def test_stop_ends_what_runs_and_keeps_what_finished(bench: Bench) -> None:
    bench.run("a.1", "add", a=1, b=1)
    bench.launch("b.1", "sleep", seconds=600.0)
    pid = bench.until(Started, "b.1")[0].pids[0]
    supervisor = supervisor_of(bench.home)
    bench.engine.close(stop=True)
    wait_until(lambda: not is_alive(pid) and not is_alive(supervisor), "the end of the supervisor")
    assert not (bench.home / "supervisor.sock").exists()
    found = {event.attempt: event.outcome for event in adopted(bench.home, 2).snapshot.finished}
    assert found == {"a.1": "success", "b.1": "cancelled"}


def test_what_is_idle_goes_and_at_last_the_supervisor_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = "from clearance.engine.local import supervisor, zygotes; supervisor.IDLE = zygotes.IDLE = 0.2;"
    monkeypatch.setattr("clearance.engine.local.engine._SUPERVISOR", impatient + "supervisor.main()")
    engine = LocalEngine(Settings(home=home))
    bench = Bench(engine, home, engine.adopt(1))
    worker = value_of(bench.run("a.1", "pid", "worker").result)
    zygote = int(Path(f"/proc/{worker}/stat").read_bytes().rpartition(b")")[2].split()[1])
    wait_until(lambda: not is_alive(worker), "the end of an idle worker")
    wait_until(lambda: not is_alive(zygote), "the end of an idle zygote")
    assert bench.run("b.1", "add", "worker", a=1, b=1).outcome == "success"
    bench.run("c.1", "add", a=1, b=1)
    supervisor = supervisor_of(home)
    engine.close(stop=False)
    wait_until(lambda: not is_alive(supervisor), "the end of an idle supervisor")
    last = adopted(home, 2)
    assert {event.attempt for event in last.snapshot.finished} == {"a.1", "b.1", "c.1"}
    last.engine.close(stop=True)


def test_a_missing_bundle_is_a_failure(bench: Bench) -> None:
    failure = bench.run("a.1", "add", bundle="sha256:" + "0" * 64, a=1, b=1).failure
    assert failure is not None
    assert "not unpacked" in failure.message


def test_two_controllers_that_start_at_once_share_one_supervisor(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from clearance.settings import Settings;"
        "from clearance.engine.local.engine import LocalEngine;"
        "LocalEngine(Settings(home=Path(sys.argv[1]))).adopt(1)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(home)]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    last = LocalEngine(Settings(home=home))
    last.adopt(2)
    supervisor_of(home)
    last.close(stop=True)


@pytest.mark.slow
def test_a_gang_reduces_over_gloo(bench: Bench) -> None:
    finished = bench.run("a.1", "all_reduce", gang=2, preload=("torch",), timeout=120.0)
    assert value_of(finished.result) == 3.0


def test_a_system_without_pidfd_is_refused_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(EngineError, match=r"pidfd_open, which this system lacks"):
        LocalEngine(Settings(home=home)).adopt(1)
