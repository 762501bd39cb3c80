"""Names of queues: up to 64 letters, digits and `_ : # / @ -`; upper and lower case are the same.

Source: YuniKorn, "Partition and Queue Configuration", queues. A dot separates the parts of a path.
"""

from __future__ import annotations

import re

RECOVERY_NAME = "@recovery@"

_NAME = re.compile(r"[a-zA-Z0-9_:#/@-]{1,64}\Z")


def is_queue_name(name: str) -> bool:
    """Whether a queue may have this name; the recovery queue's is taken."""
    return _NAME.match(name) is not None and name.lower() != RECOVERY_NAME


def is_queue_path(path: str) -> bool:
    """Whether this is a queue's name, or names of queues from the root down, separated by dots."""
    return all(map(is_queue_name, path.split(".")))
