"""How a value becomes bytes and back, chosen by its type; never a pickle.

| value | serializer | bytes |
|---|---|---|
| bool, int, float, str, datetimes, UUID, Decimal, enums, dataclasses, Structs, containers of these | `json` | JSON |
| the same with NaN or infinite floats, bytes, or keys that are no text | `msgpack` | msgpack |
| `numpy.ndarray` (no object dtype) | `npy` | NumPy's format 1.0 and up |
| `torch.Tensor`, a dict of tensors by name | `safetensors` | on the CPU, without gradients; shared storage is copied |
| `pyarrow.Table`, `pandas.DataFrame` | `parquet` | Parquet |
| `File`, `pathlib.Path` of a file | `file` | the file's own |
| `Tree`, `Dataset`, `Model` | `tree`, `dataset`, `model` | a manifest (`store.tree`), each file a blob |
| `Endpoint` | `endpoint` | JSON |
| `Markdown`, `HTML`, `Image`, a matplotlib figure | `card` | JSON; a figure as PNG |
| a list, tuple or dict by name that holds any of the last eight | `composite` | its members' artifacts, as JSON |
| what `register_serializer` was told | its name | its own |

The annotation of whoever reads decides what JSON becomes: without one, a tuple arrives as a list and a date as text.
A dict keeps its order, unless a set is near, which is sorted so that equal values have equal digests.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from clearance.errors import ClearanceError, Corrupt, MissingExtra, NotSerialisable, StoreError, UsageError
from clearance.store import cards, plain, tree
from clearance.store.blobs import Blobs
from clearance.types import serialisable
from clearance.types.artifact import INLINE_LIMIT, Artifact
from clearance.types.card import Card
from clearance.types.digest import Digest, digest_of, hex_of
from clearance.types.references import Dataset, Endpoint, File, Model, Tree
from clearance.types.serialisable import qualified

T = TypeVar("T")


class _Custom(NamedTuple):
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


_CUSTOM: dict[str, _Custom] = {}
_OWN = frozenset(serialisable.SERIALISERS.values()) | {"composite"}
_TREES: dict[str, type[Tree]] = {"tree": Tree, "dataset": Dataset, "model": Model}
_EXTRA = {"npy": ("numpy", "data"), "parquet": ("pyarrow", "data"), "safetensors": ("safetensors with torch", "train")}
_CONTAINERS = {list, tuple, dict}


class _Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member of a composite; `key` is empty in a list or tuple; no artifact stands for None."""

    artifact: Artifact | None
    key: str = ""


class _Composite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: typing.Literal["list", "tuple", "dict"]
    members: tuple[_Member, ...]


def register_serializer(kind: type[T], name: str, dump: Callable[[T], bytes], load: Callable[[bytes], T]) -> None:
    """Teaches Clearance to carry a type between tasks. Call it in a module that every pipeline file imports.

    Args:
        kind: the type; its subclasses are written the same way.
        name: short name of the format, recorded with each artifact; not one of Clearance's own.
        dump: turns a value into bytes. Equal values should give equal bytes, for the cache.
        load: the inverse; it must not run code that stands in the bytes.

    Raises:
        UsageError: the type or the name is taken.
    """
    if name in _OWN:
        raise UsageError(f"the serializer name {name!r} is Clearance's own: choose another")
    type_name = qualified(kind)
    known = {other for other, serializer in serialisable.SERIALISERS.items() if serializer == name}
    if known - {type_name}:
        raise UsageError(f"the serializer name {name!r} is taken by {min(known)}: choose another")
    serialisable.register(type_name, name)
    _CUSTOM[name] = _Custom(dump, load)


def dump(value: Any, annotation: Any, blobs: Blobs, directory: Path) -> Artifact | None:
    """Writes a value; None has no artifact.

    Args:
        value: what a task returned.
        annotation: the evaluated return annotation, or `typing.Any`; plain data is checked against it.
        blobs: where bytes beyond `INLINE_LIMIT` go.
        directory: the attempt's own directory: files in it are taken over instead of copied, and
            temporary files are made in it.

    Raises:
        NotSerialisable: the value's type has no serializer, or the value does not fit its annotation.
        StoreError: a file or a tree cannot be read or kept.
    """
    if value is None:
        return None
    name = _serializer_of(value)
    kind = qualified(type(value))
    if name in plain.NAMES:
        name, data = plain.encode(value, _annotation_for(value, annotation), kind)
        return _keep(data, name, kind, blobs)
    if name == "composite":
        return _dump_composite(value, annotation, blobs, directory)
    if name in _TREES:
        return _dump_tree(value, name, blobs, directory)
    if name == "file":
        return _dump_file(value, blobs, directory)
    if name == "card":
        data, metadata = cards.dump(value)
        return _keep(data, name, kind, blobs, metadata)
    if name == "endpoint":
        return _keep(msgspec.json.encode(value), name, kind, blobs)
    if name in _CUSTOM:
        data = _CUSTOM[name].dump(value)
        if not isinstance(data, bytes):
            raise NotSerialisable(f"the dump function of serializer {name!r} gave {type(data).__name__}: return bytes")
        return _keep(data, name, kind, blobs)
    return _dump_array(value, name, kind, blobs, directory)


def load(artifact: Artifact, annotation: Any, blobs: Blobs, directory: Path) -> Any:
    """Reads a value; all bytes are verified against their digests.

    Args:
        artifact: what `dump` returned.
        annotation: the evaluated annotation of the parameter, or `typing.Any`.
        blobs: where the bytes lie.
        directory: where files and trees are made, each in a new folder of its own, read-only.

    Raises:
        Corrupt: bytes do not have their digest, or are not what the serializer writes.
        NotSerialisable: plain data does not fit the annotation, or the serializer is unknown here.
        MissingExtra: the library that reads this format is not installed.
        StoreError: a blob is missing.
    """
    name = artifact.serializer
    if name in plain.NAMES:
        return plain.decode(read_bytes(artifact, blobs), name, annotation)
    if name == "composite":
        return _load_composite(artifact, annotation, blobs, directory)
    if name in _TREES:
        wanted = [kind for kind in _alternatives(annotation) if isinstance(kind, type) and issubclass(kind, Tree)]
        if wanted and not issubclass(_TREES[name], tuple(wanted)):
            raise NotSerialisable(
                f"the value is a {_TREES[name].__name__} and the parameter wants a {wanted[0].__name__}: "
                "annotate what the upstream task returns"
            )
        target = _folder(directory, artifact.digest)
        tree.materialise_tree(tree.decode(read_bytes(artifact, blobs)), blobs, target)
        return _TREES[name](target, artifact.digest, dict(artifact.metadata))
    if name == "file":
        return _load_file(artifact, annotation, blobs, directory)
    if name == "card":
        return _fitting_card(load_card(artifact, blobs), annotation)
    if name == "endpoint":
        return _decode(read_bytes(artifact, blobs), Endpoint)
    if name in _CUSTOM:
        return _CUSTOM[name].load(read_bytes(artifact, blobs))
    if name in _EXTRA:
        return _load_array(artifact, annotation, blobs, directory)
    raise NotSerialisable(
        f"no serializer {name!r} is known in this process: call clearance.register_serializer in a module that "
        "the pipeline imports"
    )


def reachable(artifact: Artifact, blobs: Blobs) -> set[Digest]:
    """Returns the digests of every blob that reading the artifact needs."""
    found = set() if artifact.inline is not None else {artifact.digest}
    if artifact.serializer in _TREES:
        found.update(entry.digest for entry in tree.decode(read_bytes(artifact, blobs)).entries)
    elif artifact.serializer == "composite":
        for member in _decode(read_bytes(artifact, blobs), _Composite).members:
            if member.artifact is not None:
                found |= reachable(member.artifact, blobs)
    for card in artifact.cards:
        found |= reachable(card, blobs)
    return found


def load_card(artifact: Artifact, blobs: Blobs) -> Card:
    """Reads a card, verified.

    Raises:
        Corrupt: as for `load`.
        StoreError: a blob is missing.
    """
    return cards.load(read_bytes(artifact, blobs))


def members(artifact: Artifact, blobs: Blobs) -> list[Artifact | None]:
    """Returns the artifacts of which a composite is made, in order.

    Raises:
        Corrupt: as for `load`.
        StoreError: a blob is missing.
    """
    return [member.artifact for member in _decode(read_bytes(artifact, blobs), _Composite).members]


def _fitting_card(card: Card, annotation: Any) -> Card:
    wanted = tuple(kind for kind in _alternatives(annotation) if isinstance(kind, type) and kind not in (Any, object))
    if wanted and not isinstance(card, wanted):
        raise NotSerialisable(
            f"the value is a card, {type(card).__name__}, and the parameter wants a {wanted[0].__name__}; "
            "a figure arrives as clearance.Image"
        )
    return card


def _serializer_of(value: Any) -> str:
    """Returns the serializer of a value by its type and, for a container, by what it holds."""
    kind = type(value)
    if (name := plain.special(kind)) is not None:
        return name
    if isinstance(value, dict) and value and all(_is_tensor(member) for member in value.values()):
        return "safetensors"
    if (kind in _CONTAINERS or isinstance(value, dict)) and _holds_special(value):
        return "composite"
    if plain.is_plain_type(kind):
        return "json"
    raise NotSerialisable(
        f"a value of type {qualified(kind)} cannot travel between tasks: return plain data or a dataclass, what "
        f"{', '.join(sorted(set(serialisable.SERIALISERS.values()) - set(plain.NAMES)))} can hold, or call "
        f"clearance.register_serializer({kind.__name__}, name, dump, load)"
    )


def _holds_special(value: Any) -> bool:
    """True when a list, tuple or dict holds, at any depth of these three, what plain data cannot carry."""
    members = value.values() if isinstance(value, dict) else value
    kinds = set(map(type, members))
    if any(plain.special(kind) is not None for kind in kinds):
        return True
    return bool(kinds & _CONTAINERS) and any(
        _holds_special(member) for member in members if type(member) in _CONTAINERS
    )


def _is_tensor(value: Any) -> bool:
    return any(qualified(base) == "torch.Tensor" for base in type(value).__mro__)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Returns the members of a union without None, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for member in typing.get_args(annotation) if member is not type(None))
    return (annotation,)


def _annotation_for(value: Any, annotation: Any) -> Any:
    return type(value) if annotation is Any and plain.is_record(type(value)) else annotation


def _keep(data: bytes, name: str, kind: str, blobs: Blobs, metadata: dict[str, Any] | None = None) -> Artifact:
    inline = data if len(data) <= INLINE_LIMIT else None
    digest = digest_of(data) if inline is not None else blobs.put_bytes(data)
    return Artifact(digest, len(data), name, kind, inline, metadata or {})


def read_bytes(artifact: Artifact, blobs: Blobs) -> bytes:
    """Returns the verified serialised bytes of an artifact; of a tree, its manifest.

    Raises:
        Corrupt: they do not have the artifact's digest.
        StoreError: the blob is missing.
    """
    if artifact.inline is None:
        return blobs.get_bytes(artifact.digest)
    if digest_of(artifact.inline) != artifact.digest:
        raise Corrupt(
            f"an inline value of type {artifact.type} does not have its digest {artifact.digest}: "
            "what the database holds was changed; clear the task that made it"
        )
    return artifact.inline


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Corrupt(f"stored bytes are no {kind.__name__}: {error}; clear the task that made them") from None


def _folder(directory: Path, digest: Digest) -> Path:
    """Returns a path in the directory that does not exist yet."""
    directory.mkdir(parents=True, exist_ok=True)
    short = hex_of(digest)[:16]
    number = 0
    while (target := directory / (f"{short}-{number}" if number else short)).exists():
        number += 1
    return target


def _owned(path: Path, directory: Path) -> bool:
    return path.is_relative_to(directory.resolve())


def _dump_tree(value: Tree, name: str, blobs: Blobs, directory: Path) -> Artifact:
    try:
        root = value.path.resolve(strict=True)
    except OSError as error:
        raise StoreError(f"cannot read the directory {value.path}: {error.strerror}") from None
    try:
        metadata = msgspec.json.decode(msgspec.json.encode(value.metadata, enc_hook=plain.lower))
    except (TypeError, ValueError) as error:
        raise NotSerialisable(f"the metadata of the {name} {value.path} is not JSON: {error}") from None
    manifest = tree.store_tree(root, blobs, move=_owned(root, directory))
    kept = _keep(tree.encode(manifest), name, qualified(type(value)), blobs, metadata)
    return msgspec.structs.replace(kept, size=manifest.size)


def _dump_file(value: File | Path, blobs: Blobs, directory: Path) -> Artifact:
    named = value.path if isinstance(value, File) else value
    try:
        path = named.resolve(strict=True)
    except OSError as error:
        raise StoreError(f"cannot read the file {named}: {error.strerror}") from None
    if path.is_dir():
        raise NotSerialisable(f"{named} is a directory: return clearance.Tree(path), Dataset(path) or Model(path)")
    try:
        named.name.encode()
    except UnicodeEncodeError:
        raise StoreError(f"the file name {named.name!r} is not UTF-8: rename it") from None
    digest, size = blobs.put_file(path, move=_owned(path, directory))
    return Artifact(digest, size, "file", qualified(type(value)), None, {"name": named.name})


def _load_file(artifact: Artifact, annotation: Any, blobs: Blobs, directory: Path) -> File | Path:
    name = artifact.metadata.get("name")
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        name = "file"
    folder = _folder(directory, artifact.digest)
    folder.mkdir()
    blobs.materialise(artifact.digest, folder / name)
    wanted = _alternatives(annotation)
    if any(isinstance(kind, type) and issubclass(kind, Path) for kind in wanted) and File not in wanted:
        return folder / name
    return File(folder / name, artifact.digest)


def _dump_array(value: Any, name: str, kind: str, blobs: Blobs, directory: Path) -> Artifact:
    from clearance.store import arrays

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f".{os.getpid()}-{os.urandom(6).hex()}.{name}"
    try:
        arrays.WRITE[name](value, path)
        if path.stat().st_size <= INLINE_LIMIT:
            return _keep(path.read_bytes(), name, kind, blobs)
        digest, size = blobs.put_file(path, move=True)
        return Artifact(digest, size, name, kind)
    except ImportError:
        raise MissingExtra(*_EXTRA[name]) from None
    finally:
        path.unlink(missing_ok=True)


def _load_array(artifact: Artifact, annotation: Any, blobs: Blobs, directory: Path) -> Any:
    from clearance.store import arrays

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f".{os.getpid()}-{os.urandom(6).hex()}.{artifact.serializer}"
    try:
        if artifact.inline is None:
            blobs.materialise(artifact.digest, path)
        else:
            path.write_bytes(read_bytes(artifact, blobs))
        kinds = {qualified(kind) for kind in _alternatives(annotation) if isinstance(kind, type)} or {artifact.type}
        return arrays.READ[artifact.serializer](path, kinds | {artifact.type} if annotation is Any else kinds)
    except ImportError:
        raise MissingExtra(*_EXTRA[artifact.serializer]) from None
    except ClearanceError:
        raise
    except Exception as error:
        raise Corrupt(
            f"the bytes of {artifact.digest} are no {artifact.serializer}: {error}; clear the task that made them"
        ) from None
    finally:
        path.unlink(missing_ok=True)


def _member_annotation(annotation: Any, container: type, position: int) -> Any:
    for kind in _alternatives(annotation):
        arguments = typing.get_args(kind)
        if not arguments or not isinstance(typing.get_origin(kind), type):
            continue
        if container is dict:
            return arguments[1] if len(arguments) == 2 else Any
        if typing.get_origin(kind) is tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
            return arguments[position] if position < len(arguments) else Any
        return arguments[0]
    return Any


def _dump_composite(value: Any, annotation: Any, blobs: Blobs, directory: Path) -> Artifact:
    kind = dict if isinstance(value, dict) else type(value)
    names = list(value) if kind is dict else [""] * len(value)
    if not all(isinstance(name, str) for name in names):
        raise NotSerialisable("a dict that holds arrays, tables, files or models must have text as keys: use str(key)")
    members = tuple(
        _Member(dump(member, _member_annotation(annotation, kind, position), blobs, directory), name)
        for position, (name, member) in enumerate(zip(names, value.values() if kind is dict else value, strict=True))
    )
    container = typing.cast(typing.Literal["list", "tuple", "dict"], kind.__name__)
    kept = _keep(msgspec.json.encode(_Composite(container, members)), "composite", qualified(kind), blobs)
    return msgspec.structs.replace(kept, size=sum(member.artifact.size for member in members if member.artifact))


def _load_composite(artifact: Artifact, annotation: Any, blobs: Blobs, directory: Path) -> Any:
    composite = _decode(read_bytes(artifact, blobs), _Composite)
    container = {"list": list, "tuple": tuple, "dict": dict}[composite.kind]
    origins = {typing.get_origin(kind) or kind for kind in _alternatives(annotation)}
    if container is list and tuple in origins and list not in origins:
        container = tuple
    elif container is tuple and list in origins and tuple not in origins:
        container = list
    values = [
        None
        if member.artifact is None
        else load(member.artifact, _member_annotation(annotation, container, position), blobs, directory)
        for position, member in enumerate(composite.members)
    ]
    if container is dict:
        return dict(zip([member.key for member in composite.members], values, strict=True))
    return container(values)
