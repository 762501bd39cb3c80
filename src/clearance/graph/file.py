"""The file of a pipeline, as a person names it."""

from __future__ import annotations

from pathlib import Path

from clearance.errors import UsageError, nearest


def check_file(file: Path) -> Path:
    """Returns the absolute path of a pipeline file.

    Raises:
        UsageError: it is missing, no file, no `.py`, or has a name that cannot be imported.
    """
    file = Path(file).absolute()
    if not file.exists():
        near = nearest(file.name, (other.name for other in file.parent.glob("*.py"))) if file.parent.is_dir() else ""
        raise UsageError(f"{file} does not exist{near}")
    if not file.is_file() or file.suffix != ".py":
        raise UsageError(f"{file} is no Python file: name a .py file")
    if "." in file.stem:
        raise UsageError(f"{file.name} cannot be imported: a dot before .py would mean a package; rename the file")
    return file
