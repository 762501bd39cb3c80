"""Access control lists of queues: who may submit to one, and who may administer it.

Rules (YuniKorn, "ACLs"):

1. A list is `users groups`: two comma-separated lists with one space between. `*` lets everybody in.
2. An empty list lets nobody in; a list can only give access, never take it away.
3. A queue is checked from itself up to the root: the first list that lets the user in decides.
4. Who may administer a queue may also submit to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from clearance.errors import UsageError

EVERYBODY = "*"
USER = re.compile(r"[_a-zA-Z][a-zA-Z0-9:#/_.@-]*\$?\Z")
GROUP = re.compile(r"[_a-zA-Z][a-zA-Z0-9:_.-]*\Z")


class Acl(msgspec.Struct, frozen=True):
    """One access control list.

    Attributes:
        everybody: whether it lets everybody in.
        users: names of users it lets in.
        groups: names of groups whose members it lets in.
    """

    everybody: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def allows(self, user: str, groups: Collection[str] = ()) -> bool:
        """Whether the list lets this user in, by name or by one of the groups."""
        return self.everybody or user in self.users or not self.groups.isdisjoint(groups)

    def __str__(self) -> str:
        """The list as it is written in the file, names in order."""
        if self.everybody:
            return EVERYBODY
        groups = ",".join(sorted(self.groups))
        return ",".join(sorted(self.users)) + (f" {groups}" if groups else "")


NOBODY = Acl()


class Guarded(Protocol):
    """A queue as the check sees it."""

    @property
    def submit_acl(self) -> Acl: ...

    @property
    def admin_acl(self) -> Acl: ...


class Ancestry(Protocol):
    """What knows the queues from a path up to the root; queues that do not exist are left out."""

    def chain(self, path: str) -> Iterable[Guarded]: ...


def parse_acl(text: str, where: str = "acl") -> Acl:
    """Reads a list as it is written in the file.

    Args:
        text: `"*"`, `"users"`, `"users groups"` or `" groups"`; empty or one space: nobody.
        where: the dotted path for the message.

    Raises:
        UsageError: more than one space, or a name that can be no user or group.
    """
    if text.strip() == EVERYBODY:
        return Acl(everybody=True)
    if not text.strip():
        return NOBODY
    parts = text.split(" ")
    if len(parts) > 2:
        raise UsageError(f"{where} is {text!r}: write users, one space, groups, with commas and no spaces inside each")
    users = [name for name in parts[0].split(",") if name]
    groups = [name for name in parts[1].split(",") if name] if len(parts) == 2 else []
    if EVERYBODY in users or EVERYBODY in groups:
        if users == [EVERYBODY] or groups == [EVERYBODY]:
            return Acl(everybody=True)
        raise UsageError(f"{where} is {text!r}: '*' stands alone; take the other names away, or the '*'")
    for names, pattern, kind in ((users, USER, "user"), (groups, GROUP, "group")):
        for name in names:
            if not pattern.match(name):
                raise UsageError(f"{where} is {text!r}: {name!r} is no {kind} name; begin with a letter or '_'")
    return Acl(users=frozenset(users), groups=frozenset(groups))


def may_administer(tree: Ancestry, path: str, user: str, groups: Collection[str] = ()) -> bool:
    """Whether the user may administer the queue at this path, by its list or one above it."""
    return any(queue.admin_acl.allows(user, groups) for queue in tree.chain(path))


def may_submit(tree: Ancestry, path: str, user: str, groups: Collection[str] = ()) -> bool:
    """Whether the user may submit to the queue at this path, which need not exist yet."""
    return any(
        queue.submit_acl.allows(user, groups) or queue.admin_acl.allows(user, groups) for queue in tree.chain(path)
    )
