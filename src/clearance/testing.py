"""Testing pipelines: what stands for tasks, a clock that stands still, and time that is skipped.

    from clearance.testing import approve, in_turn, simulate

    done = digits.test(mocks={train: fake, "release": approve()}, limit=10)
    assert done.states["serve"] == "success"

`pytest` finds the fixtures `clearance_home` and `fake_clock` by itself.
"""

from clearance.run.rehearsal.clock import FakeClock
from clearance.run.rehearsal.mocks import approve, arrives, ends, in_turn, reject
from clearance.run.rehearsal.planning import Plan, Planned
from clearance.run.rehearsal.rehearsed import Decision, Tested
from clearance.run.rehearsal.simulation import Simulated, simulate

__all__ = [
    "Decision", "FakeClock", "Plan", "Planned", "Simulated", "Tested", "approve", "arrives", "ends", "in_turn",
    "reject", "simulate",
]  # fmt: skip
