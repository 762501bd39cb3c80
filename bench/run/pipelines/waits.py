"""Tasks that wait for a person, side by side; how many is a parameter."""

from clearance import Defer, context, dag, task


@task(isolation="worker")
def held(number: int) -> None:
    if context.resumed is None:
        raise Defer("approval", details={"message": "bench"})


@dag
def waits(width: int = 1000):
    held.map(number=list(range(width)))
