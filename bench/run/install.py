"""How big a base installation is: the wheel and what it needs, without extras, in an empty environment.

The wheel is built from a copy of the project (a missing README.md is replaced by an empty one) and installed with the
versions of `constraints.txt` into a virtual environment that has nothing, not even pip. megabytes: disk blocks of its
site-packages, byte-compiled files included. The installation is then proven by `clearance run` of examples/hello.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import ROOT, show


def pip(*arguments: str) -> None:
    """Runs pip of this interpreter."""
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments], check=True)


def build(folder: Path) -> Path:
    """Builds the wheel from a copy and returns its path."""
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignore)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    readme = ROOT / "README.md"
    (source / "README.md").write_bytes(readme.read_bytes() if readme.exists() else b"")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder / "wheel"), str(source))
    return next((folder / "wheel").glob("clearance-*.whl"))


def disk(folder: Path) -> int:
    """Returns bytes of all files as they lie on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir())


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(prefix="clearance-bench-") as name:
        folder = Path(name)
        wheel = build(folder)
        place = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        python = str(place / "bin/python")
        pip("--python", python, "install", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
        packages = next((place / "lib").glob("python3.*/site-packages"))
        size = disk(packages) / 1e6
        distributions = sorted(packages.glob("*.dist-info"))
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment["CLEARANCE_HOME"] = str(folder / "home")
        line = [str(place / "bin/clearance"), "run", str(ROOT / "examples/hello.py")]
        ran = subprocess.run(line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False).returncode
        show("run.install.wheel_mb", wheel.stat().st_size / 1e6)
        show("run.install.megabytes", size, "<= 60", size <= 60)
        show("run.install.distributions", len(distributions), "<= 20", len(distributions) <= 20)
        show("run.install.names", ", ".join(each.name.removesuffix(".dist-info") for each in distributions))
        show("run.install.example_exit_code", ran, "0", ran == 0)


if __name__ == "__main__":
    main()
