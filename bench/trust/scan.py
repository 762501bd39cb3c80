"""What scanning costs, in CPU: a database of advisories, an environment, licences, code and secrets.

And whether the ranges of advisories are judged as their makers list the versions.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
from bench.cluster.inputs import data
from bench.common import show

from clearance.trust.scan.advisory import Verdict
from clearance.trust.scan.advisory import judge as judge_version
from clearance.trust.scan.code import scan_code
from clearance.trust.scan.database import Database, open_database
from clearance.trust.scan.declared import read_declared
from clearance.trust.scan.licences import Policy, judge
from clearance.trust.scan.osv import vulnerabilities
from clearance.trust.scan.packages import installed
from clearance.trust.scan.reading import read_files
from clearance.trust.scan.secrets import scan_secrets

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"
SOURCE = Path(__file__).parents[2] / "src" / "clearance"


def milliseconds(function: Callable[[], object]) -> float:
    """Returns CPU milliseconds of one call, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best * 1e3


def main() -> None:
    lock = installed()
    show("trust.scan.distributions", len(lock))
    whole = 0.0
    database = data("osv_pypi")
    if database is not None:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder)
            show("trust.scan.database_cold_ms", milliseconds(lambda: open_database(database)))
            open_database(database, cache)
            warm = milliseconds(lambda: open_database(database, cache))
            show("trust.scan.database_indexed_ms", warm, "<= 50", warm <= 50)
            known = open_database(database, cache)
            agreed, told = agreement(known)
            show("trust.scan.affected_versions", told)
            show("trust.scan.affected_versions_found", agreed, f">= {told}", agreed >= told)
            whole = milliseconds(lambda: vulnerabilities(lock, known))
            show("trust.scan.dependencies_ms", whole, "<= 100", whole <= 100)
    policy = Policy()
    spent = milliseconds(lambda: [judge(each, policy) for each in read_declared()])
    show("trust.scan.licences_ms", spent)
    job = list(read_files(EXAMPLE))
    spent += milliseconds(lambda: (scan_code(job), scan_secrets(job)))
    show("trust.scan.job_ms", spent + whole, "<= 500", spent + whole <= 500)
    files = [file for file in read_files(SOURCE) if file.name.endswith(".py")]
    lines = sum(file.data.count(b"\n") for file in files)
    show("trust.scan.lines", lines)
    show("trust.scan.code_us_a_line", milliseconds(lambda: scan_code(files)) * 1e3 / lines)
    some = [file for file in files if file.name.startswith("cli/")]
    lines = sum(file.data.count(b"\n") for file in some)
    show("trust.scan.secrets_us_a_line", milliseconds(lambda: scan_secrets(some)) * 1e3 / lines)


def agreement(known: Database) -> tuple[int, int]:
    """Returns how many of the versions that the database lists as affected are so by its ranges alone, and how many.

    Its makers list the versions; the ranges are judged here. What cannot be compared counts as affected, as in a scan.
    """
    agreed = told = 0
    for name in known.packages:
        for affected in (part for each in known.about(name) for part in each.affected):
            if any(each.type != "GIT" for each in affected.ranges):
                ranges = msgspec.structs.replace(affected, versions=())
                verdicts = [judge_version(version, ranges) for version in affected.versions]
                told += len(verdicts)
                agreed += sum(verdict is not Verdict.CLEAR for verdict in verdicts)
    return agreed, told


if __name__ == "__main__":
    main()
