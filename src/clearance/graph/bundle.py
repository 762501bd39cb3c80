"""The source bundle: a pipeline's own code as one content-addressed zip.

Rules:

1. It holds the file, every module under its root that it imports (see `imports`), and what
   `clearance.toml` at the root names in `[bundle] include = ["data/*.json"]`; nothing else.
2. Equal files give equal bytes: sorted names, one timestamp, two modes (0644, 0755), no compression.
3. Nothing from outside the root: a link that leads out is refused.
4. Files that look like secrets are left out of every pattern; only their exact name brings them in.
5. It is bounded: 64 MiB and 10,000 files. Big data belongs in a Dataset.
6. Unpacking is verified and atomic: a folder exists whole or not at all.
"""

from __future__ import annotations

import fnmatch
import io
import os
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clearance.errors import Corrupt, UsageError, nearest
from clearance.graph.file import check_file
from clearance.graph.imports import own_modules
from clearance.graph.origin import locate
from clearance.types.digest import Digest, digest_of

MOST_BYTES = 64 * 2**20
MOST_FILES = 10_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SECRETS = (
    ".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", ".netrc", ".pgpass", ".pypirc", ".npmrc", "credentials*", "secrets*", "*.kdbx", "kubeconfig*",
)  # fmt: skip
_NEVER = frozenset({".git", ".hg", ".svn", ".ssh", ".aws", ".gnupg", ".kube", ".venv", "__pycache__", ".clearance"})


@dataclass(frozen=True)
class Bundle:
    """A pipeline's code.

    Attributes:
        digest: of `data`.
        data: the zip.
        module: dotted name of the pipeline's module.
        root: the folder from which it was taken.
        files: names in it, sorted, relative to the root.
    """

    digest: Digest
    data: bytes
    module: str
    root: Path
    files: tuple[str, ...]


def make_bundle(file: Path) -> Bundle:
    """Reads a pipeline's own files into a bundle.

    Args:
        file: the pipeline.

    Raises:
        UsageError: the file is missing, a pattern names nothing, a link leads out of the root, or it is too big.
        GraphError: one of the files is not valid Python.
    """
    file = check_file(file)
    root, module = locate(file)
    found = {**own_modules(root, module), **_included(root)}
    names = sorted(found)
    if len(names) > MOST_FILES:
        raise UsageError(f"the bundle of {file.name} has {len(names)} files, more than {MOST_FILES}: narrow `include`")
    sizes = {name: _size(root, name, found[name]) for name in names}
    if (total := sum(sizes.values())) > MOST_BYTES:
        biggest = max(names, key=lambda name: sizes[name])
        raise UsageError(
            f"the bundle of {file.name} is {total / 2**20:.1f} MiB, more than {MOST_BYTES // 2**20} MiB "
            f"({biggest}: {sizes[biggest] / 2**20:.1f} MiB): leave data out of `include`, make it a Dataset"
        )
    data = _zip({name: found[name] for name in names})
    return Bundle(digest_of(data), data, module, root, tuple(names))


def unpack(data: bytes, directory: Path, digest: Digest | None = None) -> None:
    """Writes a bundle's files into a new folder; a folder that is there already is left as it is.

    Args:
        data: the zip.
        directory: appears whole or not at all; its parent is made.
        digest: what the zip's digest must be.

    Raises:
        Corrupt: another digest, no zip, a damaged file, or a name that leads out of the folder.
    """
    if digest is not None and digest_of(data) != digest:
        raise Corrupt(f"the bundle's digest is {digest_of(data)}, not {digest}: fetch it again")
    if directory.is_dir():
        os.utime(directory)  # it is wanted just now: whoever takes unused bundles away leaves it
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".bundle-", dir=directory.parent))
    try:
        _extract(data, scratch)
        scratch.chmod(0o755)
        try:
            os.rename(scratch, directory)
        except OSError:
            if not directory.is_dir():  # another process was first: its folder is the same
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(data: bytes, scratch: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            for entry in entries:
                target = scratch / entry.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source:
                    content = source.read(MOST_BYTES + 1)
                if len(content) != entry.file_size:
                    raise Corrupt(f"{entry.filename} in the bundle has not the size it declares")
                target.write_bytes(content)
                target.chmod(0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Corrupt(f"the bundle is no valid zip: {error}") from None


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name
        if unsafe or kind not in (0, stat.S_IFREG) or name in seen:
            raise Corrupt(
                f"the bundle holds {name!r}, which no bundle may: an absolute, outside, linked or double name"
            )
        seen.add(name)
    if sum(entry.file_size for entry in entries) > MOST_BYTES or len(entries) > MOST_FILES:
        raise Corrupt(f"the bundle unpacks to more than {MOST_BYTES // 2**20} MiB or {MOST_FILES} files")


def _zip(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, file in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()


def _size(root: Path, name: str, file: Path) -> int:
    if not file.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{name} is a link that leads out of {root}: copy the file, or install it as a distribution")
    return file.stat().st_size


def _included(root: Path) -> dict[str, Path]:
    """Returns what `[bundle] include` of the root's `clearance.toml` names, by relative path."""
    settings = root / "clearance.toml"
    found: dict[str, Path] = {}
    for pattern in _patterns(settings):
        literal = not any(sign in pattern for sign in "*?[")
        matches = [root / pattern] if literal else sorted(root.glob(pattern))
        count = 0
        for match in matches:
            for file in sorted(match.rglob("*")) if match.is_dir() else [match]:
                parts = file.relative_to(root).parts
                hidden = _NEVER.intersection(parts) or any(_secret(part) for part in parts)
                if not file.is_file() or (hidden and not (literal and file == match)):
                    continue
                found["/".join(parts)] = file
                count += 1
        if not count:
            raise UsageError(f"{settings}: [bundle] include names {pattern!r}, but there is no such file")
    return found


def _secret(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in _SECRETS) and not name.endswith(".py")


def _patterns(settings: Path) -> list[str]:
    if not settings.is_file():
        return []
    import tomllib

    try:
        table = tomllib.loads(settings.read_text()).get("bundle", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{settings}: {error}") from None
    if not isinstance(table, dict):
        raise UsageError(f'{settings}: bundle is {table!r}: write [bundle] and include = ["data/*.json"] below it')
    for key in table:
        if key != "include":
            raise UsageError(f"{settings}: unknown setting 'bundle.{key}'{nearest(key, ['include'])}")
    patterns = table.get("include", [])
    if not isinstance(patterns, list) or not all(isinstance(one, str) and one for one in patterns):
        raise UsageError(f"{settings}: bundle.include is {patterns!r}: write a list of patterns such as 'data/*.json'")
    for pattern in patterns:
        path = PurePosixPath(pattern)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{settings}: bundle.include names {pattern!r}: only what lies under {settings.parent}")
    return patterns
