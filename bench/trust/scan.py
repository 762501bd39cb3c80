"""What scanning costs: an OSV database the first time and by its index, an environment, licences, and code; CPU.

`CLEARANCE_BENCH_DATA` holds the database (`trust/osv/pypi.zip`); without it those rows say `not run`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.trust.scan.code import scan_code
from clearance.trust.scan.database import open_database
from clearance.trust.scan.declared import read_declared
from clearance.trust.scan.licences import Policy, judge
from clearance.trust.scan.osv import vulnerabilities
from clearance.trust.scan.packages import installed
from clearance.trust.scan.reading import read_files
from clearance.trust.scan.secrets import scan_secrets

SOURCE = Path(__file__).parents[2] / "src" / "clearance"


def milliseconds(function: Callable[[], object]) -> float:
    """Returns CPU milliseconds of one call, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best * 1e3
