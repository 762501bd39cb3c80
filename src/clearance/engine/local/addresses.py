"""How many addresses the networks of this machine's containers have left. It reads alone, and decides nothing.

Rules (CNI, the plugin `host-local`):

1. A network of `/etc/cni/net.d/*.conf` or `*.conflist` whose `ipam.type` is `host-local` has range sets, `ranges`, or
   one range by `subnet`. A range is a subnet without its network and broadcast addresses and its gateway, from
   `rangeStart` to `rangeEnd` where these are said.
2. An address in use is a file of its name in `DATADIR/NETWORK/`; the directory is `/var/lib/cni/networks` where
   `dataDir` does not say otherwise.
3. A container takes one address of every range set, so what is left is that of the set that has the least.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CONFIGS = "etc/cni/net.d"
_DATA = "/var/lib/cni/networks"


def ip_pool_left(root: Path) -> float | None:
    """Returns which part of its addresses the network has left that has the least; None: there is no such network.

    Args:
        root: where the machine's file system begins.
    """
    left: list[float] = []
    for name, ipam in _networks(root):
        used = _used(root, str(ipam.get("dataDir") or _DATA), name)
        for ranges in ipam.get("ranges") or [[ipam]]:
            spans = [span for each in ranges if (span := _span(each)) is not None]
            size = sum(last - first + 1 - (first <= gateway <= last) for _, first, last, gateway in spans)
            taken = sum(
                any(version == address.version and first <= int(address) <= last for version, first, last, _ in spans)
                for address in used
            )
            if size > 0:
                left.append(max(1 - taken / size, 0.0))
    return min(left, default=None)


def _networks(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the name and the `ipam` of each network that has one of rule 1."""
    try:
        files = sorted((root / _CONFIGS).iterdir())
    except OSError:
        return
    for file in files:
        if file.suffix not in (".conf", ".conflist", ".json"):
            continue
        try:
            config = json.loads(file.read_bytes())
            plugins = config.get("plugins") or [config]
            found = [plugin["ipam"] for plugin in plugins if plugin.get("ipam", {}).get("type") == "host-local"]
        except (OSError, ValueError, AttributeError, KeyError):
            continue  # half-written, or of something else
        yield from ((str(config.get("name", "")), ipam) for ipam in found)


def _used(root: Path, folder: str, name: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = []
    try:
        names = [file.name for file in (root / folder.lstrip("/") / name).iterdir()]
    except OSError:
        return []
    for each in names:
        try:
            found.append(ipaddress.ip_address(each))
        except ValueError:
            continue  # `lock`, `last_reserved_ip.0`
    return found


def _span(entry: dict[str, Any]) -> tuple[int, int, int, int] | None:
    """Returns version, first and last address and gateway of a range; None for one that is none."""
    try:
        network = ipaddress.ip_network(entry["subnet"], strict=False)
        first, last = int(network.network_address) + 1, int(network.broadcast_address)
        last -= network.version == 4
        gateway = int(ipaddress.ip_address(entry["gateway"])) if entry.get("gateway") else first
        if entry.get("rangeStart"):
            first = int(ipaddress.ip_address(entry["rangeStart"]))
        if entry.get("rangeEnd"):
            last = int(ipaddress.ip_address(entry["rangeEnd"]))
    except (KeyError, ValueError):
        return None
    return network.version, first, last, gateway
