from __future__ import annotations

from clearance.engine.conformance import Conformance


class TestLocalEngine(Conformance):
    """The local engine keeps every rule of the protocol; its fixture is in `conftest`."""
