"""What a task says to put a model behind an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clearance.errors import UsageError
from clearance.serve.config import ENTRY
from clearance.trust.provision import check_name
from clearance.types.references import Endpoint, Model, Service
from clearance.types.resources import Resources


def deploy(
    name: str,
    model: Model,
    predictor: Callable[[Model], Callable[[Any], Any]],
    *,
    resources: Resources | None = None,
    body_limit: int = 1 << 20,
    concurrency: int = 1,
    start_timeout: float = 60.0,
) -> Endpoint:
    """Returns an endpoint that the task must return: the controller then starts it and waits until it is healthy.

    Args:
        name: unique in the installation: lower case letters, digits and `-`, at most 63.
        model: what an upstream task returned; its signature is verified by every replica.
        predictor: a function at the top of a module of the pipeline. It is called once in each replica with the
            model and returns `answer(input) -> output`, an ordinary function that runs in a thread. The annotation
            of its one parameter is the schema that requests are checked against. It may raise `UsageError` for an
            input that it cannot take (HTTP 422).
        resources: of the replica; default none, so that it runs beside the tasks and holds up none of them.
        body_limit: bytes that a request may have.
        concurrency: how many answers are computed at once; more than 1 needs a thread-safe `answer`.
        start_timeout: seconds until a starting replica must be healthy.

    Raises:
        UsageError: a bad name or number, a model that no task returned, or a predictor that cannot be imported by name.
    """
    check_name(name)
    if not model.digest:
        raise UsageError(f"the model of endpoint {name!r} was not stored: let another task return it, and pass it on")
    module, function = getattr(predictor, "__module__", None), getattr(predictor, "__qualname__", None)
    if not module or not function or "<" in function or module == "__main__":
        raise UsageError(
            f"the predictor of endpoint {name!r} cannot be imported by name: use a function at the top of a module"
        )
    for what, number in (("body_limit", body_limit), ("concurrency", concurrency)):
        if number < 1:
            raise UsageError(f"{what} of endpoint {name!r} is {number}: use 1 or more")
    asked = resources or Resources(cpu=0)
    service = Service(
        entry=ENTRY,
        config={
            "name": name,
            "predictor": f"{module}:{function}",
            "model": model.digest,
            "body_limit": body_limit,
            "concurrency": concurrency,
        },
        cpu_millis=asked.cpu_millis,
        memory=asked.memory,
        start_timeout=start_timeout,
        overlap=True,
    )
    return Endpoint(name, model=model.digest, service=service)
