"""The names of the types that can travel between tasks, and the serializer of each.

Names, not classes: the graph checks annotations against this table without importing numpy or torch;
`store.serializers` holds the code. A type that is not here (nor a dataclass, a `msgspec.Struct`, an enum or
a container of such) is refused when the task is defined. `register` adds one.
"""

from __future__ import annotations

from clearance.errors import UsageError

SERIALISERS: dict[str, str] = {
    "builtins.NoneType": "json",
    "builtins.bool": "json",
    "builtins.int": "json",
    "builtins.float": "json",
    "builtins.str": "json",
    "builtins.bytes": "msgpack",
    "builtins.bytearray": "msgpack",
    "builtins.list": "json",
    "builtins.tuple": "json",
    "builtins.dict": "json",
    "builtins.set": "json",
    "builtins.frozenset": "json",
    "datetime.datetime": "json",
    "datetime.date": "json",
    "datetime.time": "json",
    "datetime.timedelta": "json",
    "uuid.UUID": "json",
    "decimal.Decimal": "json",
    "typing.Any": "json",
    "numpy.ndarray": "npy",
    "torch.Tensor": "safetensors",
    "pyarrow.lib.Table": "parquet",
    "pyarrow.Table": "parquet",
    "pandas.DataFrame": "parquet",
    "pandas.core.frame.DataFrame": "parquet",
    "pathlib.Path": "file",
    "clearance.types.references.File": "file",
    "clearance.types.references.Tree": "tree",
    "clearance.types.references.Dataset": "dataset",
    "clearance.types.references.Model": "model",
    "clearance.types.references.Endpoint": "endpoint",
    "clearance.types.card.Markdown": "card",
    "clearance.types.card.HTML": "card",
    "clearance.types.card.Image": "card",
    "matplotlib.figure.Figure": "card",
}


def qualified(kind: type) -> str:
    """Returns `module.QualifiedName` of a type."""
    return f"{kind.__module__}.{kind.__qualname__}"


def register(type_name: str, serializer: str) -> None:
    """Says that values of the type are written by the named serializer.

    Raises:
        UsageError: the type has another serializer already.
    """
    if SERIALISERS.setdefault(type_name, serializer) != serializer:
        raise UsageError(f"{type_name} is written by {SERIALISERS[type_name]!r} already: register another type")
