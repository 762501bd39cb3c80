"""The example project runs as it is, and nothing is overwritten."""

import subprocess
import sys

from clearance.cli.init import FILES


def test_the_project_is_written_checked_and_its_tests_pass(clearance, tmp_path):
    place = tmp_path / "project"
    done = clearance("init", place)
    assert done.code == 0
    assert sorted(file.name for file in place.iterdir()) == sorted(FILES)
    assert clearance("dag", "check", place / "pipeline.py").code == 0
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=place, capture_output=True
    )
    assert tests.returncode == 0, tests.stdout.decode()


def test_nothing_is_ever_overwritten_and_nothing_half_written(clearance, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    done = clearance("init")
    assert done.code == 2
    assert "README.md already, nothing was written" in done.err
    assert (tmp_path / "README.md").read_text() == "mine"
    assert not (tmp_path / "pipeline.py").exists()


def test_the_example_computes_what_it_says(clearance, tmp_path, monkeypatch):
    place = tmp_path / "project"
    clearance("init", place)
    code = (
        "import pipeline as p\npoints = p.measure()\nmodel = p.fit(points)\nreport = p.judge(model, points)\n"
        "assert abs(report.slope - 3) < 0.1 and report.error < 0.6, report"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
