"""`clearance init`: an example project that runs as it is."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from clearance.errors import UsageError

# name in the project → name in `clearance/cli/example`
FILES = {
    "pipeline.py": "pipeline.py",
    "test_pipeline.py": "test_pipeline.py",
    "clearance.toml": "clearance.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init(directory: Path) -> None:
    """Make an example project in DIRECTORY (default: here); nothing is ever overwritten."""
    taken = [name for name in FILES if (directory / name).exists() or (directory / name).is_symlink()]
    if taken:
        raise UsageError(f"{directory} has {', '.join(taken)} already, nothing was written: name another directory")
    source = resources.files("clearance.cli") / "example"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, original in FILES.items():
            with (directory / name).open("x") as file:
                file.write((source / original).read_text())
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    place = "" if directory.resolve() == Path.cwd() else f"cd {directory} && "
    click.echo(f"wrote {', '.join(FILES)}\nnext: {place}clearance run pipeline.py")
