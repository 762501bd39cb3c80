"""Who asks: the name, groups and roles that both desks judge by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Principal:
    """A person or a workload.

    Attributes:
        name: unique within the installation.
        groups: names of the groups it belongs to.
        roles: names of the roles it holds.
    """

    name: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


def local_principal() -> Principal:
    """Returns the user whose process this is, as the operating system names it."""
    import grp
    import pwd

    user = pwd.getpwuid(os.getuid()).pw_name
    groups: list[str] = []
    for gid in os.getgroups():
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return Principal(user, tuple(groups))


@lru_cache(1024)
def groups_of(name: str) -> tuple[str, ...]:
    """Returns the groups of a user as the operating system knows them; none for a user that it does not know."""
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(name)
        found = os.getgrouplist(name, entry.pw_gid)
    except (KeyError, OSError):
        return ()
    groups: list[str] = []
    for gid in found:
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return tuple(groups)
