"""Pauses Python's collector of cycles while much is made that stays: it would look at all of it again and again."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def paused(function: Callable[P, T]) -> Callable[P, T]:
    """Returns a function during which the collector rests; it goes on afterwards, if it was on."""

    @functools.wraps(function)
    def calm(*args: P.args, **kwargs: P.kwargs) -> T:
        if not gc.isenabled():
            return function(*args, **kwargs)
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            gc.enable()
            if gc.get_count()[0] > gc.get_threshold()[0] > 0:
                gc.collect(0)  # what was made here is looked at here, not in the next who makes anything

    return calm
