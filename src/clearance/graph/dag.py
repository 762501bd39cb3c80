"""`dag`: tasks that belong together, from a `>>` expression or from a function of parameters.

`Dag.graph(**parameters)` gives the graph as data. The expression form is checked where it is written; the
function form when its graph is built, since it may depend on the parameters.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack, overload

from clearance.errors import GraphError, nearest
from clearance.graph import firing
from clearance.graph.build import Declaration, build, filled
from clearance.graph.caching import with_code
from clearance.graph.constants import plain
from clearance.graph.definition import Definition, current
from clearance.graph.duration import seconds
from clearance.graph.handlers import check_handler, with_handlers
from clearance.graph.maxage import check_cache
from clearance.graph.model import Binding, Graph, Value
from clearance.graph.options import MOST, check_id, check_isolation, check_queue, whole
from clearance.graph.origin import Site, call_site, origin_of
from clearance.graph.parameters import Parameter, check_names, json_of, of_function
from clearance.graph.parameters import filled as filled_parameters
from clearance.graph.schedule import Condition, check_schedule
from clearance.graph.signature import MISSING, signature_of
from clearance.graph.task import Task
from clearance.graph.wiring import Side, absorb, parts_of
from clearance.types.runner import planner, runner, tester


class Said(NamedTuple):
    """What `dag(…)` says beside the tasks."""

    isolation: str = "process"
    doc: str = ""
    schedule: Condition | None = None
    catchup: bool = False
    mode: str | None = None
    expect: int | None = None
    debounce: float | str | None = None
    start: datetime | None = None
    max_active_tasks: int | None = None
    max_active_runs: int | None = None
    priority: int = 0
    queue: str = ""
    on_failure: Any = None
    on_success: Any = None
    deadline: float | str | None = None
    cache: bool | float | str | None = None


_OPTIONS = ("name", *Said._fields)


class Dag(ABC):
    """A DAG that can be checked, drawn and run.

    Attributes:
        id: its name.
        isolation: of each task that does not say its own.
        doc: what it is for.
        schedule: when it runs by itself; None when only somebody starts it.
        catchup: whether every interval that was missed is made up for, or the newest alone.
        firing: how it takes what its schedule brings; None for the defaults.
        max_active_tasks: how many tasks of one run may run at the same time; 0 means all.
        max_active_runs: how many runs go on at the same time, the others are queued; 0 means all.
        priority: added to that of each task.
        queue: of each task that does not say its own; empty: as the placement rules say.
        on_failure: the task that runs when a run has failed; None for none.
        on_success: the task that runs when a run has succeeded; None for none.
        deadline: seconds since a run was made, after which it is late; 0 means none.
        cache: of each task that does not say its own: how old a result of before may be, in seconds.
        site: where it is written, relative to the bundle.
        path: the file in which it is written, as this process sees it.
    """

    not_beside = "only tasks stand there; join its tasks before you make the dag"

    def __init__(self, name: str, said: Said, site: Site, path: str) -> None:
        self.id = check_id(name, "dag")
        self.isolation = check_isolation(said.isolation)
        self.doc = said.doc
        where = f"dag {name!r} ({site})"
        self.schedule = check_schedule(said.schedule, said.catchup, where)
        self.catchup = said.catchup
        self.max_active_tasks = _most("max_active_tasks", said.max_active_tasks, name, site)
        self.max_active_runs = _most("max_active_runs", said.max_active_runs, name, site)
        given = {option: getattr(said, option) for option in firing.NAMES}
        self.firing = firing.check_firing(self.schedule, given, where, self.max_active_runs or None)
        self.priority = whole("priority", said.priority, -MOST, MOST)
        try:
            self.queue = check_queue(said.queue) if said.queue else ""
            self.on_failure = check_handler(said.on_failure, "on_failure")
            self.on_success = check_handler(said.on_success, "on_success")
            self.deadline = 0.0 if said.deadline is None else seconds(said.deadline, "deadline")
        except GraphError as error:
            raise GraphError(f"{where}: {error}") from None
        self.cache = check_cache(said.cache)
        self.site = site
        self.path = path

    def __repr__(self) -> str:
        return f"<dag {self.id!r} ({self.site})>"

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Parameter]:
        """What a run may set, by name."""

    @abstractmethod
    def graph(self, **parameters: Any) -> Graph:
        """Returns the checked graph for these parameters; text is read by the parameter's type.

        Raises:
            GraphError: what is wrong with the graph, or with a parameter.
        """

    def _build(self, declarations: Sequence[Declaration], parameters: dict[str, Any]) -> Graph:
        graph = build(
            self.id,
            with_handlers(self.id, declarations, self.on_failure, self.on_success),
            parameters=parameters,
            doc=self.doc,
            isolation=self.isolation,
            schedule=self.schedule,
            catchup=self.catchup,
            firing=self.firing,
            max_active_tasks=self.max_active_tasks,
            max_active_runs=self.max_active_runs,
            priority=self.priority,
            queue=self.queue,
            deadline=self.deadline,
        )
        return with_code(graph, declarations, self.cache)

    def run(self, *, run_id: str | None = None, tags: Mapping[str, str] | None = None, **parameters: Any) -> Any:
        """Runs the DAG in processes of its own and waits for its end.

        Args:
            run_id: name of the run; made up where there is none.
            tags: what the run is found by later.
            **parameters: as for `graph`.

        Returns:
            `clearance.Run`: the id, the state, the tasks and their results.

        Raises:
            RunFailed: it ended in another state than success.
        """
        return runner()(self, parameters=parameters, run_id=run_id, tags=tags)

    def test(
        self,
        mocks: Mapping[Any, Any] | None = None,
        *,
        clock: Any = None,
        interval: tuple[datetime, datetime] | None = None,
        **parameters: Any,
    ) -> Any:
        """Runs the DAG in this process, with no database and no processes, and without waiting: for tests.

        Args:
            mocks: by task or id, what stands for it: a function that is called in its place, an exception that it
                raises, what `clearance.testing` makes, or a value that it returns.
            clock: a `clearance.testing.FakeClock`; one of its own by default.
            interval: the data interval, start and end with a zone, of a run that a schedule would start.
            **parameters: as for `graph`.

        Returns:
            `clearance.testing.Tested`: states, results, order and decisions.

        Raises:
            GraphError: what is wrong with the graph or a parameter.
            UsageError: a mock of no task, or a task that waits for what no mock brings.
        """
        return tester()(self, mocks=mocks, clock=clock, interval=interval, parameters=parameters)

    def dry_run(self, **parameters: Any) -> Any:
        """Says what a run would do, without running anything: its waves, and what each desk says of each task.

        Args:
            **parameters: as for `graph`.

        Returns:
            `clearance.testing.Plan`.

        Raises:
            GraphError: what is wrong with the graph or a parameter.
        """
        return planner()(self.graph(**parameters))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise GraphError(f"dag {self.id!r} is no function: {self.id}.run(…) runs it, {self.id}.graph(…) shows it")

    def __rshift__(self, other: Any) -> Any:
        raise GraphError(f"dag {self.id!r} stands beside >> but is no task: {self.not_beside}")


class ExpressionDag(Dag):
    """`dag("digits", download >> train >> serve)`: its parameters are those of its tasks that have a default."""

    def __init__(self, name: str, items: Side, said: Said, site: Site, path: str) -> None:
        super().__init__(name, said, site, path)
        self._definition = Definition(self.id)
        absorb(self._definition, parts_of(items))
        if not self._definition.declarations:
            raise GraphError(f"dag {self.id!r} ({site}) has no task")
        self._plain = self._build(self._definition.declarations, {})
        self._parameters: dict[str, Parameter] | None = None

    @property
    def parameters(self) -> dict[str, Parameter]:
        if self._parameters is None:
            self._parameters = self._find_parameters()
        return self._parameters

    def _find_parameters(self) -> dict[str, Parameter]:
        known = {declaration.id: declaration for declaration in self._definition.declarations}
        owners: dict[str, list[str]] = {}
        for declaration in known.values():
            inputs = filled(declaration, known)
            for name in declaration.signature.defaults:
                if name not in inputs and name not in declaration.mapped:
                    owners.setdefault(name, []).append(declaration.id)
        found: dict[str, Parameter] = {}
        for name, tasks in owners.items():
            for owner in tasks:
                signature = known[owner].signature
                label = name if len(tasks) == 1 else f"{owner}.{name}"
                found[label] = Parameter(label, signature.annotations[name], signature.defaults[name], ((owner, name),))
        return found

    def graph(self, **parameters: Any) -> Graph:
        known = self.parameters if parameters else {}
        by_full_name = {f"{task}.{name}": label for label, one in known.items() for task, name in one.targets}
        given = {by_full_name.get(name, name): value for name, value in parameters.items()}
        if parameters:
            check_names(self.id, given, known)
        if not given:
            return self._plain
        values: dict[str, Any] = {}
        changed: dict[str, dict[str, Binding]] = {}
        for label, value in given.items():
            one = known[label]
            values[label] = plain(one.convert(value, self.id), one.annotation)
            for task, name in one.targets:
                changed.setdefault(task, {})[name] = Value(values[label])
        declarations = []
        for declaration in self._definition.declarations:
            if extra := changed.get(declaration.id):
                declaration = replace(declaration, inputs={**declaration.inputs, **extra})
            declarations.append(declaration)
        return self._build(declarations, values)


class FunctionDag(Dag):
    """`@dag def search(limit: int = 10): …`: the function is called to build the graph."""

    def __init__(self, function: Callable[..., Any], name: str, said: Said, site: Site, path: str) -> None:
        super().__init__(name, said, site, path)
        self.function = function
        self._signature = signature_of(function, f"dag {name!r} ({site})")
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        if self.schedule is not None and (required := self._signature.required):
            raise GraphError(
                f"dag {self.id!r} ({site}) has a schedule, which fills no parameter: "
                f"give {next(iter(required))!r} a default"
            )

    @property
    def parameters(self) -> dict[str, Parameter]:
        return of_function(self._signature)

    def graph(self, **parameters: Any) -> Graph:
        if current() is not None:
            raise GraphError(f"dag {self.id!r} is built inside another dag: call its tasks there instead")
        known = self.parameters
        values = filled_parameters(known, parameters, self.id, f"dag {self.id!r} ({self.site})")
        definition = Definition(self.id)
        with definition.active():
            made = self.function(**values)
        if inspect.isgenerator(made) or inspect.iscoroutine(made):
            made.close()
            raise GraphError(f"dag {self.id!r} ({self.site}) is a generator or async: write a plain function")
        if not definition.declarations:
            raise GraphError(f"dag {self.id!r} ({self.site}) calls no task")
        said = {name: json_of(value, known[name].annotation) for name, value in values.items()}
        return self._build(definition.declarations, said)


class Options(TypedDict, total=False):
    """What `dag(…)` takes by name, for type checkers: see `Said`."""

    isolation: str
    doc: str
    schedule: Condition | None
    catchup: bool
    mode: str | None
    expect: int | None
    debounce: float | str | None
    start: datetime | None
    max_active_tasks: int | None
    max_active_runs: int | None
    priority: int
    queue: str
    on_failure: Task[..., Any] | None
    on_success: Task[..., Any] | None
    deadline: float | str | None
    cache: bool | float | str | None


@overload
def dag(function: Callable[..., Any], /) -> Dag: ...
@overload
def dag(name: str, items: Side, /, **options: Unpack[Options]) -> Dag: ...
@overload
def dag(*, name: str | None = None, **options: Unpack[Options]) -> Callable[[Callable[..., Any]], Dag]: ...


def dag(first: Any = None, items: Any = MISSING, /, **options: Any) -> Any:
    """Makes a DAG: `dag("digits", a >> b)`, or `@dag` on a function that calls tasks.

    Args:
        first: the id, or the function.
        items: a task, a `>>` expression, or a list of these.
        **options: `name` (of the function form; default the function's), `isolation` (`process`, `worker`,
            `inline`; of each task that does not say its own), `doc` (what it is for), `schedule` (when it runs by
            itself: `cron`, `every`, assets, joined by `|` and `&`), `catchup` (whether every interval that was
            missed is made up for, or the newest alone), `max_active_tasks` (how many tasks of one run may run at the
            same time), `max_active_runs` (how many runs go on at the same time; the others are queued), `priority`
            (added to that of each task), `queue` (of each task that does not say its own), `on_failure` and
            `on_success` (a task that runs when a run has failed or succeeded), `deadline` (seconds
            since a run was made, "1h", after which it is late), `cache` (of each task that does not say its own), and
            beside a schedule `mode`, `expect`, `debounce`, `start`: see `clearance.graph.firing`.

    Returns:
        A `Dag`, or a decorator that makes one.

    Raises:
        GraphError: an unknown option, or a schedule that is none; in the expression form, anything that is wrong
            with the graph.
    """
    for option in options:
        if option not in _OPTIONS:
            raise GraphError(f"unknown option {option!r} of dag{nearest(option, _OPTIONS)}")
    name = options.pop("name", None)
    said = Said(**options)
    site, path = call_site()
    if isinstance(first, str):
        if items is MISSING:
            return lambda function: _of_function(function, first, said)
        return ExpressionDag(first, items, said, site, path)
    if first is None:
        return lambda function: _of_function(function, name, said)
    if items is not MISSING or not callable(first) or isinstance(first, Dag):
        raise GraphError(f"{site}: dag wants an id first: dag('digits', a >> b)")
    return _of_function(first, name, said)


def _most(option: str, value: int | None, name: str, site: Site) -> int:
    try:
        return 0 if value is None else whole(option, value, 1, MOST)
    except GraphError as error:
        raise GraphError(f"dag {name!r} ({site}): {error}") from None


def _of_function(function: Any, name: str | None, said: Said) -> Dag:
    if isinstance(function, Dag) or not inspect.isroutine(function):
        raise GraphError(f"@dag wants a function, not {function!r}")
    origin = origin_of(function)
    return FunctionDag(
        function,
        name or function.__name__,
        said._replace(doc=said.doc or inspect.cleandoc(function.__doc__ or "")),
        origin.site,
        origin.path,
    )
