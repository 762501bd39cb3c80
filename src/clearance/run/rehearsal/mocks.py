"""Mocks: what stands for tasks in a test, and what happens that they wait for."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from clearance.errors import UsageError, nearest
from clearance.graph.model import Graph
from clearance.graph.origin import origin_of
from clearance.graph.task import Task
from clearance.run.approvals import check
from clearance.run.instance import Instance
from clearance.run.starts import waiting
from clearance.types.cause import Trigger
from clearance.types.deferral import asked
from clearance.types.principal import Principal

REAL = object()


class Turns:
    """Outcomes of the attempts of a task, the last one again and again; made by `in_turn`."""

    def __init__(self, outcomes: tuple[Any, ...]) -> None:
        self.outcomes = outcomes


class Happening:
    """What a task waits for, and happens as soon as it does; made by `approve`, `reject`, `arrives`, `ends`.

    Args:
        kind: of the wait: `approval`, `asset` or `run`.
        payload: makes what the task is told, of the instance and the time.
    """

    def __init__(self, kind: str, payload: Callable[[Instance, float], Any]) -> None:
        self.kind = kind
        self.payload = payload


def in_turn(*outcomes: Any) -> Turns:
    """Returns a mock whose attempts end one after the other in these: values, functions to call, exceptions to raise.

    Raises:
        UsageError: no outcome.
    """
    if not outcomes:
        raise UsageError("in_turn() needs an outcome")
    return Turns(outcomes)


def approve(by: str = "", note: str = "") -> Happening:
    """Returns a mock of a task that asks for approval: given at once, by the first approver unless one is named."""
    return _decision("approved", by, note)


def reject(by: str = "", note: str = "") -> Happening:
    """Returns a mock of a task that asks for approval: it is refused at once."""
    return _decision("rejected", by, note)


def arrives(key: str | None = None) -> Happening:
    """Returns a mock of a task that waits for an asset: an event comes, of this partition, as soon as it waits."""

    def payload(instance: Instance, now: float) -> Any:
        assert instance.deferral is not None
        asset, wanted = waiting.split(instance.deferral.key)
        return waiting.payload(Trigger(1, asset, now, wanted if key is None else key))

    return Happening("asset", payload)


def ends(state: str = "success") -> Happening:
    """Returns a mock of a task that waits for a run: it has ended in this state as soon as it is waited for."""
    return Happening("run", lambda instance, now: {"state": state})


def _decision(decision: str, by: str, note: str) -> Happening:
    def payload(instance: Instance, now: float) -> Any:
        from datetime import UTC, datetime

        assert instance.deferral is not None
        approvers = asked(instance.deferral.details).approvers
        who = by or next((one for one in approvers if not one.startswith("group:")), "tester")
        groups = tuple(one.removeprefix("group:") for one in approvers if one.startswith("group:")) if not by else ()
        check(instance.label, approvers, Principal(who, groups))
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return {"decision": decision, "by": who, "note": note, "at": at}

    return Happening("approval", payload)


class Mocks:
    """The mocks of one test, by task.

    Args:
        graph: whose tasks are mocked.
        given: by `Task`, function, id, or `train[3]` for one instance.

    Raises:
        UsageError: a key that is no task of the graph.
    """

    def __init__(self, graph: Graph, given: Mapping[Any, Any]) -> None:
        self._mocks: dict[str, Any] = {}
        self._turns: Counter[str] = Counter()
        for key, mock in given.items():
            for name in _names(graph, key):
                self._mocks[name] = mock

    def of(self, instance: Instance) -> Any:
        """Returns what stands for the next attempt of an instance; `REAL` where nothing does."""
        mock = self.all_of(instance)
        if isinstance(mock, Turns):
            turn = self._turns[instance.label]
            self._turns[instance.label] += 1
            return mock.outcomes[min(turn, len(mock.outcomes) - 1)]
        return mock

    def all_of(self, instance: Instance) -> Any:
        """Returns the mock of an instance as it was given; `REAL` where there is none."""
        return self._mocks.get(instance.label, self._mocks.get(instance.spec.id, REAL))


def call(mock: Any, values: Mapping[str, Any]) -> Any:
    """Returns what a mock gives: what it returns when called with those arguments that it takes, or itself.

    Raises:
        Exception: the exception that it is, or that it raises.
    """
    if isinstance(mock, BaseException) or (isinstance(mock, type) and issubclass(mock, BaseException)):
        raise mock
    if not callable(mock):
        return mock
    function = mock.function if isinstance(mock, Task) else mock
    try:
        wanted = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return function(**values)
    if any(one.kind is one.VAR_KEYWORD for one in wanted):
        return function(**values)
    names = {one.name for one in wanted if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    return function(**{name: value for name, value in values.items() if name in names})


def _names(graph: Graph, key: Any) -> list[str]:
    ids = [node.id for node in graph.nodes if not node.is_group]
    if isinstance(key, str):
        if key.partition("[")[0] in ids:
            return [key]
        raise UsageError(f"mocks: dag {graph.dag!r} has no task {key!r}{nearest(key, ids)}")
    entry, name = "", ""
    if isinstance(key, Task):
        entry, name = key.origin.entry, key.id
    elif inspect.isfunction(key):
        entry = origin_of(key).entry
    same = [node.id for node in graph.nodes if entry and node.function == entry]
    found = [id for id in same if id.rpartition(".")[2] == name] or same
    if not found:
        raise UsageError(f"mocks: {key!r} is no task of dag {graph.dag!r}, which has {', '.join(ids[:20])}")
    return found
