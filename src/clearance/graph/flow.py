"""`@flow`: an imperative function in which every call of a task is a step, a checkpoint that is never done twice.

    @flow
    def search(limit: int = 10) -> float:
        images = download(limit)
        best = 0.0
        for lr in (1e-4, 3e-4, 1e-3):
            best = max(best, train(images, lr))
            if best > 0.98:
                break
        return best

When the process dies, the flow's function is called again from its first line; each step that had ended gives its
recorded result at once. That is sound as long as the function makes the same calls in the same order from the same
parameters and results, which is checked: a step that differs from the recorded one is an error.

A step runs in the flow's own process, unless its task asks for something of its own: an isolation, a gang, resources,
a timeout, modules to preload, a pool, outlets. Then it is a task instance that gets clearance, and `submit` lets
several run at the same time. In the graph a flow is one node; the tasks of the pipeline's modules stand beside it as
what it may call, and each step is an instance of one of them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import msgspec

from clearance.errors import GraphError
from clearance.graph.build import Declaration, build
from clearance.graph.caching import with_code
from clearance.graph.constants import plain
from clearance.graph.dag import Dag, Said
from clearance.graph.definition import current
from clearance.graph.flowing import caller
from clearance.graph.model import Graph, Node, Value
from clearance.graph.options import Options, options
from clearance.graph.origin import origin_of
from clearance.graph.parameters import Parameter, filled, json_of, of_function
from clearance.graph.signature import Signature, signature_of
from clearance.graph.task import Task, check_importable

_SAID = ("name", "doc", "schedule", "catchup")
_DEFAULT = Options()


class Flow(Dag):
    """A DAG of one node whose function calls tasks as it goes.

    Attributes:
        function: the plain function.
        options: retries, timeout, resources and the rest, of the flow's own process.
        signature: what it takes and returns.
    """

    not_beside = "a flow calls its tasks"

    def __init__(self, function: Callable[..., Any], name: str, said: Said, how: Options) -> None:
        origin = origin_of(function)
        super().__init__(name, said, origin.site, origin.path)
        where = f"flow {name!r} ({origin.site})"
        plain_function = inspect.unwrap(function)
        if "<locals>" in origin.name:
            raise GraphError(f"{where} is defined inside a function and cannot be imported: move it to the top level")
        if inspect.iscoroutinefunction(plain_function) or inspect.isgeneratorfunction(plain_function):
            raise GraphError(f"{where} is async or a generator: write a plain function; `submit` runs steps together")
        self.function = function
        self.options = how
        self.origin = origin
        self.signature = signature_of(function, where)
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.__qualname__ = origin.name
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        if self.schedule is not None and (required := self.signature.required):
            raise GraphError(
                f"{where} has a schedule, which fills no parameter: give {next(iter(required))!r} a default"
            )

    @property
    def parameters(self) -> dict[str, Parameter]:
        return of_function(self.signature)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            raise GraphError(
                f"flow {self.id!r} is called in a dag, which must know its tasks before it runs: run it on its own"
            )
        making = caller()
        if making is None:
            return self.function(*args, **kwargs)
        with making.inside(self.id):
            return self.function(*args, **kwargs)

    def graph(self, **parameters: Any) -> Graph:
        if current() is not None:
            raise GraphError(f"flow {self.id!r} is built inside a dag: run it on its own")
        known = self.parameters
        where = f"flow {self.id!r} ({self.site})"
        values = filled(known, parameters, self.id, where)
        check_importable(self.origin, self.function, where)
        own = Declaration(self.id, self.signature, self.origin.entry, self.site, self.site, self.options)
        own.origin = self.origin
        for name, value in values.items():
            own.inputs[name] = Value(plain(value, known[name].annotation))
        said = {name: json_of(value, known[name].annotation) for name, value in values.items()}
        graph = self._build([own], said)
        node, *handlers = graph.nodes
        steps = self._callable()
        nodes = (msgspec.structs.replace(node, flow=True), *steps.nodes, *handlers)
        return msgspec.structs.replace(graph, nodes=nodes, code={**graph.code, **steps.code})

    def tasks(self) -> dict[tuple[str, str], Task[..., Any]]:
        """Returns what the flow may call, by entry and id: the tasks at the top level of the pipeline's modules."""
        root = Path(self.path).parents[len(Path(self.site.file).parts) - 1]
        found: dict[tuple[str, str], Task[..., Any]] = {}
        modules = [sys.modules.get(self.function.__module__), *list(sys.modules.values())]
        for module in modules:
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(root):
                for value in vars(module).values():
                    if isinstance(value, Task):
                        found.setdefault((value.origin.entry, value.id), value)
        return found

    def _callable(self) -> Graph:
        """Returns a graph that holds a node for each task that the flow may call."""
        nodes: dict[str, Node] = {}
        code: dict[str, dict[str, str]] = {}
        for task in self.tasks().values():
            if task.id == self.id or task.id in nodes:
                raise GraphError(f"{task.where} has the id of another task or flow of this pipeline: give it name=…")
            site, nothing = task.origin.site, Signature(task.where, {}, task.signature.returns)
            how = _of_step(task.options)
            declared = Declaration(task.id, nothing, task.origin.entry, site, site, how, origin=task.origin)
            made = with_code(build(self.id, [declared], isolation=self.isolation), [declared], None)
            nodes[task.id] = msgspec.structs.replace(made.nodes[0], step=True)
            code |= made.code
        return Graph(dag=self.id, nodes=tuple(nodes.values()), code=code)


def _of_step(how: Options) -> Options:
    """Returns the options of a step: what it does when it fails, the flow says in Python, and it has no deadline."""
    return replace(how, on_failure=None, on_success=None, deadline=0.0)


def needs_own_process(task: Task[..., Any]) -> bool:
    """True for a task that says how it runs: its steps are task instances of their own."""
    how = replace(_of_step(task.options), retries=_DEFAULT.retries, priority=0, expect=0.0, trigger_rule="")
    return how != _DEFAULT and how.isolation != "inline"


@overload
def flow(function: Callable[..., Any], /) -> Flow: ...
@overload
def flow(*, name: str | None = None, doc: str = "", **how: Any) -> Callable[[Callable[..., Any]], Flow]: ...


def flow(function: Any = None, /, *, name: str | None = None, **how: Any) -> Any:
    """Makes a function a flow; used bare (`@flow`) or with options (`@flow(retries=3)`).

    Args:
        function: the function, at the top level of a file.
        name: id of the DAG, default the function's name.
        **how: `doc`, `schedule` and `catchup` as of `dag`; the other options as of `task`, for the flow's own process.

    Returns:
        A `Flow`, or a decorator that makes one.

    Raises:
        GraphError: an unknown option, a value that is none, or a function that cannot be a flow.
    """
    if function is not None:
        return _make(function, name, how)
    return lambda inner: _make(inner, name, how)


def _make(function: Any, name: str | None, how: dict[str, Any]) -> Flow:
    if not inspect.isfunction(function):
        raise GraphError(f"@flow wants a function, not {function!r}")
    said = {key: how.pop(key) for key in _SAID if key in how}
    for option in ("gang", "trigger_rule"):
        if option in how:
            raise GraphError(f"flow {name or function.__name__!r} takes no {option}: a flow is one process")
    said.setdefault("doc", inspect.cleandoc(function.__doc__ or ""))
    return Flow(function, name or function.__name__, Said(**said), options(**how))
