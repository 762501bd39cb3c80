"""Clearance: the transition from awaiting_clearance to queued, which needs a yes from both desks.

The trust desk is asked first (may it?), then the capacity desk (where and when?). A denial by either is final
for the attempt and names its rule; what is held names who holds it. `clearance why` prints these records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from clearance.cluster import Ask, Decision, Scheduler
from clearance.run.instance import Instance


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one desk says.

    Attributes:
        verdict: `granted`, `held` or `denied`.
        reason: one line.
        rule: which rule decided, for the trust desk.
        nodes: where the members go, for the capacity desk.
        blockers: who holds it, as people name them.
    """

    verdict: str
    reason: str
    rule: str = ""
    nodes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision on one instance, as it is stored.

    Attributes:
        verdict: of both desks together.
        at: seconds since 1970.
        capacity: what the capacity desk says; None while it has not been asked.
        trust: what the trust desk says.
    """

    verdict: str
    at: float
    capacity: Verdict | None = None
    trust: Verdict | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def decode(text: str) -> Record | None:
    """Reads a stored record; None for an instance that has not asked yet."""
    return _decoder.decode(text) if text else None


Judge = Callable[[Instance, dict[str, Any]], Verdict]


class Desks:
    """Both desks as the controller asks them.

    Args:
        scheduler: the capacity desk.
        judge: the trust desk: says whether the inputs of an instance may be used.
    """

    def __init__(self, scheduler: Scheduler, judge: Judge) -> None:
        self.scheduler = scheduler
        self._judge = judge
        self._trust: dict[str, Verdict] = {}

    @staticmethod
    def ask_of(instance: Instance) -> Ask:
        """Returns what an instance asks of the capacity desk."""
        spec = instance.spec
        return Ask(
            id=f"{instance.run.key}.{instance.number}",
            resources=spec.resources,
            members=spec.gang,
            priority=spec.priority,
            label=f"{instance.run.id} {instance.label}",
        )

    def request(self, instance: Instance, arguments: dict[str, Any], now: float) -> bool:
        """Asks both desks; returns False when one denied, with the record set on the instance."""
        trust = self._judge(instance, arguments)
        if trust.verdict == "denied":
            instance.clearance = _text(Record("denied", now, trust=trust))
            return False
        ask = self.ask_of(instance)
        if denial := self.scheduler.submit(ask):
            instance.clearance = _text(Record("denied", now, _verdict(denial), trust))
            return False
        self._trust[ask.id] = trust
        return True

    def granted(self, instance: Instance, decision: Decision, now: float) -> None:
        """Records a grant on the instance."""
        trust = self._trust.pop(decision.id, None)
        instance.clearance = _text(Record("granted", now, _verdict(decision), trust))

    def held(self, instance: Instance, decision: Decision, now: float) -> None:
        """Records on the instance that it waits, and for whom."""
        trust = self._trust.get(decision.id)
        instance.clearance = _text(Record("held", now, _verdict(decision), trust))

    def release(self, instance: Instance) -> None:
        """Gives back what the instance holds or waits for."""
        id = f"{instance.run.key}.{instance.number}"
        self._trust.pop(id, None)
        self.scheduler.release(id)


def denial(text: str, reason: str, now: float) -> str:
    """Returns a stored record with the trust desk's denial in place of what it said before."""
    record = decode(text)
    capacity = record.capacity if record else None
    rule, _, why = reason.partition(": ")
    return _text(Record("denied", now, capacity, Verdict("denied", why or reason, rule if why else "")))


def _verdict(decision: Decision) -> Verdict:
    nodes = decision.placement.nodes if decision.placement else ()
    return Verdict(decision.verdict, decision.reason, nodes=nodes, blockers=decision.blockers)


def _text(record: Record) -> str:
    return _encoder.encode(record).decode()
