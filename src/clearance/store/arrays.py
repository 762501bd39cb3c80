"""Arrays, tensors and tables as files of their field's own format; none of them can hold code.

Each writer takes (value, path) and each reader (path, the qualified names of the types that are wanted).
Imported only when such a value travels, since these libraries are slow to import.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clearance.errors import NotSerialisable
from clearance.types.serialisable import qualified

_ONE = "clearance.tensor"


def _write_npy(value: Any, path: Path) -> None:
    import numpy

    if type(value) not in (numpy.ndarray, numpy.memmap):
        raise NotSerialisable(f"{qualified(type(value))} would lose what it adds to an array: return numpy.asarray(…)")
    if value.dtype.hasobject:
        raise NotSerialisable("an array of dtype object needs a pickle, which is refused: give it a numeric dtype")
    with path.open("xb") as file:
        numpy.save(file, value, allow_pickle=False)


def _read_npy(path: Path, kinds: set[str]) -> Any:
    import numpy

    return numpy.load(path, allow_pickle=False)


def _write_safetensors(value: Any, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    single = isinstance(value, torch.Tensor)
    named = {"tensor": value} if single else value
    if not all(isinstance(name, str) for name in named):
        raise NotSerialisable("a dict of tensors must have text as keys: use str(key)")
    tensors: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in named.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise NotSerialisable(f"tensor {name!r} is sparse, quantised or without data: return it as dense tensors")
        dense = tensor.detach().to("cpu").contiguous()
        if dense.numel() and dense.untyped_storage().data_ptr() in seen:
            dense = dense.clone()
        seen.add(dense.untyped_storage().data_ptr())
        tensors[name] = dense
    try:
        save_file(tensors, path, metadata={_ONE: "1"} if single else None)
    except (KeyError, RuntimeError, ValueError) as error:
        raise NotSerialisable(f"the tensors cannot be written as safetensors: {error}") from None


def _read_safetensors(path: Path, kinds: set[str]) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        single = _ONE in (file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors["tensor"] if single else tensors


def _write_parquet(value: Any, path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        table = value if isinstance(value, pyarrow.Table) else pyarrow.Table.from_pandas(value)
        parquet.write_table(table, path)
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise NotSerialisable(f"the table cannot be written as Parquet: {error}") from None


def _read_parquet(path: Path, kinds: set[str]) -> Any:
    from pyarrow import parquet

    table = parquet.read_table(path, memory_map=False, use_threads=False)
    if any("DataFrame" in kind for kind in kinds):
        return table.to_pandas()
    return table


WRITE: dict[str, Callable[[Any, Path], None]] = {
    "npy": _write_npy,
    "safetensors": _write_safetensors,
    "parquet": _write_parquet,
}
READ: dict[str, Callable[[Path, set[str]], Any]] = {
    "npy": _read_npy,
    "safetensors": _read_safetensors,
    "parquet": _read_parquet,
}
