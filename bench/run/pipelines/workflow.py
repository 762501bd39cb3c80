"""A recorded workflow as a DAG of sleeps: each task sleeps its own seconds, scaled."""

import json
import time

from clearance import Resources, dag, task


@task(resources=Resources(cpu=1))
def work(seconds: float) -> None:
    time.sleep(seconds)


@dag
def workflow(file: str, scale: float):
    with open(file) as source:
        tasks = json.load(source)["tasks"]
    steps = []
    for number, (_, seconds, _, parents) in enumerate(tasks):
        named = work.named(f"t{number}")
        step = (named.expect(seconds * scale) if seconds else named)(seconds * scale)
        for parent in parents:
            steps[parent] >> step
        steps.append(step)
