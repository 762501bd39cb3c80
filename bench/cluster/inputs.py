"""The inputs of the benches of the scheduler: found in `CLEARANCE_BENCH_DATA`, and checked."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def data(name: str) -> Path | None:
    """Returns an input that `bench/data.toml` lists under this name; None, and says so, where it is missing.

    Raises:
        SystemExit: the file is another.
    """
    entry = tomllib.loads((ROOT / "bench/data.toml").read_text())[name]
    folder = os.environ.get("CLEARANCE_BENCH_DATA")
    file = Path(folder) / entry["file"] if folder else None
    if file is None or not file.exists():
        print("not run: DATA missing")
        return None
    if hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
        raise SystemExit(f"{file} is not the file that bench/data.toml lists as {name}: fetch it again")
    return file
