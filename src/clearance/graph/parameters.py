"""The parameters of a DAG: what a person may set when a run is started.

A value comes from Python, from JSON or as text of the command line (`-p limit=100`). It is checked by the
annotation first as it is; text that does not fit is then read as the type it should be, or as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from clearance.errors import GraphError, nearest
from clearance.graph.annotations import members, show
from clearance.graph.constants import NoConstant, plain, value_of
from clearance.graph.signature import MISSING, Signature
from clearance.types.secret import Secret


@dataclass(frozen=True)
class Parameter:
    """One parameter of a DAG.

    Attributes:
        name: how a person addresses it: `lr`, or `train.lr` where several tasks have an `lr`.
        annotation: its type.
        default: the value without one; `MISSING` where it is required.
        targets: `(task id, parameter)` of each node it sets; empty for a parameter of an `@dag` function.
    """

    name: str
    annotation: Any
    default: Any = MISSING
    targets: tuple[tuple[str, str], ...] = ()

    @property
    def required(self) -> bool:
        """True where a run cannot start without a value."""
        return self.default is MISSING

    @property
    def type(self) -> str:
        """The type as a person writes it."""
        return show(self.annotation)

    def convert(self, value: Any, dag: str) -> Any:
        """Returns the value as the annotated type.

        Raises:
            GraphError: the value is not of that type.
        """
        try:
            return value_of(plain(value, self.annotation), self.annotation)
        except NoConstant as error:
            problem = error
        if Secret in members(self.annotation):  # what was given may be the secret itself: it is not repeated
            raise GraphError(
                f"dag {dag!r}: parameter {self.name!r} is a secret: give a reference, env:NAME, file:/path, "
                "keyring:service#user or vault:path#field"
            )
        if isinstance(value, str):
            for data in _readings(value):
                try:
                    read = value_of(data, self.annotation, strict=False)
                    return value_of(plain(read, self.annotation), self.annotation)
                except NoConstant:
                    continue
            shown = value if len(value) <= 60 else value[:57] + "..."
            raise GraphError(f"dag {dag!r}: parameter {self.name!r} wants {self.type}, not {shown!r}")
        raise GraphError(f"dag {dag!r}: parameter {self.name!r}: {problem}")


def _readings(text: str) -> Iterable[Any]:
    yield text
    try:
        yield msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return


def check_names(dag: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Checks that each name is known.

    Raises:
        GraphError: an unknown name; says the nearest, or for a bare name that several tasks have, the full ones.
    """
    for name in given:
        if name in known:
            continue
        full = [other for other in known if other.endswith("." + name)]
        if full:
            raise GraphError(f"dag {dag!r}: parameter {name!r} is in several tasks: say {' or '.join(full)}")
        has = f"it has {', '.join(known)}" if known else "it has none"
        hint = nearest(name, known)
        raise GraphError(f"dag {dag!r}: parameter {name!r} is unknown{hint or ': ' + has}")


def of_function(signature: Signature) -> dict[str, Parameter]:
    """Returns the parameters of a graph function or flow; without an annotation a simple default says the type."""
    found = {}
    for name, annotation in signature.annotations.items():
        default = signature.defaults.get(name, MISSING)
        if annotation is Any and isinstance(default, (bool, int, float, str)):
            annotation = type(default)
        found[name] = Parameter(name, annotation, default)
    return found


def filled(known: Mapping[str, Parameter], given: Mapping[str, Any], dag: str, where: str) -> dict[str, Any]:
    """Returns a value for each parameter: what was given, converted, or the default.

    Args:
        known: every parameter.
        given: values, or text that is read by the parameter's type.
        dag: id of the DAG.
        where: how an error names it, for example `dag 'search' (search.py:7)`.

    Raises:
        GraphError: an unknown name, a value of another type, or none where there is no default.
    """
    check_names(dag, given, known)
    values = {name: known[name].convert(value, dag) for name, value in given.items()}
    for name, one in known.items():
        if name not in values:
            if one.required:
                raise GraphError(f"{where}: parameter {name!r} ({one.type}) is missing")
            values[name] = one.default
    return values


def json_of(value: Any, annotation: Any) -> Any:
    """Returns a value as the graph records it; what has no JSON form, as its text."""
    try:
        return plain(value, annotation)
    except NoConstant:
        return repr(value)
