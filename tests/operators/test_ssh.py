"""Commands on another machine: a real sshd on loopback, with keys and a port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.operators import ssh
from support.runs import wait_for

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Server:
    """An sshd that lets one key in; `options` is how the operator reaches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=30
            )
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        host_key = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.process = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(folder / "config")], stderr=(folder / "log").open("wb")
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline

    @property
    def options(self) -> str:
        return f"port={self.port}, known_hosts={str(self.folder / 'known')!r}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd is installed: apt-get install openssh-server openssh-client")
    made = Server(tmp_path / "ssh")
    yield made
    made.close()


def host() -> str:
    return f"{getpass.getuser()}@127.0.0.1"


def test_arguments_arrive_as_they_are_and_the_last_line_is_the_result(bench, server):
    bench.run(f"""
@task
def odd() -> str:
    return "a  b'; touch hacked; echo $HOME \\n$(id)"

@dag
def main():
    ssh("say", "{host()}", ["printf", "%s", odd()], identity="{server.folder}/user", result="text", {server.options})
    ssh("cat", "{host()}", ["cat"], identity="{server.folder}/user", {server.options})
    ssh("three", "{host()}", ["sh", "-c", "echo out; echo err >&2; exit 3"], identity="{server.folder}/user",
        skip_on=3, {server.options})
""")
    assert bench.result("say") == "a  b'; touch hacked; echo $HOME \n$(id)"
    assert bench.result("cat") == ""
    assert bench.states()["three"] == "skipped"
    assert set(bench.log("three").split()) == {"out", "err"}


def test_a_key_by_reference_is_written_nowhere_that_stays(bench, server):
    key = (server.folder / "user").read_text()
    bench.run(f"""
main = dag("main", ssh("go", "{host()}", ["echo", "in"], identity=Secret.file("{server.folder}/user"),
                       {server.options}))
""")
    assert bench.result("go") == "in"
    secret = key.splitlines()[2].encode()
    for path in bench.home.path.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path


def test_a_missing_key_and_an_exit_code_are_failures(bench, server):
    printed = bench.run(
        f"""
main = dag("main", [
    ssh("none", "{host()}", ["true"], identity=Secret.file("/no/such/key"), {server.options}),
    ssh("bad", "{host()}", ["sh", "-c", "exit 4"], identity="{server.folder}/user", {server.options}),
])
""",
        expect=1,
    )
    assert "/no/such/key" in printed
    assert f"sh on {host()} ended with exit code 4" in printed


def test_an_unknown_host_key_and_a_strangers_key_are_refused(bench, server):
    (server.folder / "empty").touch()
    printed = bench.run(
        f"""
main = dag("main", [
    ssh("unknown", "{host()}", ["touch", "{bench.folder}/ran"], identity="{server.folder}/user", port={server.port},
        known_hosts="{server.folder}/empty"),
    ssh("stranger", "{host()}", ["touch", "{bench.folder}/ran"], identity="{server.folder}/stranger",
        {server.options}),
])
""",
        expect=1,
    )
    assert printed.count("cannot be reached, its key is not known, or it refuses us") == 2
    assert "Host key verification failed" in bench.log("unknown")
    assert "Permission denied" in bench.log("stranger")
    assert not (bench.folder / "ran").exists()
    assert (server.folder / "empty").read_text() == ""


@pytest.mark.parametrize("how", ["cancel", "kill"])
def test_the_remote_process_ends_with_the_attempt(bench, server, how):
    file = bench.write(f"""
main = dag("main", ssh("long", "{host()}", [
    "sh", "-c", "sleep 600 & echo $$ $! > {bench.folder}/pids~; mv {bench.folder}/pids~ {bench.folder}/pids; wait",
], identity="{server.folder}/user", {server.options}))
""")
    run = bench.home.start("run", f"{file}:main")
    wait_for(bench.folder / "pids")
    pids = (bench.folder / "pids").read_text().split()
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    if how == "cancel":
        bench.home.command("cancel", "main/1")
    else:
        bench.home.kill_all()
    run.wait(30)
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline, [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ssh("x", "-oProxyCommand=id", ["true"]), "write user@host"),
        (lambda: ssh("x", "user@host; id", ["true"]), "write user@host"),
        (lambda: ssh("x", "host", "ls -l"), "arguments are a list"),
        (lambda: ssh("x", "host", []), "arguments are a list"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()
