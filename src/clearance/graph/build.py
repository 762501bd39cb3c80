"""From declarations to the graph: every check that needs the whole DAG, and the topological order.

Pure: declarations in, a `Graph` or a `GraphError` out. Rules:

1. Ids are safe and unique; every upstream exists; there is no cycle.
2. An upstream that no binding names (`a >> b`) fills the first parameter of `b` that is still free and whose
   annotation accepts what `a` returns; where there is none, it says order only. Where one side is not annotated,
   which accepts everything, only a required parameter is filled: a default is not lost to a guess.
3. Every required parameter is filled, and every filled parameter accepts what fills it.
4. Nodes leave in a topological order that follows from the order of declaration alone. Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from clearance.errors import GraphError, nearest
from clearance.graph.annotations import accepts, anything, element, iterated, show
from clearance.graph.binding import steps
from clearance.graph.copies import check_copies
from clearance.graph.firing import Firing
from clearance.graph.frame import Frame
from clearance.graph.model import Binding, Element, Graph, Items, Node, Result
from clearance.graph.nesting import Nesting
from clearance.graph.options import Options, check_id
from clearance.graph.origin import Origin, Site
from clearance.graph.predicate import Predicate, sources
from clearance.graph.schedule import Condition, check_schedule
from clearance.graph.signature import Signature
from clearance.graph.trigger import DEFAULT

_SHOWN = 12


@dataclass(slots=True)
class Declaration:
    """One node as it was declared, before it is checked against the others.

    Attributes:
        id: unique in the DAG.
        signature: what its function takes and returns.
        entry: `module:qualified.name` of the function.
        site: where it was declared; errors name it.
        source: where its function was defined; the node names it.
        options: how it runs.
        inputs: bindings by parameter.
        mapped: bindings that are mapped, by parameter.
        upstream: ids that must finish first, in order (a dictionary for its order and quick look-up).
        group: id of the mapped group in which it stands.
        product: whether its mapped lists are multiplied and not zipped.
        copies: how many of its instances may run at the same time; 0 means all.
        is_group: whether it is a mapped group, which has no function that a run calls.
        frames: the blocks under a condition in which it stands, outermost first, within its mapped group.
        setup: of a teardown, the id of what it takes down.
        waits: of a teardown, ids of what must have ended before it, in order.
        fails_run: of a teardown, whether its failure makes the run a failure.
        on: of a handler, `failure` or `success`; `of` is the id of what it handles, empty for the run.
        origin: where its function was defined; None for a group.
    """

    id: str
    signature: Signature
    entry: str = ""
    site: Site = Site()
    source: Site = Site()
    options: Options = field(default_factory=Options)
    inputs: dict[str, Binding] = field(default_factory=dict)
    mapped: dict[str, Binding] = field(default_factory=dict)
    upstream: dict[str, None] = field(default_factory=dict)
    group: str = ""
    product: bool = False
    copies: int = 0
    is_group: bool = False
    origin: Origin | None = None
    frames: tuple[Frame, ...] = ()
    setup: str = ""
    waits: dict[str, None] = field(default_factory=dict)
    fails_run: bool = False
    on: str = ""
    of: str = ""

    @property
    def conditions(self) -> tuple[Predicate, ...]:
        """What must hold for it to run."""
        return tuple(frame.predicate for frame in self.frames) if self.frames else ()

    @property
    def before(self) -> dict[str, None]:
        """The ids of all that it waits for: its upstreams, what its conditions read, what it takes down or handles."""
        if not (self.frames or self.waits or self.of):
            return self.upstream
        return {**self.upstream, **sources(self.conditions), **self.waits, **({self.of: None} if self.of else {})}

    @property
    def where(self) -> str:
        """How an error names it: `task 'train' (digits.py:31)`."""
        kind = "group" if self.is_group else "task"
        return f"{kind} {self.id!r} ({self.site})" if self.site.file else f"{kind} {self.id!r}"

    @property
    def result(self) -> Any:
        """The annotation of what its group receives: a list where the node is mapped."""
        returns = self.signature.returns
        return list[returns] if self.mapped and not self.is_group else returns  # type: ignore[valid-type]


def references(binding: Binding) -> Iterable[str]:
    """Yields the id of every result that a binding names."""
    stack = [binding]
    while stack:
        top = stack.pop()
        if isinstance(top, Result):
            yield top.task
        elif isinstance(top, Items):
            stack.extend(reversed(top.items))


def build(
    dag: str,
    declarations: Sequence[Declaration],
    *,
    parameters: dict[str, Any] | None = None,
    doc: str = "",
    isolation: str = "process",
    schedule: Condition | None = None,
    catchup: bool = False,
    firing: Firing | None = None,
    max_active_tasks: int = 0,
    max_active_runs: int = 0,
    priority: int = 0,
    queue: str = "",
    deadline: float = 0.0,
) -> Graph:
    """Checks the declarations together and returns the graph.

    Args:
        dag: id of the DAG.
        declarations: in the order of declaration; left as they are.
        parameters: the values with which it was built, JSON-compatible.
        doc: what the DAG is for.
        isolation: of each task that does not say its own.
        schedule: when it runs by itself.
        catchup: whether every interval that was missed is made up for.
        firing: how it takes what its schedule brings.
        max_active_tasks: how many tasks of one run may run at the same time; 0 means all.
        max_active_runs: how many runs go on at the same time; 0 means all.
        priority: added to that of each task.
        queue: of each task that does not say its own.
        deadline: seconds since a run was made, after which it is late; 0 means none.

    Raises:
        GraphError: the first thing that is wrong; see the rules of this module.
    """
    check_id(dag, "dag")
    check_schedule(schedule, catchup, f"dag {dag!r}")
    known = _by_id(declarations)
    order = topological(known)
    for declaration in declarations:
        declaration.signature.check()
    inputs = {declaration.id: filled(declaration, known) for declaration in declarations}
    for declaration in declarations:
        _check_bindings(declaration, inputs[declaration.id], known)
        if declaration.is_group and declaration.copies:
            check_copies(declaration, known)
    return Graph(
        dag=dag,
        parameters=parameters or {},
        nodes=tuple(_node(known[name], inputs[name], isolation, rule_of(known[name], known)) for name in order),
        doc=doc,
        schedule=schedule,
        catchup=catchup,
        firing=firing,
        max_active_tasks=max_active_tasks,
        max_active_runs=max_active_runs,
        priority=priority,
        queue=queue,
        deadline=deadline,
    )


def rule_of(declaration: Declaration, known: dict[str, Declaration]) -> str:
    """Returns its trigger rule; where none is said, that of a join if it depends on two arms of one branch."""
    if declaration.options.trigger_rule:
        return declaration.options.trigger_rule
    framed = [name for name in declaration.upstream if known[name].frames]
    if len(framed) < 2:
        return DEFAULT
    mine = {frame.fork for frame in declaration.frames}
    arms: dict[object, Frame] = {}
    for name in framed:
        for frame in known[name].frames:
            if frame.fork not in mine and arms.setdefault(frame.fork, frame) is not frame:
                return "none_failed_min_one_success"
    return DEFAULT


def _by_id(declarations: Sequence[Declaration]) -> dict[str, Declaration]:
    known: dict[str, Declaration] = {}
    for declaration in declarations:
        check_id(declaration.id)
        if (first := known.setdefault(declaration.id, declaration)) is not declaration:
            raise duplicate(first, declaration)
    for declaration in declarations:
        for name in declaration.before:
            if name not in known:
                raise GraphError(f"{declaration.where}: upstream {name!r} is unknown{nearest(name, known)}")
    return known


def duplicate(first: Declaration, second: Declaration) -> GraphError:
    """Returns the error for two nodes of one id."""
    return GraphError(
        f"task {first.id!r} is declared twice, at {first.site} and at {second.site}: "
        f"name one of them, for example {first.id}.named('{first.id}_2')"
    )


def topological(known: dict[str, Declaration]) -> list[str]:
    """Returns the ids so that each comes after all its upstreams.

    Raises:
        GraphError: a cycle, shown as a path.
    """
    edges = _edges(known)
    waits = {name: len(before) for name, before in edges.items()}
    downstream: dict[str, list[str]] = {name: [] for name in known}
    for name, before in edges.items():
        for upstream in before:
            downstream[upstream].append(name)
    order = [name for name, count in waits.items() if not count and not _final(known[name])]
    for name in order:  # grows while it is walked
        for follower in downstream[name]:
            waits[follower] -= 1
            if not waits[follower]:
                order.append(follower)
    order += [name for name, declaration in known.items() if _final(declaration)]
    if len(order) < len(known):
        raise _cycle(known, edges, set(known).difference(order))
    return order


def _final(declaration: Declaration) -> bool:
    """True for a handler of the run, which comes after everything."""
    return bool(declaration.on) and not declaration.of


def _edges(known: dict[str, Declaration]) -> dict[str, dict[str, None]]:
    """Returns what each node stands behind: its upstreams, its group, and all that is in a group it waits for."""
    if not any(declaration.group for declaration in known.values()):
        return {name: declaration.before for name, declaration in known.items()}
    inside: dict[str, list[str]] = {}
    for name, declaration in known.items():
        group = declaration.group
        while group:
            inside.setdefault(group, []).append(name)
            group = known[group].group
    edges: dict[str, dict[str, None]] = {}
    for name, declaration in known.items():
        edges[name] = before = dict(declaration.before)
        for upstream in declaration.before:
            before.update(dict.fromkeys(inside.get(upstream, ())))
        if declaration.group:
            before[declaration.group] = None
    return edges


def _cycle(known: dict[str, Declaration], edges: dict[str, dict[str, None]], left: set[str]) -> GraphError:
    name = next(name for name in known if name in left)
    seen: dict[str, int] = {}
    walk: list[str] = []
    while name not in seen:
        seen[name] = len(walk)
        walk.append(name)
        name = next(upstream for upstream in edges[name] if upstream in left)
    ring = walk[seen[name] :][::-1]  # upstream first
    first = min(range(len(ring)), key=lambda index: list(known).index(ring[index])) if len(ring) < 100 else 0
    ring = ring[first:] + ring[:first]
    if len(ring) == 1:
        return GraphError(f"{known[ring[0]].where} waits for itself: {ring[0]} -> {ring[0]}")
    shown = [*ring, ring[0]]
    if len(shown) > _SHOWN:
        shown = [*shown[: _SHOWN // 2], f"… ({len(shown) - _SHOWN} more)", *shown[-_SHOWN // 2 :]]
    return GraphError(f"{known[ring[0]].where} waits for itself through a cycle: {' -> '.join(shown)}")


def filled(declaration: Declaration, known: dict[str, Declaration]) -> dict[str, Binding]:
    """Returns the inputs of a node once its upstreams have filled its free parameters (rule 2).

    Raises:
        GraphError: a required parameter that nothing fills.
    """
    annotations = declaration.signature.annotations
    required = set(declaration.signature.required)
    free = [name for name in annotations if name not in declaration.inputs and name not in declaration.mapped]
    if not free:
        return declaration.inputs
    inputs = dict(declaration.inputs)
    bound = {name for binding in (*inputs.values(), *declaration.mapped.values()) for name in references(binding)}
    idle: list[str] = []
    nesting = Nesting(known)
    for upstream in declaration.upstream:
        if upstream in bound:
            continue
        result = nesting.seen(known[upstream], declaration)
        if result is None or result is type(None):
            continue
        guess = anything(result)
        name = next(
            (
                name
                for name in free
                if (name in required or not (guess or anything(annotations[name])))
                and accepts(annotations[name], result)
            ),
            None,
        )
        if name is None:
            idle.append(upstream)
        else:
            inputs[name] = Result(upstream)
            free.remove(name)
    if missing := [name for name in free if name in required]:
        results = {other: nesting.seen(known[other], declaration) for other in idle}
        raise _missing(declaration, missing[0], results)
    return inputs


def _missing(declaration: Declaration, name: str, idle: dict[str, Any]) -> GraphError:
    wanted = show(declaration.signature.annotations[name])
    if idle:
        offers = ", ".join(f"{other!r} returns {show(result)}" for other, result in list(idle.items())[:3])
        part = element(declaration.signature.annotations[name])
        if part is not None and all(accepts(part, result) for result in idle.values()):
            function = declaration.entry.rpartition(":")[2] or declaration.id
            mend = f"pass a list in an @dag function, {function}([{', '.join(f'{other}()' for other in [*idle][:3])}])"
        else:
            mend = "change one of the types, or put a task between them"
        return GraphError(f"{declaration.where}: parameter {name!r} wants {wanted}, but {offers}: {mend}")
    return GraphError(
        f"{declaration.where}: parameter {name!r} ({wanted}) has no value: connect a task that returns it, "
        f"pass it, fix it with .partial({name}=…), or give it a default"
    )


def _check_bindings(declaration: Declaration, inputs: dict[str, Binding], known: dict[str, Declaration]) -> None:
    annotations = declaration.signature.annotations
    nesting = Nesting(known)
    for name, binding in inputs.items():
        _check_binding(declaration, name, annotations[name], binding, nesting)
    for name, binding in declaration.mapped.items():
        if isinstance(binding, Result | Element):
            kind = _offered(declaration, binding, nesting)[0]
            part = iterated(kind)
            if part is None:
                raise GraphError(
                    f"{declaration.where}: parameter {name!r} is mapped over {_noun(binding, nesting)}, "
                    f"which is {show(kind)} and no list: return list[…] there, or pass it without .map"
                )
            if not accepts(annotations[name], part):
                raise GraphError(
                    f"{declaration.where}: parameter {name!r} wants {show(annotations[name])}, "
                    f"but an element of {_noun(binding, nesting)} is {show(part)}"
                )
        elif isinstance(binding, Items):
            for item in binding.items:
                _check_binding(declaration, name, annotations[name], item, nesting)


def _check_binding(declaration: Declaration, name: str, annotation: Any, binding: Binding, nesting: Nesting) -> None:
    if isinstance(binding, Result | Element):
        kind, what = _offered(declaration, binding, nesting)
        if not accepts(annotation, kind):
            raise GraphError(
                f"{declaration.where}: parameter {name!r} wants {show(annotation)}, but {what} {show(kind)}"
            )
    elif isinstance(binding, Items):
        for index, item in enumerate(binding.items):
            part = element(annotation, index)
            if part is None:
                raise GraphError(f"{declaration.where}: parameter {name!r} wants {show(annotation)}, not a list")
            if isinstance(item, (Result, Items, Element)) and not anything(part):
                _check_binding(declaration, name, part, item, nesting)


def _offered(declaration: Declaration, binding: Result | Element, nesting: Nesting) -> tuple[Any, str]:
    """Returns the annotation of what a binding brings, and who brings it, for an error."""
    kind = nesting.offered(binding, declaration.group)
    if isinstance(binding, Result) and not binding.path:
        return kind, f"{nesting.known[binding.task].where} returns"
    return kind, f"{_noun(binding, nesting)} is"


def _noun(binding: Result | Element, nesting: Nesting) -> str:
    if isinstance(binding, Result):
        whole = f"the result of {nesting.known[binding.task].where}"
    else:
        whole = f"{binding.name!r} of {nesting.known[binding.group].where}"
    return f"{steps(binding.path)} of {whole}" if binding.path else whole


def _node(declaration: Declaration, inputs: dict[str, Binding], isolation: str, rule: str) -> Node:
    how = declaration.options
    return Node(
        id=declaration.id,
        function=declaration.entry,
        file=declaration.source.file,
        line=declaration.source.line,
        inputs=inputs,
        mapped=declaration.mapped,
        upstream=tuple(declaration.upstream),
        returns="" if declaration.is_group else declaration.signature.returns_name,
        retries=how.retries,
        timeout=how.timeout,
        resources={} if declaration.is_group else dict(how.resources),
        gang=how.gang,
        isolation=how.isolation or isolation,
        preload=how.preload,
        priority=how.priority,
        trigger_rule=rule,
        expect=how.expect,
        outlets=how.outlets,
        product=declaration.product,
        copies=declaration.copies,
        group=declaration.group,
        concurrency=how.concurrency,
        pool=how.pool,
        pool_slots=how.pool_slots,
        queue=how.queue,
        conditions=declaration.conditions,
        setup=declaration.setup,
        waits=tuple(declaration.waits),
        fails_run=declaration.fails_run,
        on=declaration.on,
        of=declaration.of,
        deadline=how.deadline,
    )
