"""`@task`: a function that becomes a node of a DAG.

Called anywhere else a task is just its function. Called inside an `@dag` function it declares a node and
returns a `Step`. Standing bare beside `>>` it is the node whose id is its name.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from clearance.errors import GraphError, nearest
from clearance.graph.annotations import show
from clearance.graph.build import Declaration
from clearance.graph.constants import NoConstant
from clearance.graph.definition import Definition, current
from clearance.graph.duration import seconds as duration
from clearance.graph.flowing import Future, caller
from clearance.graph.mapping import map_over, split_limit
from clearance.graph.options import Options, check_id, options
from clearance.graph.origin import Origin, Site, call_site, origin_of
from clearance.graph.retry import Retry
from clearance.graph.schedule import Asset
from clearance.graph.signature import Signature, signature_of
from clearance.graph.step import Step, bind
from clearance.graph.wiring import Joinable
from clearance.types.resources import Resources

P = ParamSpec("P")
R = TypeVar("R")

_NO_NAME = object()


class Task(Joinable, Generic[P, R]):
    """A function and how it runs; made by `@task`, never changed.

    Attributes:
        id: id of the node it becomes: the function's name, unless it was named.
        function: the plain function.
        options: retries, timeout, resources and the rest.
        origin: where the function was defined.
        signature: what it takes and returns.
    """

    def __init__(
        self,
        function: Callable[P, R],
        origin: Origin,
        signature: Signature,
        how: Options,
        name: str,
        fixed: Mapping[str, Any] | None = None,
        mapped: Mapping[str, Any] | None = None,
        product: bool = False,
        copies: int = 0,
    ) -> None:
        self.id = name
        self.function = function
        self.origin = origin
        self.options = how
        self.signature = signature
        self._fixed = dict(fixed or {})
        self._mapped = dict(mapped or {})
        self._product = product
        self._copies = copies
        self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", name)
        self.__qualname__ = origin.name
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<{self.where}>"

    @property
    def where(self) -> str:
        """How an error names it: `task 'train' (digits.py:31)`."""
        return f"task {self.id!r} ({self.origin.site})"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        definition = current()
        if definition is not None:
            return cast(R, self._step(definition, args, kwargs))
        if self._mapped:
            raise GraphError(f"{self.where} is mapped: a mapped task runs only in a dag")
        if caller() is not None:
            return cast(R, self.submit(*args, **kwargs).result())
        return self.function(*args, **{**self._fixed, **kwargs})

    @property
    def mapped(self) -> bool:
        """Whether it is mapped."""
        return bool(self._mapped)

    def declaration(self, definition: Definition) -> Declaration:
        """Returns a declaration that the definition does not hold."""
        return self._declaration(definition, (), {}, self.origin.site)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future:
        """Begins a step in a running flow and returns at once, if the task runs in a process of its own.

        Raises:
            GraphError: no flow runs here, or an argument that the task does not have.
        """
        making = caller()
        site = call_site()[0]
        if making is None:
            raise GraphError(f"task {self.id!r} ({site}): submit() is for flows: write @flow on the function around it")
        given = self._named_arguments(args, kwargs, site)
        self._check_names(given, site)
        arguments = {**self._fixed, **given}
        for name in self.signature.required:
            if name not in arguments:
                raise GraphError(f"task {self.id!r} ({site}): parameter {name!r} is missing")
        return making.submit(self, arguments)

    def named(self, name: str) -> Task[P, R]:
        """Returns the same task as a node with another id.

        Raises:
            GraphError: an id that is not allowed.
        """
        return self._copy(name=check_id(name))

    def expect(self, seconds: float | str) -> Task[P, R]:
        """Returns the same task with a hint of how long it takes, in seconds or as `"10m"`."""
        return self._copy(how=replace(self.options, expect=duration(seconds, "expect")))

    def partial(self, **fixed: Any) -> Task[..., R]:
        """Returns the same task with some parameters fixed to constants or steps.

        Raises:
            GraphError: an unknown parameter, or one that is fixed already.
        """
        self._check_names(fixed, call_site()[0])
        return self._copy(fixed={**self._fixed, **fixed})

    def map(self, **over: Any) -> Any:
        """Runs the task once for each element of a list; several lists are zipped.

        Args:
            **over: by parameter name: a list, a tuple, a range, or a step that returns a list. `concurrency`, where
                no parameter is called so: how many of them may run at the same time.

        Returns:
            Inside an `@dag` function a step, whose result is the list of results; in a running flow that list; else
            a task for `>>`.

        Raises:
            GraphError: nothing to map over, a value that is no list, or lists of different lengths.
        """
        return self._map(over, product=False)

    def product(self, **over: Any) -> Any:
        """Runs the task once for every combination of elements; as `map`, the last list varies fastest."""
        return self._map(over, product=True)

    def _map(self, over: Mapping[str, Any], product: bool) -> Any:
        site = call_site()[0]
        lists, copies = split_limit(over, self.signature.names)
        if not lists:
            raise GraphError(f"task {self.id!r} ({site}): map() needs a list, for example .map(lr=[1e-4, 1e-3])")
        if self._mapped:
            raise GraphError(f"task {self.id!r} ({site}) is mapped already: name every list in one .map or .product")
        self._check_names(lists, site)
        definition = current()
        if definition is None and caller() is not None:
            return self._each(lists, product, copies, site)
        made = self._copy(mapped=lists, product=product, copies=copies)
        return made if definition is None else made._step(definition, (), {})

    def _each(self, over: Mapping[str, Any], product: bool, copies: int, site: Site) -> list[Any]:
        """Runs a step for each element of lists in a running flow, and returns what they return, in order."""
        for name, value in over.items():
            if not isinstance(value, (list, tuple, range)):
                raise GraphError(f"task {self.id!r} ({site}): parameter {name!r} is mapped over what is no list")
        if not product and len({len(value) for value in over.values()}) > 1:
            counts = ", ".join(f"{name} has {len(value)}" for name, value in over.items())
            raise GraphError(f"task {self.id!r} ({site}): mapped lists differ in length: {counts}")
        rows = itertools.product(*over.values()) if product else zip(*over.values(), strict=True)
        found: list[Any] = []
        begun: deque[Future] = deque()
        for row in rows:
            if copies and len(begun) == copies:
                found.append(begun.popleft().result())
            begun.append(self.submit(**dict(zip(over, row, strict=True))))  # type: ignore[call-arg]
        return found + [future.result() for future in begun]

    def declare(self, definition: Definition) -> Declaration:
        found = definition.bare(self)
        if found is None:
            found = self._declaration(definition, (), {}, self.origin.site)
            definition.add_bare(self, found)
        return found

    def _copy(
        self,
        name: str | None = None,
        how: Options | None = None,
        fixed: Mapping[str, Any] | None = None,
        mapped: Mapping[str, Any] | None = None,
        product: bool | None = None,
        copies: int | None = None,
    ) -> Task[P, R]:
        return Task(
            self.function,
            self.origin,
            self.signature,
            how or self.options,
            name or self.id,
            self._fixed if fixed is None else fixed,
            self._mapped if mapped is None else mapped,
            self._product if product is None else product,
            self._copies if copies is None else copies,
        )

    def _check_names(self, given: Iterable[str], site: Site) -> None:
        for name in given:
            if name not in self.signature.names:
                raise GraphError(
                    f"task {self.id!r} ({site}): parameter {name!r} is unknown{nearest(name, self.signature.names)}"
                )
            if name in self._fixed or name in self._mapped:
                how = "fixed by .partial" if name in self._fixed else "mapped"
                raise GraphError(f"task {self.id!r} ({site}): parameter {name!r} is {how} already")

    def _step(self, definition: Definition, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Step:
        declaration = self._declaration(definition, args, kwargs, call_site()[0])
        definition.add(declaration)
        return Step(declaration, definition)

    def _declaration(
        self,
        definition: Definition,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        site: Site,
    ) -> Declaration:
        given = self._named_arguments(args, kwargs, site) if args else dict(kwargs)
        self._check_names(given, site)
        check_importable(self.origin, self.function, self.where)
        declaration = Declaration(
            definition.prefix + self.id, self.signature, self.origin.entry, site, self.origin.site, self.options,
            group=definition.group, product=self._product, copies=self._copies, origin=self.origin,
        )  # fmt: skip
        annotations = self.signature.annotations
        name = ""
        try:
            for name, value in {**self._fixed, **given}.items():
                declaration.inputs[name] = bind(value, annotations[name], definition, declaration.upstream)
        except NoConstant as error:
            raise GraphError(f"{declaration.where}: parameter {name!r}: {error}") from None
        if self._mapped:
            map_over(declaration, self._mapped, definition)
        return declaration

    def _named_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], site: Site) -> dict[str, Any]:
        names = self.signature.names
        if len(args) > len(names):
            raise GraphError(f"task {self.id!r} ({site}) takes {len(names)} arguments, but {len(args)} were passed")
        given = dict(zip(names, args, strict=False))
        for name in kwargs:
            if name in given:
                raise GraphError(f"task {self.id!r} ({site}): parameter {name!r} is passed twice")
        return {**given, **kwargs}


def check_importable(origin: Origin, function: Callable[..., Any], where: str) -> None:
    """Checks that an attempt, which imports the function by name, will find this one.

    Raises:
        GraphError: another process cannot find the function under its module and name.
    """
    if origin.path.startswith("<"):
        raise GraphError(f"{where} was typed in at a prompt: put it in a .py file, where a process can import it")
    found: Any = sys.modules.get(origin.module) or sys.modules.get(function.__module__)
    if found is None:
        return
    for part in origin.name.split("."):
        found = getattr(found, part, _NO_NAME)
    if found is not function and getattr(found, "function", None) is not function:
        raise GraphError(
            f"{where} cannot be imported: {origin.name!r} in {origin.site.file} is "
            f"{'missing' if found is _NO_NAME else 'something else'}; keep the function under its own name"
        )


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    retries: int | Retry = 0,
    timeout: float | str | None = None,
    resources: Resources | Mapping[str, Any] | None = None,
    gang: int = 1,
    preload: Iterable[str] = (),
    isolation: str | None = None,
    priority: int = 0,
    expect: float | str | None = None,
    trigger_rule: str | None = None,
    outlets: Asset | Iterable[Asset] = (),
    concurrency: int | None = None,
    pool: str = "",
    pool_slots: int = 1,
    queue: str = "",
    on_failure: Task[..., Any] | None = None,
    on_success: Task[..., Any] | None = None,
    deadline: float | str | None = None,
    cache: bool | float | str | None = None,
    version: str | int = "",
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(function: Any = None, /, *, name: str | None = None, **how: Any) -> Any:
    """Makes a function a task; used bare (`@task`) or with options (`@task(retries=3)`).

    Args:
        function: the function, at the top level of a file: an attempt imports it by name.
        name: id of its node, default the function's name.
        **how: `retries` (attempts after the first, or a `Retry`), `timeout` (seconds, "10m", "1h30m"),
            `resources` (`Resources` or a dict, for each process), `gang` (number of processes), `preload`
            (modules imported once before forking), `isolation` (`process`, `worker`, `inline`), `priority`
            (higher goes first), `expect` (about how long it takes), `trigger_rule` (whether it runs, by how the
            tasks before it ended: see `clearance.graph.trigger`), `concurrency` (how many of it may run at the same
            time, in all runs together), `pool` (a limit that tasks share by name: `clearance pool`), `pool_slots`
            (how much of it each instance takes), `queue` (of the scheduler, `root.ml.train`; default the DAG's, else
            as the placement rules say), `on_failure` and `on_success` (a task that runs when it has failed
            or succeeded: see `clearance.graph.handlers`), `deadline` (seconds since the run was made, "10m", after
            which it is late: an event, which ends nothing), `cache` (whether a result of before is taken where nothing
            that counts has changed; "7d" where it is not older), `version` (of its code, for what the code does not
            show).

    Returns:
        A `Task`, or a decorator that makes one.

    Raises:
        GraphError: an unknown option, a value that is none, or a function that cannot be a task.
    """
    if function is not None:
        return _make(function, name, how)
    return lambda inner: _make(inner, name, how)


def _make(function: Any, name: str | None, how: Mapping[str, Any]) -> Task[..., Any]:
    if isinstance(function, Task):
        raise GraphError(f"{function.where} is a task already: write @task once")
    if not callable(function) or not hasattr(function, "__qualname__"):
        raise GraphError(f"@task wants a function, not {show(type(function))}")
    origin = origin_of(function)
    where = f"task {name or getattr(function, '__name__', '')!r} ({origin.site})"
    if isinstance(function, type):
        raise GraphError(f"{where} is a class: make a function that returns one of it")
    if "<lambda>" in origin.name:
        raise GraphError(f"{where} is a lambda, which cannot be imported by name: write def")
    if "<locals>" in origin.name:
        raise GraphError(
            f"{where} is defined inside {origin.name.split('.<locals>')[0]!r} and cannot be imported by name: "
            "move it to the top level of the file"
        )
    plain = inspect.unwrap(function)
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        raise GraphError(f"{where} is async: write def, and call asyncio.run(…) in it")
    if inspect.isgeneratorfunction(plain):
        raise GraphError(f"{where} is a generator, its values cannot be stored: return a list")
    signature = signature_of(function, where)
    try:
        return Task(function, origin, signature, options(**how), check_id(name or function.__name__))
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
