"""Mapped tasks that do nothing, with a cache."""

from __future__ import annotations

from clearance import dag, task


@task(cache=True)
def nothing(x: int) -> int:
    return x


@dag
def cached(count: int = 500):
    nothing.map(x=list(range(count)))
