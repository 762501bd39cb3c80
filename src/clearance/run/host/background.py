"""The background controller: leads while a run is active or a service is wanted, then goes away.

Started by `embedded.start_background` as `python -m clearance.run.host.background`, with `CLEARANCE_HOME` set.
"""

from __future__ import annotations

import sys
import time

from clearance.errors import ClearanceError
from clearance.run.host import lease
from clearance.run.host.embedded import RACES, Leading, opened, try_to_lead
from clearance.settings import load
from clearance.store.database import Stale


def main() -> int:
    """Leads until nothing is wanted, or until SIGTERM; returns the exit code."""
    settings = load()
    with opened(settings) as database:
        for left in reversed(range(RACES)):
            deadline = time.monotonic() + lease.SECONDS
            while not isinstance(taken := try_to_lead(settings, database), int):
                if time.monotonic() > deadline:
                    return 0
                time.sleep(0.02)
            leading = Leading(settings, database, taken)
            try:
                with leading as loop:
                    loop.handle_signals()
                    loop.run(lambda: bool(loop.signals) or not _wanted(leading))  # noqa: B023
                    leading.keep = leading.controller.busy
                break
            except Stale:
                if not left:
                    raise
    return 0


def _wanted(leading: Leading) -> bool:
    """True while there is work, or something is to be told to the outside."""
    return leading.controller.busy or leading.controller.deliveries.pending


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClearanceError as error:
        print(f"clearance: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
