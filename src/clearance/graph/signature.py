"""What a function takes and returns, read once and kept: the graph asks this, never the function.

Annotations are resolved when the graph is built, not when the task is defined, so that a name which is
defined further down in the file can be used.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from clearance.errors import GraphError, NotSerialisable
from clearance.graph.annotations import anything, show
from clearance.graph.serialisability import refusal, unserialisable

MISSING: Any = inspect.Parameter.empty


class Signature:
    """The parameters of a task and its return type.

    Args:
        where: how errors name the task, for example `task 'train' (digits.py:31)`.
        parameters: annotation of each parameter, in order.
        returns: annotation of the result.
        defaults: the default of each parameter that has one.
        function: where to read annotations from that are still text.

    Attributes:
        names: every parameter, in order.
        required: the parameters without a default, in order.
        defaults: default by name.
    """

    def __init__(
        self,
        where: str,
        parameters: Mapping[str, Any],
        returns: Any = Any,
        defaults: Mapping[str, Any] | None = None,
        function: Callable[..., Any] | None = None,
    ) -> None:
        self.where = where
        self.defaults = dict(defaults or {})
        self.names = tuple(parameters)
        self.required = tuple(name for name in parameters if name not in self.defaults)
        self._raw = dict(parameters)
        self._raw_returns = returns
        self._function = function
        self._resolved: dict[str, Any] | None = None
        self._returns: Any = None
        self._checked = False
        self._returns_name: str | None = None

    @property
    def annotations(self) -> dict[str, Any]:
        """The annotation of each parameter; `Any` where there is none."""
        if self._resolved is None:
            self._resolve()
        assert self._resolved is not None
        return self._resolved

    @property
    def returns(self) -> Any:
        """The annotation of the result; `Any` where there is none."""
        if self._resolved is None:
            self._resolve()
        return self._returns

    @property
    def returns_name(self) -> str:
        """The result's type by its qualified name; empty where there is no annotation."""
        if self._returns_name is None:
            self._returns_name = "" if anything(self.returns) else show(self.returns, full=True)
        return self._returns_name

    def check(self) -> None:
        """Raises `NotSerialisable` where a value could not travel; judged once."""
        if self._checked:
            return
        for name, annotation in self.annotations.items():
            self._check_one(f"parameter {name!r}", annotation)
        self._check_one("its result", self.returns)
        self._checked = True

    def _check_one(self, what: str, annotation: Any) -> None:
        try:
            bad = unserialisable(annotation)
        except GraphError as error:
            raise GraphError(f"{self.where}: {what}: {error}") from None
        if bad is not None:
            raise NotSerialisable(f"{self.where}: {what}: {refusal(bad, show(bad))}")

    def _resolve(self) -> None:
        raw = {**self._raw, "return": self._raw_returns}
        if any(_has_text(annotation) for annotation in raw.values()):
            raw = self._from_text(raw)
        self._returns = raw.pop("return")
        self._resolved = raw

    def _from_text(self, raw: dict[str, Any]) -> dict[str, Any]:
        function: Any = inspect.unwrap(self._function) if self._function else None
        try:
            hints = typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            raise GraphError(
                f"{self.where}: an annotation names {error.name!r}, which cannot be found: "
                "import or define it at the top level of the file, outside `if TYPE_CHECKING`"
            ) from None
        except Exception as error:
            raise GraphError(f"{self.where}: an annotation cannot be read: {error}") from None
        return {name: hints.get(name, annotation) for name, annotation in raw.items()}


def _has_text(annotation: Any) -> bool:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return False
    return isinstance(annotation, (str, typing.ForwardRef)) or any(map(_has_text, typing.get_args(annotation)))


def signature_of(function: Callable[..., Any], where: str) -> Signature:
    """Reads a function's signature.

    Raises:
        GraphError: a signature that the graph cannot fill by name (`*args`, `**kwargs`, positional-only),
            or a function that has none.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise GraphError(f"{where}: its signature cannot be read: wrap it in a Python function") from None
    parameters: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            star = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            raise GraphError(
                f"{where}: {star}{name} cannot be filled by the graph: name each parameter, "
                "or take one list or dict parameter"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise GraphError(f"{where}: parameter {name!r} is positional-only, tasks are called by name: drop the '/'")
        parameters[name] = Any if parameter.annotation is MISSING else parameter.annotation
        if parameter.default is not MISSING:
            defaults[name] = parameter.default
    returns = Any if signature.return_annotation is MISSING else signature.return_annotation
    return Signature(where, parameters, returns, defaults, function)
