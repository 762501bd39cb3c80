"""Errors become one line and an exit code; help imports no command."""

import subprocess
import sys

import click
import pytest

from clearance import __version__
from clearance.cli import main
from clearance.errors import ClearanceError, GraphError, Refused, RunFailed, StoreError


def test_help_lists_every_command_and_imports_none(home):
    code = (
        "import sys\nfrom clearance.cli.main import invoke\ninvoke(['--help'])\n"
        "print(sorted(name for name in sys.modules if name.startswith('clearance')), file=sys.stderr)\n"
        "print({'msgspec', 'rich', 'torch', 'numpy', 'cryptography'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for section in main.COMMANDS.values():
        for name in section:
            assert f"  {name} " in done.stdout
    loaded, heavy = done.stderr.splitlines()
    assert loaded == "['clearance', 'clearance.cli', 'clearance.cli.main', 'clearance.errors']"
    assert heavy == "set()"


@pytest.mark.parametrize("name", [name for section in main.COMMANDS.values() for name in section])
def test_every_command_can_be_loaded_and_has_help(clearance, name):
    done = clearance(name, "--help")
    assert done.code == 0
    assert f"clearance {name}" in done.out


def test_version(clearance):
    assert clearance("--version").out == f"clearance {__version__}\n"


def test_no_command_prints_help(clearance):
    done = clearance()
    assert done.code == 0
    assert "Run:" in done.out + done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(GraphError("x"), 2), (Refused("x"), 3), (RunFailed("x"), 1), (StoreError("x"), 4), (ClearanceError("x"), 4)],
)
def test_each_error_has_its_exit_code_and_one_line(clearance, monkeypatch, error, code):
    @click.command()
    def broken():
        raise error

    monkeypatch.setattr(main, "_load", lambda module, name: broken)
    assert clearance("run") == (code, "", "error: x\n")


def test_an_unexpected_exception_is_short_and_says_how_to_report(clearance, monkeypatch):
    @click.command()
    def broken():
        raise KeyError("lost")

    monkeypatch.setattr(main, "_load", lambda module, name: broken)
    done = clearance("run")
    assert done.code == 4
    assert done.err.startswith("error: unexpected KeyError: 'lost'\n")
    assert "CLEARANCE_DEBUG=1" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("CLEARANCE_DEBUG", "1")
    with pytest.raises(KeyError):
        clearance("run")


def test_an_interrupt_is_130(clearance, monkeypatch):
    @click.command()
    def broken():
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_load", lambda module, name: broken)
    assert clearance("run").code == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rn"], "no such command 'rn'; did you mean 'run'?"),
        (["dag", "chek"], "check"),
        (["dag", "check"], "Missing argument"),
        (["--nope"], "No such option"),
    ],
)
def test_wrong_usage_is_2_and_names_the_mend(clearance, arguments, message):
    done = clearance(*arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
