"""Containers of a real podman, from an image that is made of a root file system here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.operators import container

BUSYBOX = shutil.which("busybox")
PODMAN = shutil.which("podman")
TOOLS = ("sh", "cat", "echo", "sleep", "ls", "wc", "id", "touch", "env", "grep", "wget", "mkdir")
IMAGE = "localhost/clearance-test:1"
# What podman needs where it may do less than usual, least first: an older runtime, and limits that it need not raise.
_LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
CONFIGURATIONS = ("", _LIMITS, f'{_LIMITS}[engine]\nruntime = "runc"\n')


class Podman:
    """A store of images of its own, and the configuration with which containers start on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
        self.configuration = folder / "containers.conf"
        self.environment = {
            "CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(self.configuration),
        }  # fmt: skip
        self.configuration.write_text("")
        root = folder / "root"
        for name in ("bin", "etc", "tmp", "proc", "dev", "sys", "in", "out"):
            (root / name).mkdir(parents=True)
        shutil.copy(str(BUSYBOX), root / "bin" / "busybox")
        for tool in TOOLS:
            (root / "bin" / tool).symlink_to("busybox")
        with tarfile.open(folder / "root.tar", "w") as archive:
            archive.add(root, ".")
        self.command("import", str(folder / "root.tar"), IMAGE)

    def command(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [str(PODMAN), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            raise OSError(f"podman {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def settle(self) -> str:
        """Finds the configuration that works; returns the last trouble where none does."""
        trouble = ""
        for text in CONFIGURATIONS:
            self.configuration.write_text(text)
            try:
                self.command("run", "--rm", "--network", "none", IMAGE, "echo", "hello")
                return ""
            except OSError as error:
                trouble = str(error)
        return trouble

    def names(self) -> list[str]:
        return self.command("ps", "--all", "--format", "{{.Names}}").split()


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory):
    if PODMAN is None or BUSYBOX is None:
        pytest.skip("no podman or no static busybox: apt-get install podman runc busybox-static")
    made = Podman(tmp_path_factory.mktemp("podman"))
    if trouble := made.settle():
        pytest.skip(f"podman starts no container here: {trouble}")
    yield made
    made.command("rm", "--all", "--force", check=False)
    made.command("rmi", "--all", "--force", check=False)


@pytest.fixture
def inside(bench, podman):
    bench.home.environment.update(podman.environment)
    return bench


def test_files_go_in_read_only_and_a_tree_comes_out(inside):
    inside.run(f"""
@task
def rows() -> File:
    made = context.directory / "rows.txt"
    made.write_text("1\\n2\\n")
    return File(made)

@task
def folder() -> Tree:
    made = context.directory / "made"
    made.mkdir()
    (made / "a").write_text("from a")
    return Tree(made)

@dag
def main():
    container("use", "{IMAGE}", ["sh", "-c", "cat /in/0 /in/1/a > /out/all; ! touch /in/0 && ! touch /in/1/b"],
              mounts=[rows(), folder()], output=True)
    container("say", "{IMAGE}", ["echo", "a b; $HOME", 5], result="text")
    container("skip", "{IMAGE}", ["sh", "-c", "exit 99"])
""")
    assert (inside.fetch("use") / "all").read_text() == "1\n2\nfrom a"
    assert inside.result("say") == "a b; $HOME 5\n"
    assert inside.states()["skip"] == "skipped"
    assert inside.log("say") == "a b; $HOME 5\n"


def test_it_is_shut_in(inside):
    inside.run(f"""
main = dag("main", [
    container("capabilities", "{IMAGE}", ["grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status"], result="text"),
    container("network", "{IMAGE}", ["ls", "/sys/class/net"], result="text"),
])
""")
    status = dict(line.split(":\t") for line in inside.result("capabilities").splitlines())
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert inside.result("network").split() == ["lo"]


def test_a_secret_is_in_no_command_line_and_resources_are_limits(inside):
    inside.home.environment["API_TOKEN"] = "s3cr3t-s3cr3t-s3cr3t"
    file = inside.write(f"""
main = dag("main", container(
    "use", "{IMAGE}", ["sh", "-c", "echo got $TOKEN $PLAIN; echo > /out/up; sleep 600"], output=True,
    env={{"TOKEN": Secret.env("API_TOKEN"), "PLAIN": 3}}, resources=Resources(cpu=0.5, memory="64Mi")))
""")
    run = inside.home.start("run", f"{file}:main")
    deadline = time.monotonic() + 30
    while not (ups := list((inside.home.path / "attempts").glob("*/0/out/up"))):
        assert time.monotonic() < deadline, inside.log("use")
        time.sleep(0.01)
    assert ups
    lines = [line for line in inside.home.processes().values() if "podman" in line]
    assert any("--env TOKEN" in line for line in lines)
    assert not any("s3cr3t" in line for line in lines)
    assert any("--cpus 0.5 --memory 67108864" in line for line in lines)
    inside.home.command("cancel", "main/1")
    assert run.wait(30) == 1
    assert inside.log("use").startswith("got *** 3\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_container_ends_with_the_attempt_and_what_a_kill_leaves_is_removed_by_the_next(inside, podman, number):
    file = inside.write(f"""
main = dag("main", container("long", "{IMAGE}", ["sh", "-c", "echo > /out/up; sleep 600"], output=True))
""")
    run = inside.home.start("run", f"{file}:main")
    deadline = time.monotonic() + 30
    while not list((inside.home.path / "attempts").glob("*/0/out/up")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (before,) = podman.names()
    if number == signal.SIGTERM:
        inside.home.command("cancel", "main/1")
        assert run.wait(30) == 1
        assert podman.names() == []
        return
    inside.home.kill_all()
    run.wait(30)
    again = inside.home.start("resume", "main/1")
    while (names := podman.names()) in ([], [before]) or before in names:
        assert time.monotonic() < deadline + 30
    inside.home.command("cancel", "main/1")
    assert again.wait(30) == 1
    assert podman.names() == []


def test_an_image_that_is_not_there_is_a_failure(inside):
    printed = inside.run(
        """
main = dag("main", container("none", "localhost/no-such-image:1", ["true"]))
""",
        expect=1,
    )
    assert "container localhost/no-such-image:1 ended with exit code 125" in printed
    assert "no-such-image" in inside.log("none")


def test_a_missing_secret_starts_no_container(inside, podman):
    printed = inside.run(
        f"""
main = dag("main", container("use", "{IMAGE}", ["true"], env={{"TOKEN": Secret.env("NO_SUCH_TOKEN")}}))
""",
        expect=1,
    )
    assert "NO_SUCH_TOKEN" in printed
    assert podman.names() == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: container("x", "python:3.12"), "can come to mean another image"),
        (lambda: container("x", "python@sha256:abc"), "can come to mean another image"),
        (lambda: container("x", "--privileged"), "no name of an image"),
        (lambda: container("x", "localhost/a b"), "no name of an image"),
        (lambda: container("x", "localhost/a", program="kubectl"), "use one of podman, docker"),
        (lambda: container("x", "localhost/a", resources={"cpus": 1}), "unknown resource 'cpus'"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()


def test_a_tag_can_be_allowed_and_a_digest_needs_no_permission():
    assert container("x", "python:3.12", allow_tag=True).id == "x"
    assert container("x", f"python@sha256:{'0' * 64}").id == "x"
