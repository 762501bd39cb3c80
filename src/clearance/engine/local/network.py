"""Network accounting, the pure part: which nftables rules count a tenant's bytes, and what `nft -j` says of them.

    table inet clearance_HOME
      counter tTENANT_inside_in …                        four a tenant, see `KINDS`
      map inside_in { type cgroupsv2 : counter; }        a tenant's cgroup → its counter; one map a kind
      chain input, output                                four rules: look a packet's socket up in two of the maps

Rules:

1. Nothing is accepted, dropped or changed: the rules count, and the policy of both chains is `accept`.
2. Each text may be given to nft again: adding what is there changes nothing, and counters keep what they counted.
3. *Inside* is what goes over the loopback device, which is all that this machine says to itself, whatever address it
   uses. *Outside* is the rest. Bytes are those of IP packets, headers counted.
4. A map holds the cgroup itself, not its path (nftables, "socket expression"), so a cgroup that is made anew is added
   anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from clearance.engine.base import Traffic
from clearance.errors import EngineError

PREFIX = "clearance_"
KINDS = ("inside_in", "inside_out", "outside_in", "outside_out")

Bytes = Mapping[str, Mapping[str, int]]
"""Of each tenant's id, bytes by kind."""


class _Counter(msgspec.Struct):
    name: str
    table: str
    bytes: int


class _Item(msgspec.Struct):
    counter: _Counter | None = None


class _Listing(msgspec.Struct):
    nftables: list[_Item]


_listing = msgspec.json.Decoder(_Listing)


def table_of(home: str) -> str:
    """Returns the name of a home's table, and of its cgroup."""
    return f"{PREFIX}{hashlib.sha256(home.encode()).hexdigest()[:12]}"


def id_of(tenant: str) -> str:
    """Returns by what a tenant is known to nftables, whose names have no `:` or `@`, and are short."""
    return f"t{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


def rules(table: str, level: int) -> str:
    """Returns the text that makes the table, with no tenant in its maps.

    Args:
        table: its name.
        level: how deep the tenants' cgroups lie; 1 is right below the root.
    """
    lines = [f"add table inet {table}"]
    for kind in KINDS:
        lines.append(f"add map inet {table} {kind} {{ type cgroupsv2 : counter ; }}")
        lines.append(f"flush map inet {table} {kind}")
    for chain, device, way in (("input", "iifname", "in"), ("output", "oifname", "out")):
        hook = f"type filter hook {chain} priority filter ; policy accept ;"
        lines.append(f"add chain inet {table} {chain} {{ {hook} }}")
        lines.append(f"flush chain inet {table} {chain}")
        for equal, place in (("", "inside"), ("!= ", "outside")):
            counter = f"counter name socket cgroupv2 level {level} map @{place}_{way}"
            lines.append(f'add rule inet {table} {chain} {device} {equal}"lo" {counter}')
    return "\n".join((*lines, ""))


def counters(table: str, totals: Bytes) -> str:
    """Returns the text that makes tenants' counters, which begin at these bytes; those that are there stay."""
    return "".join(
        f"add counter inet {table} {id}_{kind} {{ packets 0 bytes {amounts.get(kind, 0)} ; }}\n"
        for id, amounts in totals.items()
        for kind in KINDS
    )


def elements(table: str, id: str, path: str) -> str:
    """Returns the text that has a tenant counted.

    Args:
        table: its name.
        id: of the tenant, whose counters are there.
        path: of its cgroup, which exists, from `/sys/fs/cgroup`.
    """
    return "".join(f'add element inet {table} {kind} {{ "{path}" : "{id}_{kind}" }}\n' for kind in KINDS)


def without(table: str, id: str, path: str) -> str:
    """Returns the text that takes a tenant and its counters away."""
    gone = [f'delete element inet {table} {kind} {{ "{path}" }}\n' for kind in KINDS]
    return "".join((*gone, *(f"delete counter inet {table} {id}_{kind}\n" for kind in KINDS)))


def counted(listing: bytes, table: str) -> dict[str, dict[str, int]]:
    """Reads what `nft -j list counters table inet TABLE` prints (libnftables-json(5)).

    Returns:
        Bytes by tenant's id and kind.

    Raises:
        EngineError: it is no such listing.
    """
    try:
        items = _listing.decode(listing).nftables
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EngineError(f"nft lists counters in another form than libnftables-json: {error}") from None
    found: dict[str, dict[str, int]] = {}
    for counter in (item.counter for item in items):
        if counter is not None and counter.table == table:
            id, _, kind = counter.name.partition("_")
            if kind in KINDS:
                found.setdefault(id, {})[kind] = counter.bytes
    return found


def traffic(totals: Bytes, tenants: Mapping[str, str]) -> list[Traffic]:
    """Returns what tenants have sent and received, by name; a tenant that is not known is left out.

    Args:
        totals: by tenant's id.
        tenants: names by id.
    """
    named = sorted((tenants[id], amounts) for id, amounts in totals.items() if id in tenants)
    return [Traffic(name, *(amounts.get(kind, 0) for kind in KINDS)) for name, amounts in named]
