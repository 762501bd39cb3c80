"""Every night a forecast of the load of a grid, published only where it is better than the naive one.

`nightly` runs by the clock and writes an asset; `board` waits for that asset. Neither knows of the other.

    clearance up --no-api examples/nightly.py     both, when they are due, until Ctrl-C
    clearance run examples/nightly.py:nightly     one night, now
"""

import math
import random
from dataclasses import dataclass

from clearance import Outcome, Retry, Written, asset, context, cron, dag, otherwise, task, when

FORECAST = asset("file:///srv/forecasts/load")
DAY = 24


@dataclass
class Forecast:
    smoothing: float
    gain: float  # how much of the naive forecast's error is gone, 0 to 1
    hours: list[float]  # [24] megawatts


@task(retries=Retry(3, on=(OSError,)), timeout="5m")
def load(weeks: int, seed: int) -> list[float]:
    """Makes the load of some weeks, in megawatts: a wave of a day, and noise."""
    if weeks < 2:
        raise ValueError(f"{weeks} weeks: a forecast needs 2 at least")
    draw = random.Random(seed)
    return [500 + 120 * math.sin(math.tau * hour / DAY) + draw.gauss(0, 40) for hour in range(weeks * 7 * DAY)]


def smooth(hours: list[float], smoothing: float) -> tuple[float, list[float]]:
    """Returns the mean error, and the forecast of the next day, when each day moves the forecast by `smoothing`."""
    forecast, total = hours[:DAY], 0.0
    for number, actual in enumerate(hours[DAY:]):
        error = actual - forecast[number % DAY]
        forecast[number % DAY] += smoothing * error
        total += abs(error)
    return total / (len(hours) - DAY), forecast


@task
def fit(hours: list[float]) -> Forecast:
    """Chooses the smoothing with the smallest error; 1 is the naive forecast, tomorrow is like today."""
    naive, _ = smooth(hours, 1.0)
    smoothing = min((step / 20 for step in range(1, 21)), key=lambda one: smooth(hours, one)[0])
    error, forecast = smooth(hours, smoothing)
    return Forecast(smoothing, 1 - error / naive, forecast)


@task
def publish(forecast: Forecast) -> Written:
    print(f"published: {forecast.gain:.0%} better than naive, peak {max(forecast.hours):.0f} MW")
    return FORECAST.written(key=context.run)


@task
def keep(forecast: Forecast) -> None:
    print(f"not published: only {forecast.gain:.0%} better than naive")


@task
def alarm(outcome: Outcome) -> None:
    print(f"{outcome.run} {outcome.state}: {outcome.message}")


@dag(schedule=cron("30 2 * * *", tz="Europe/Paris"), on_failure=alarm, deadline="1h")
def nightly(least: float = 0.1, weeks: int = 4, seed: int = 7):
    forecast = fit(load(weeks, seed))
    with when(forecast.gain >= least):
        publish(forecast)
    with otherwise():
        keep(forecast)


@task
def show() -> list[str]:
    """Says which nights have published since it ran last."""
    return [event.key or "" for event in context.events]


board = dag("board", show, schedule=FORECAST)
