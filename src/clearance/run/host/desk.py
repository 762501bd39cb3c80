"""The front desk: takes requests, whoever they come from, and answers them through the controller.

A client in this process and one at the socket are served alike: a request and a function that takes replies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clearance.engine.base import Defined
from clearance.errors import ClearanceError, GraphError, LeaseLost, StoreError, UsageError
from clearance.graph import model
from clearance.run import recovery
from clearance.run.controller import Controller
from clearance.run.host.credentials import CredentialOrder
from clearance.run.host.messages import (
    Accepted,
    Answer,
    As,
    Cancel,
    Decide,
    Ended,
    Follow,
    Fork,
    Refusal,
    Reply,
    Request,
    Resume,
    SetPool,
    SetTags,
    Status,
    StopService,
    Submit,
    Told,
    Why,
)
from clearance.run.host.orders import (
    ApplyQueues,
    Clear,
    Consolidate,
    Cordon,
    Forget,
    LookAtCluster,
    MarkTask,
    Measure,
    Register,
    RetryDeliveries,
    Suppose,
)
from clearance.run.submission import Submission
from clearance.store import outbox
from clearance.store.database import Stale
from clearance.types.principal import Principal
from clearance.types.states import RunState

Send = Callable[[Reply], None]

FINAL = frozenset(state.value for state in RunState if state.finished)


class FrontDesk:
    """Requests in, replies out.

    Args:
        controller: which leads.
        principal: the user whose installation this is, who asks where nobody else is named.
    """

    def __init__(self, controller: Controller, principal: Principal) -> None:
        self._controller = controller
        self._owner = principal
        self._defining: dict[str, tuple[Submit | Register, Send, str]] = {}
        self._followers: dict[int, list[tuple[str, Send]]] = {}
        self._serial = 0
        controller.listeners.append(self._tell)
        controller.defined = self._defined

    def handle(self, request: Request | As, send: Send) -> None:
        """Answers a request; what takes time is answered later.

        Raises:
            LeaseLost: another controller leads.
            StoreError: what was written of this turn must be taken back.
        """
        entered = self._controller.database.entered
        try:
            if isinstance(request, As):
                answer = self._answer(request.request, send, request.principal)
            else:
                answer = self._answer(request, send, self._owner)
        except (LeaseLost, Stale):
            raise
        except ClearanceError as error:
            if self._controller.database.entered and (not entered or isinstance(error, StoreError)):
                raise
            answer = Refusal(str(error), error.exit_code)
        if answer is not None:
            send(answer)

    def forget(self, send: Send) -> None:
        """A client has gone."""
        for number, followers in list(self._followers.items()):
            self._followers[number] = [each for each in followers if each[1] != send]
        self._defining = {key: entry for key, entry in self._defining.items() if entry[1] != send}

    def _answer(self, request: Request, send: Send, principal: Principal) -> Reply | None:
        controller = self._controller
        match request:
            case Submit() | Register():
                self._serial += 1
                token = f"define-{controller.epoch}-{self._serial}"  # unlike those of the leaders before
                self._defining[token] = (request, send, principal.name)
                controller.engine.define(token, request.bundle, request.target, request.parameters)
                return None
            case Follow():
                return self._follow(request, send)
            case Cancel():
                return Answer(controller.cancel(request.run))
            case Resume():
                after = controller.newest_event(request.run)
                changed = controller.resume(request.run, request.tasks)
                return Accepted(request.run, created=False, changed=changed, after=after if changed else 0)
            case Fork():
                run, created = controller.flows.fork(request.run, request.step, request.run_id, principal.name)
                return Accepted(run, created=created)
            case Clear():
                after = controller.newest_event(request.run)
                cleared = controller.marking.clear(request.run, request.tasks, request.only, request.dry)
                return Answer(cleared) if request.dry else Accepted(request.run, created=False, after=after)
            case MarkTask():
                word, why = request.state, request.reason
                return Answer(controller.marking.mark(request.run, request.task, word, why, principal.name))
            case Forget():
                return Answer(controller.forget(request.what, request.older, request.dry))
            case Why():
                return Answer(controller.why(request.run, request.task))
            case Decide():
                told = controller.approvals.decide(request.run, request.task, request.decision, principal, request.note)
                return Answer(told)
            case StopService():
                if not controller.services.stop(request.name, controller.clock()):
                    raise UsageError(f"no service {request.name!r} runs: see `clearance services list`")
                return Answer(True)
            case SetPool():
                return Answer(controller.set_pool(request.name, request.slots))
            case RetryDeliveries():
                return Answer(controller.deliveries.again(request.sink))
            case Measure():
                return Answer(controller.metrics.snapshot())
            case SetTags():
                return Answer(controller.set_tags(request.run, request.tags, request.remove))
            case Status():
                return Answer(self._status())
            case ApplyQueues() | Cordon() | Consolidate() | LookAtCluster() | Suppose():
                return Answer(controller.cluster.obey(request, principal.name))
            case _ if isinstance(request, CredentialOrder):
                from clearance.run.credentials import Credentials

                return Answer(Credentials(controller).obey(request, principal.name))
            case _:
                return Answer(controller.triggers.obey(request, principal.name))

    def _status(self) -> dict[str, Any]:
        services = {row.name: row.state for row in self._controller.services.list()}
        return {"epoch": self._controller.epoch, "runs": list(self._controller.runs), "services": services}

    def _defined(self, event: Defined) -> None:
        waiting = self._defining.pop(event.request, None)
        if waiting is None:
            return
        request, send, principal = waiting
        try:
            if event.error:
                raise GraphError(event.error)
            if isinstance(request, Register):
                send(Answer(self._register(request, event.graph, principal)))
                return
            submission = Submission(
                graph=event.graph, bundle=request.bundle, module=request.target.partition(":")[0],
                run_id=request.run_id, principal=principal, traceparent=request.traceparent,
                adopt=request.adopt, again=request.again, tags=request.tags,
            )  # fmt: skip
            run, created = self._controller.submit(submission)
        except (LeaseLost, StoreError):
            raise
        except ClearanceError as error:
            send(Refusal(str(error), error.exit_code))
        else:
            send(Accepted(run, created))

    def _register(self, request: Register, graphs: bytes, principal: str) -> list[dict[str, Any]]:
        module = request.target.partition(":")[0]
        register = self._controller.triggers.register
        return [register(graph, request.bundle, module, request.source, principal) for graph in model.split(graphs)]

    def _follow(self, request: Follow, send: Send) -> Reply | None:
        active = self._controller.runs.get(request.run)
        database = self._controller.database
        if active is None:
            row = recovery.known(database, request.run)
            send(Told(outbox.after(database, row.number, request.after)))
            return Ended(request.run, row.state)
        if past := outbox.after(database, active.number, request.after):
            send(Told(past))
        self._followers.setdefault(active.number, []).append((request.run, send))
        return None

    def _tell(self, events: list[outbox.Event]) -> None:
        if not self._followers:
            return
        told: dict[int, list[outbox.Event]] = {}
        for event in events:
            if event.run in self._followers:
                told.setdefault(event.run, []).append(event)
        for number, some in told.items():
            for _, send in self._followers[number]:
                send(Told(some))
            last = some[-1]
            if last.instance == -1 and last.kind in FINAL:
                for run, send in self._followers.pop(number):
                    send(Ended(run, last.kind))
