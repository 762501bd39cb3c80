"""What `doctor` finds, and with which exit code."""

import json
import tomllib
from pathlib import Path

from clearance.cli.doctor import EXTRAS

ROOT = Path(__file__).parents[2]


def found(clearance):
    done = clearance("doctor", "--json")
    return done.code, {check["name"]: check for check in json.loads(done.out)}


def test_a_good_installation_is_0(clearance):
    code, checks = found(clearance)
    assert code == 0
    assert checks["sqlite"]["status"] == "ok"
    assert clearance("doctor").out.startswith("CHECK")


def test_a_missing_extra_is_a_note_with_its_pip_line(clearance, monkeypatch):
    monkeypatch.setitem(EXTRAS, "plot", ("no_such_module",))
    code, checks = found(clearance)
    assert code == 0
    assert checks["extra plot"]["status"] == "note"
    assert checks["extra plot"]["mend"] == "pip install 'clearance[plot]'"


def test_a_key_that_others_can_read_is_a_fault(clearance, home):
    key = home / "trust" / "signing.pem"
    key.parent.mkdir(parents=True)
    key.write_text("-----BEGIN PRIVATE KEY-----")
    (home / "trust" / "authority.pem").write_text("-----BEGIN CERTIFICATE-----")
    key.chmod(0o644)
    code, checks = found(clearance)
    assert code == 4
    assert "signing.pem" in checks["keys"]["detail"]
    key.chmod(0o600)
    assert found(clearance)[0] == 0


def test_a_broken_database_is_a_fault(clearance, home):
    home.mkdir()
    (home / "clearance.db").write_text("this is no database, and long enough to be looked at " * 50)
    code, checks = found(clearance)
    assert code == 4
    assert "not a database" in checks["database"]["detail"]


def test_an_unreachable_server_is_a_fault_and_no_password_is_shown(clearance, monkeypatch):
    monkeypatch.setenv("CLEARANCE_DATABASE_URL", "postgresql://user:hidden@127.0.0.1:1/x")
    code, checks = found(clearance)
    assert code == 4
    assert "hidden" not in json.dumps(checks)


def test_doctor_leaves_nothing_behind(clearance, home):
    clearance("doctor")
    assert not home.exists()


def test_the_extras_are_those_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all"}
    for extra, lines in extras.items():
        if extra != "all":
            distributions = {line.partition(">")[0].partition("[")[0].replace("-", "_") for line in lines}
            assert distributions == {module.replace(".", "_") for module in EXTRAS[extra]}, extra
