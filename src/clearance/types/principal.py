"""Who asks: the name, groups and roles that both desks judge by."""

from __future__ import annotations

import os
from dataclasses import dataclass


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
