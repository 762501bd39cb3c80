"""`group`: tasks that belong together; mapped, a copy of all of them for each element.

    @group
    def prepare(path: str, size: int = 64):
        return scale(clean(path), size)

    @dag
    def digits():
        train(prepare.partial(size=32).map(path=list_files()))

Rules:

1. A group that is called, or a `with group("prepare"):` block, only prefixes the ids of its tasks: `prepare.clean`.
2. A mapped group is a node of the graph with its tasks standing in it once; a run makes the copies. In a copy,
   `scale` waits for `clean` of the same copy alone.
3. Outside, the result of a task of a mapped group is the list of what its copies returned, in order.
4. Groups may stand in groups, and mapped tasks in mapped groups, to any depth.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from clearance.errors import GraphError, nearest
from clearance.graph.annotations import show
from clearance.graph.build import Declaration
from clearance.graph.definition import Definition, current
from clearance.graph.mapping import map_over, split_limit
from clearance.graph.options import check_id
from clearance.graph.origin import Origin, Site, call_site, origin_of
from clearance.graph.signature import Signature, signature_of
from clearance.graph.step import Item, Step
from clearance.graph.wiring import Flow


class Group:
    """A function that calls tasks, and the name that goes before theirs; made by `@group`, never changed.

    Attributes:
        id: what goes before the ids of its tasks: the function's name, unless it was named.
        function: the plain function.
        signature: what it takes.
    """

    not_beside = "call it in an @dag function, and join what it returns"

    def __init__(
        self,
        function: Callable[..., Any],
        origin: Origin,
        signature: Signature,
        name: str,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.id = check_id(name, "group")
        self.function = function
        self.signature = signature
        self._origin = origin
        self._fixed = dict(fixed or {})
        self.__wrapped__ = function
        self.__name__ = name
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<group {self.id!r} ({self._origin.site})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        definition = current()
        if definition is None:
            return self.function(*args, **{**self._fixed, **kwargs})
        with _block(definition, self.id) as flow:
            made = self.function(*args, **{**self._fixed, **kwargs})
        return flow if made is None else made

    def named(self, name: str) -> Group:
        """Returns the same group under another id.

        Raises:
            GraphError: an id that is not allowed.
        """
        return Group(self.function, self._origin, self.signature, name, self._fixed)

    def partial(self, **fixed: Any) -> Group:
        """Returns the same group with some parameters fixed to constants or steps.

        Raises:
            GraphError: an unknown parameter, or one that is fixed already.
        """
        self._check_names(fixed, call_site()[0])
        return Group(self.function, self._origin, self.signature, self.id, {**self._fixed, **fixed})

    def map(self, **over: Any) -> Any:
        """Makes a copy of the group for each element of a list; several lists are zipped.

        Args:
            **over: by parameter name: a list, a tuple, a range, or a step that returns a list. `concurrency`, where
                no parameter is called so: how many copies may be open at the same time.

        Returns:
            What the function returns: steps, whose results are lists outside of the group; else a step to join.

        Raises:
            GraphError: outside of an `@dag` function; nothing to map over; a value that is no list; lists of
                different lengths; a parameter that nothing fills.
        """
        return self._mapped(over, product=False)

    def product(self, **over: Any) -> Any:
        """Makes a copy of the group for every combination of elements; as `map`, the last list varies fastest."""
        return self._mapped(over, product=True)

    def _mapped(self, given: Mapping[str, Any], product: bool) -> Any:
        site = call_site()[0]
        definition = current()
        if definition is None:
            raise GraphError(f"group {self.id!r} ({site}): a group is mapped in an @dag function")
        over, copies = split_limit(given, self.signature.names)
        if not over:
            raise GraphError(f"group {self.id!r} ({site}): map() needs a list, for example .map(path=['a', 'b'])")
        self._check_names(over, site)
        for name in self.signature.required:
            if name not in over and name not in self._fixed:
                raise GraphError(f"group {self.id!r} ({site}): parameter {name!r} has no value: fix it by .partial")
        declaration = self._declaration(definition, over, site)
        declaration.product, declaration.copies = product, copies
        map_over(declaration, over, definition)
        definition.add(declaration)
        items = {name: Item(declaration, name) for name in over}
        before = len(definition.declarations)
        with _block(definition, self.id, declaration.id):
            made = self.function(**self._fixed, **items)
        if len(definition.declarations) == before:
            raise GraphError(f"{declaration.where} calls no task")
        return self._handle(made, declaration, definition)

    def _declaration(self, definition: Definition, over: Mapping[str, Any], site: Site) -> Declaration:
        id = definition.prefix + self.id
        annotations = {name: self.signature.annotations[name] for name in over}
        signature = Signature(f"group {id!r} ({site})", annotations, None)
        return Declaration(id, signature, site=site, source=self._origin.site, group=definition.group, is_group=True)

    def _handle(self, made: Any, declaration: Declaration, definition: Definition) -> Any:
        """Returns what stands outside for what the function returned inside."""
        if made is None or isinstance(made, Flow):
            return Step(declaration, definition)
        if type(made) in (list, tuple):
            return type(made)(self._handle(one, declaration, definition) for one in made)
        if isinstance(made, Step) and made.declare(definition).id.startswith(declaration.id + "."):
            return made
        kind = "an element" if isinstance(made, Item) else "a step from outside" if isinstance(made, Step) else None
        raise GraphError(
            f"{declaration.where} returns {kind or show(type(made))}: return a step of the group, a tuple of them, "
            "or nothing"
        )

    def _check_names(self, given: Mapping[str, Any], site: Site) -> None:
        for name in given:
            if name not in self.signature.names:
                near = nearest(name, self.signature.names)
                raise GraphError(f"group {self.id!r} ({site}): parameter {name!r} is unknown{near}")
            if name in self._fixed:
                raise GraphError(f"group {self.id!r} ({site}): parameter {name!r} is fixed by .partial already")

    def __rshift__(self, other: Any) -> NoReturn:
        raise GraphError(f"group {self.id!r} stands beside >> but is no task: {self.not_beside}")

    __rrshift__ = __rshift__


@contextmanager
def _block(definition: Definition, name: str, mapped: str = "") -> Iterator[Flow]:
    """Prefixes what is declared in the block; the flow has its first and last tasks when the block has ended."""
    flow = Flow((), (), (), ((), ()))
    before = len(definition.declarations)
    with definition.inside(name, mapped):
        yield flow
    made = definition.declarations[before:]
    ids = {one.id for one in made}
    followed = {name for one in made for name in one.upstream}
    flow.first = tuple(Step(one, definition) for one in made if not ids & one.upstream.keys())
    flow.last = tuple(Step(one, definition) for one in made if one.id not in followed)


def group(first: Any = None, /, *, name: str | None = None) -> Any:
    """Makes a function a group (`@group`, `@group(name="prepare")`), or opens a block: `with group("prepare"):`.

    Args:
        first: the function, or the name of a block, which stands in an `@dag` function.
        name: what goes before the ids of its tasks, default the function's name.

    Returns:
        A `Group`, a decorator that makes one, or a context manager whose value can be joined with `>>`.

    Raises:
        GraphError: neither, or a name that is not allowed.
    """
    if isinstance(first, str):
        definition = current()
        if definition is None:
            raise GraphError(f"{call_site()[0]}: a block of group {first!r} stands in an @dag function")
        return _block(definition, check_id(first, "group"))
    if first is None:
        return lambda function: _make(function, name)
    return _make(first, name)


def _make(function: Any, name: str | None) -> Group:
    if not inspect.isroutine(function):
        raise GraphError(f"@group wants a function, not {show(type(function))}")
    origin = origin_of(function)
    name = name or function.__name__
    return Group(function, origin, signature_of(function, f"group {name!r} ({origin.site})"), name)
