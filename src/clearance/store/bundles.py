"""Source bundles in the home: the zip by digest, and beside it the same files unpacked, ready to be imported."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path

from clearance.errors import Corrupt
from clearance.types.digest import digest_of, hex_of, parse_digest


def keep(digest: str, data: bytes, home: Path) -> Path:
    """Unpacks a bundle into `home/bundles/<hex>`, whole or not at all; keeps the zip as `<hex>.zip`.

    Args:
        digest: sha256 of the zip.
        data: the zip.
        home: of the installation.

    Returns:
        The folder with the files.

    Raises:
        Corrupt: the bytes have another digest, or an entry would leave the folder.
    """
    parse_digest(digest)
    folder = home / "bundles" / hex_of(digest)  # type: ignore[arg-type]
    if folder.is_dir():
        return folder
    if digest_of(data) != digest:
        raise Corrupt(f"a bundle said to be {digest} is {digest_of(data)}: make it again")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    try:
        inside = scratch / "bundle"
        inside.mkdir()
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for entry in archive.infolist():
                target = (inside / entry.filename).resolve()
                if entry.is_dir() or not target.is_relative_to(inside.resolve()):
                    raise Corrupt(f"bundle entry {entry.filename!r} is no plain file inside it: make it again")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(entry))
        archived = scratch / "bundle.zip"
        archived.write_bytes(data)
        os.replace(archived, folder.with_suffix(".zip"))
        try:
            os.rename(inside, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
