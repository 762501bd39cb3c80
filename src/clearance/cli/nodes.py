"""`--workers` and `--nodes`: what the local engine offers, for the commands that may lead."""

from __future__ import annotations

from dataclasses import replace

from clearance.errors import UsageError
from clearance.settings import Settings


def offering(settings: Settings, workers: int | None, nodes: str | None) -> Settings:
    """Returns the settings with what the command line says; it wins over both settings.

    Raises:
        UsageError: both are said, or the nodes are none.
    """
    if workers and nodes:
        raise UsageError("--workers and --nodes: each says what is offered, so give one")
    if workers:
        return replace(settings, workers=workers, nodes="")
    if nodes:
        return replace(settings, workers=0, nodes=nodes)
    return settings
